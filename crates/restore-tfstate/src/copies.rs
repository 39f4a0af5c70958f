//! Copies of a state on this machine, for when the server cannot be asked.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use jiff::Timestamp;
use restore_common::ui::format;
use serde::{Deserialize, Serialize};

use crate::site::{DEFAULT_WORKSPACE, Seen, Site};

/// The state of a fallback, in the environment's folder. A name of its own: nothing that is there is overwritten.
pub const LOCAL_STATE: &str = "fallback.tfstate";

/// Where the local backend keeps the states of other workspaces.
pub const LOCAL_WORKSPACES: &str = "fallback.tfstate.d";

/// A copy of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// The file.
    pub path: PathBuf,
    /// When it was written.
    pub written: Timestamp,
    /// What it is.
    pub seen: Seen,
}

impl Copy {
    /// Reads a file; `None` when it is no state, or cannot be read.
    pub fn read(path: PathBuf) -> Option<Self> {
        let bytes = fs::read(&path).ok()?;
        let written = fs::metadata(&path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let seen = Seen::of(&bytes);
        seen.summary.as_ref()?;
        Some(Self { path, written: Timestamp::try_from(written).unwrap_or_default(), seen })
    }

    /// `serial 41, 12 resources, written 2 hours ago`.
    pub fn describe(&self) -> String {
        let age = format::age(self.written.as_second(), Timestamp::now().as_second());
        format!("{}, written {age}", self.seen.describe())
    }
}

/// The copies of a state, the freshest first, and those of another history.
pub struct Copies {
    /// Those of the history that the newest copy of all belongs to, highest serial first.
    pub of_the_state: Vec<Copy>,
    /// Those of others: an older life of the environment, or of something else.
    pub foreign: Vec<Copy>,
}

impl Copies {
    /// Looks at what earlier runs kept, and at what Terraform left in the folder.
    pub fn find(site: &Site) -> anyhow::Result<Self> {
        let kept = site.cache.list(&site.environment, &site.workspace)?;
        let kept = kept.into_iter().filter_map(|cached| Copy::read(cached.path)).collect();
        let left = files(&site.dir, &site.workspace).into_iter().filter_map(Copy::read).collect();
        Ok(Self::sorted(kept, left))
    }

    /// What these programs kept tells the lineage: it came from the bucket. Files in the folder may be of an older life.
    fn sorted(kept: Vec<Copy>, left: Vec<Copy>) -> Self {
        let newest =
            |copies: &[Copy]| copies.iter().max_by_key(|copy| copy.written).map(|copy| copy.seen.clone());
        let Some(leader) = newest(&kept).or_else(|| newest(&left)) else {
            return Self { of_the_state: Vec::new(), foreign: Vec::new() };
        };
        let all = kept.into_iter().chain(left);
        let (mut of_the_state, foreign): (Vec<_>, Vec<_>) =
            all.partition(|copy| copy.seen.is_kin_of(&leader));
        of_the_state.sort_by_key(|copy| std::cmp::Reverse((copy.seen.serial(), copy.written)));
        Self { of_the_state, foreign }
    }
}

/// Where the state of a fallback is.
pub fn local_state(site: &Site) -> PathBuf {
    if site.workspace == DEFAULT_WORKSPACE {
        site.dir.join(LOCAL_STATE)
    } else {
        site.dir.join(LOCAL_WORKSPACES).join(&site.workspace).join("terraform.tfstate")
    }
}

/// States that Terraform leaves in a folder. Source: its local backend (`terraform.tfstate`, `.backup`,
/// `terraform.tfstate.d/WORKSPACE`), and `errored.tfstate` for what it could not write to a remote one.
fn files(dir: &Path, workspace: &str) -> Vec<PathBuf> {
    let folder = if workspace == DEFAULT_WORKSPACE {
        dir.to_owned()
    } else {
        dir.join("terraform.tfstate.d").join(workspace)
    };
    let begins = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("terraform.tfstate") || name.starts_with(LOCAL_STATE)
    };
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).filter(begins).collect();
    // Which workspace it is of stands nowhere in it.
    files.extend((workspace == DEFAULT_WORKSPACE).then(|| dir.join("errored.tfstate")));
    if workspace != DEFAULT_WORKSPACE {
        files.push(dir.join(LOCAL_WORKSPACES).join(workspace).join("terraform.tfstate"));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(name: &str, serial: u64, lineage: &str, written: i64) -> Copy {
        let bytes = format!("{{\"version\":4,\"serial\":{serial},\"lineage\":\"{lineage}\"}}");
        let written = Timestamp::from_second(written).unwrap();
        Copy { path: name.into(), written, seen: Seen::of(bytes.as_bytes()) }
    }

    fn names(copies: &[Copy]) -> Vec<String> {
        copies.iter().map(|copy| copy.path.display().to_string()).collect()
    }

    #[test]
    fn the_highest_serial_of_the_states_own_history_is_the_freshest() {
        let kept = vec![copy("kept-7", 7, "a", 70), copy("kept-6", 6, "a", 60)];
        let left = vec![copy("errored", 8, "a", 65), copy("old-life", 99, "b", 90)];
        let copies = Copies::sorted(kept, left);
        assert_eq!(names(&copies.of_the_state), ["errored", "kept-7", "kept-6"]);
        assert_eq!(names(&copies.foreign), ["old-life"]);
    }

    #[test]
    fn without_a_kept_copy_the_newest_file_leads() {
        let copies = Copies::sorted(Vec::new(), vec![copy("old", 9, "a", 10), copy("new", 3, "b", 20)]);
        assert_eq!(names(&copies.of_the_state), ["new"]);
        assert!(Copies::sorted(Vec::new(), Vec::new()).of_the_state.is_empty());
    }

    #[test]
    fn what_terraform_leaves_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["terraform.tfstate", "terraform.tfstate.backup", "errored.tfstate", "main.tf", "other.tfstate"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let mut found = files(folder.path(), DEFAULT_WORKSPACE);
        found.sort();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["errored.tfstate", "terraform.tfstate", "terraform.tfstate.backup"]);
    }
}
