//! Copies of states on the operator's machine: what is left when the server with the states is gone.
//!
//! `$XDG_STATE_HOME/pve-restore/states/ENVIRONMENT/WORKSPACE/SERIAL-LINEAGE-DIGEST.tfstate`, each file 0600 and each
//! folder 0700 whatever the umask is: states hold secrets in clear text. A file that is whole is never overwritten, and
//! none is removed: what makes two states different is in the name. A link, or a folder that others may write to, is
//! refused.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

use super::{Document, Summary};
use crate::private;

/// The copies of all environments.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The file.
    pub path: PathBuf,
    /// When it was written.
    pub written: SystemTime,
    /// What it says about itself.
    pub summary: Summary,
}

/// A copy could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the copy of a state at `{}`: {source}", path.display())]
pub struct CacheError {
    path: PathBuf,
    source: io::Error,
}

impl CacheError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_owned(), source }
    }
}

impl Cache {
    /// Below the [state folder](crate::cli::state_folder).
    pub fn new(state_folder: &Path) -> Self {
        Self { folder: state_folder.join("states") }
    }

    fn folder_of(&self, environment: &str, workspace: &str) -> PathBuf {
        self.folder.join(file_name(environment)).join(file_name(workspace))
    }

    /// A folder of copies and those above it, up to the one of all copies, outermost first.
    fn folders<'a>(&self, folder: &'a Path) -> Vec<&'a Path> {
        let mut folders: Vec<_> =
            folder.ancestors().take_while(|path| path.starts_with(&self.folder)).collect();
        folders.reverse();
        folders
    }

    /// Keeps a state. A copy that is there already stays as it is; what stands in its place and is none is replaced.
    pub fn keep(&self, environment: &str, workspace: &str, bytes: &[u8]) -> Result<PathBuf, CacheError> {
        let folder = self.folder_of(environment, workspace);
        for folder in self.folders(&folder) {
            private::make_folder(folder).map_err(CacheError::at(folder))?;
        }
        let path = folder.join(name_of(bytes));
        let is_there =
            private::check_file(&path).is_ok() && fs::read(&path).is_ok_and(|there| there == bytes);
        if is_there {
            return Ok(path);
        }
        let write = || -> io::Result<()> {
            // Appears whole: a copy that is cut off would be worse than none.
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(CacheError::at(&path))?;
        Ok(path)
    }

    /// The copies of an environment, those with the highest serial first, then the newest. What does not parse is left
    /// out: it could not be used.
    pub fn list(&self, environment: &str, workspace: &str) -> Result<Vec<Cached>, CacheError> {
        let folder = self.folder_of(environment, workspace);
        for folder in self.folders(&folder) {
            private::check_folder(folder).map_err(CacheError::at(folder))?;
        }
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut copies = Vec::new();
        for entry in fs::read_dir(&folder).map_err(CacheError::at(&folder))? {
            let path = entry.map_err(CacheError::at(&folder))?.path();
            if path.extension().is_none_or(|extension| extension != "tfstate") {
                continue;
            }
            let read = || -> io::Result<_> {
                private::check_file(&path)?;
                Ok((fs::read(&path)?, fs::metadata(&path)?.modified()?))
            };
            let (bytes, written) = read().map_err(CacheError::at(&path))?;
            if let Ok(document) = Document::parse(&bytes) {
                copies.push(Cached { path, written, summary: document.summary });
            }
        }
        copies.sort_by(|a, b| {
            (b.summary.serial, b.written, &b.path).cmp(&(a.summary.serial, a.written, &a.path))
        });
        Ok(copies)
    }
}

/// A name that cannot leave its folder, for files that are named after environments and workspaces.
pub fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let plain: String = name.chars().map(safe).collect();
    if plain == name && !plain.is_empty() {
        return plain;
    }
    // Two names must not become one.
    format!("{plain}-{}", short_digest(name.as_bytes()))
}

fn name_of(bytes: &[u8]) -> String {
    let digest = short_digest(bytes);
    match Document::parse(bytes) {
        Ok(Document { summary, .. }) => {
            // The beginning of a lineage is enough for people; the state itself has the whole.
            let lineage: String = file_name(&summary.lineage).chars().take(8).collect();
            format!("{:06}-{lineage}-{digest}.tfstate", summary.serial)
        }
        Err(_) => format!("unreadable-{digest}.tfstate"),
    }
}

fn short_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..4].iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn state(serial: u64, more: &str) -> Vec<u8> {
        format!("{{\"version\":4,\"serial\":{serial},\"lineage\":\"l-1\",\"outputs\":{{{more}}}}}")
            .into_bytes()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn copies_are_kept_privately_and_listed_newest_first() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path());
        assert!(cache.list("prod", "default").unwrap().is_empty());
        let first = cache.keep("prod", "default", &state(3, "")).unwrap();
        cache.keep("prod", "default", &state(12, "")).unwrap();
        assert_eq!(cache.keep("prod", "default", &state(3, "")).unwrap(), first);
        let other = cache.keep("prod", "default", &state(3, "\"a\":{}")).unwrap();
        assert_ne!(other, first, "another state with the same serial is another file");
        cache.keep("lab", "default", &state(99, "")).unwrap();
        let serials: Vec<_> =
            cache.list("prod", "default").unwrap().iter().map(|copy| copy.summary.serial).collect();
        assert_eq!(serials, [12, 3, 3]);
        assert_eq!(mode(&first), 0o600);
        for folder in first.ancestors().skip(1).take(3) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }

    #[test]
    fn names_stay_below_the_folder_and_apart() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path());
        let outside = cache.keep("prod", "../../x", &state(1, "")).unwrap();
        assert!(outside.starts_with(home.path().join("states/prod")), "{}", outside.display());
        assert!(!outside.components().any(|part| part.as_os_str() == ".."));
        assert_ne!(file_name("a.b"), file_name("a:b"));
        assert_ne!(file_name(""), "");
    }

    #[test]
    fn links_and_open_folders_are_refused_and_nothing_is_written_where_they_lead() {
        let home = tempfile::tempdir().unwrap();
        let (cache, elsewhere) = (Cache::new(home.path()), home.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).unwrap();
        for link in ["states", "states/prod", "states/prod/default"] {
            let link = home.path().join(link);
            symlink(&elsewhere, &link).unwrap();
            cache.keep("prod", "default", &state(1, "")).unwrap_err();
            cache.list("prod", "default").unwrap_err();
            assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{}", link.display());
            assert_eq!(mode(&elsewhere), 0o755);
            fs::remove_file(&link).unwrap();
            fs::create_dir(&link).unwrap();
        }
        fs::set_permissions(home.path().join("states/prod"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = cache.list("prod", "default").unwrap_err().to_string();
        assert!(error.contains("others may write"), "{error}");
        cache.keep("prod", "default", &state(1, "")).unwrap_err();
    }

    #[test]
    fn what_only_has_the_name_of_a_copy_is_replaced_by_the_copy() {
        let home = tempfile::tempdir().unwrap();
        let (cache, elsewhere) = (Cache::new(home.path()), home.path().join("elsewhere"));
        let path = cache.keep("prod", "default", &state(1, "")).unwrap();
        fs::write(&path, "half of i").unwrap();
        cache.keep("prod", "default", &state(1, "")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), state(1, ""));
        fs::rename(&path, &elsewhere).unwrap();
        fs::write(&elsewhere, "somebody's").unwrap();
        symlink(&elsewhere, &path).unwrap();
        cache.list("prod", "default").unwrap_err();
        cache.keep("prod", "default", &state(1, "")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), state(1, ""));
        assert_eq!(fs::read(&elsewhere).unwrap(), b"somebody's");
    }

    #[test]
    fn what_is_no_state_is_kept_but_not_offered() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::new(home.path());
        let path = cache.keep("prod", "default", b"<html>").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"<html>");
        assert!(cache.list("prod", "default").unwrap().is_empty());
    }
}
