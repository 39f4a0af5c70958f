//! Writes the tree of a container as GNU tar does for vzdump.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;
use tar::{Builder, EntryType, Header};

/// GNU tar fills its last record of 20 blocks.
const RECORD: u64 = 20 * 512;
const NAME_FIELD: usize = 100;

/// A volume of a container and where it is mounted.
pub(super) struct Mount {
    /// Absolute path inside the container, `/` for the root file system.
    pub(super) path: String,
    /// The folder with its content.
    pub(super) folder: PathBuf,
    /// User and group by path from the root of the volume, where they are not 0.
    pub(super) owners: BTreeMap<String, (u32, u32)>,
}

impl Mount {
    fn owner(&self, real: &Path) -> (u32, u32) {
        let path = real.strip_prefix(&self.folder).map(|path| format!("/{}", path.display()));
        path.ok().and_then(|path| self.owners.get(&path).copied()).unwrap_or_default()
    }
}

/// A tar file being written. Counts its bytes, as `--totals` shows them.
pub(super) struct TreeWriter<W: Write> {
    tar: Builder<Counted<W>>,
    excluded: Vec<Regex>,
}

impl<W: Write> TreeWriter<W> {
    /// Begins the archive with the two files that describe the container.
    pub(super) fn new(output: W, config: &str, firewall: &str, excluded: Vec<Regex>) -> io::Result<Self> {
        let tar = Builder::new(Counted { output, bytes: 0 });
        let mut writer = Self { tar, excluded };
        for (name, text) in [("pct.conf", config), ("pct.fw", firewall)] {
            let mut header = plain_header(EntryType::Regular, text.len() as u64);
            header.set_mtime(crate::sim::clock::now().unsigned_abs());
            writer.append(&mut header, &format!("./etc/vzdump/{name}"), text.as_bytes())?;
        }
        Ok(writer)
    }

    /// Adds the volumes, the root file system first. What lies below another mount point is hidden by it.
    pub(super) fn mounts(&mut self, mounts: &[Mount]) -> io::Result<()> {
        for mount in mounts {
            let below = |other: &Mount| other.path != mount.path && other.path.starts_with(&mount.path);
            let hidden: Vec<&str> =
                mounts.iter().filter(|other| below(other)).map(|other| other.path.as_str()).collect();
            self.entry(mount, &mount.folder, &mount.path, &hidden)?;
        }
        Ok(())
    }

    /// Ends the archive and gives its length.
    pub(super) fn finish(self) -> io::Result<(W, u64)> {
        let mut counted = self.tar.into_inner()?;
        let padding = counted.bytes.next_multiple_of(RECORD) - counted.bytes;
        io::copy(&mut io::Read::take(io::repeat(0), padding), &mut counted)?;
        Ok((counted.output, counted.bytes))
    }

    fn entry(&mut self, mount: &Mount, real: &Path, inside: &str, hidden: &[&str]) -> io::Result<()> {
        let metadata = fs::symlink_metadata(real)?;
        let name = format!(".{inside}");
        let owner = mount.owner(real);
        if metadata.is_dir() {
            let name = format!("{}/", name.trim_end_matches('/'));
            self.append(&mut header_of(&metadata, owner, EntryType::Directory), &name, &[])?;
            if !hidden.contains(&inside) {
                self.children(mount, real, inside, hidden)?;
            }
        } else if metadata.is_symlink() {
            let mut header = header_of(&metadata, owner, EntryType::Symlink);
            header.set_link_name_literal(fs::read_link(real)?.as_os_str().as_bytes())?;
            self.append(&mut header, &name, &[])?;
        } else if metadata.is_file() {
            let mut header = header_of(&metadata, owner, EntryType::Regular);
            header.set_size(metadata.len());
            self.append_from(&mut header, &name, File::open(real)?)?;
        }
        Ok(())
    }

    fn children(&mut self, mount: &Mount, real: &Path, inside: &str, hidden: &[&str]) -> io::Result<()> {
        let mut children = fs::read_dir(real)?.collect::<io::Result<Vec<_>>>()?;
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            let name = child.file_name();
            let inside = format!("{}/{}", inside.trim_end_matches('/'), name.to_string_lossy());
            if name != "lost+found" && !self.excluded.iter().any(|glob| glob.is_match(inside.as_bytes())) {
                self.entry(mount, &child.path(), &inside, hidden)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, header: &mut Header, name: &str, data: &[u8]) -> io::Result<()> {
        self.append_from(header, name, data)
    }

    /// Names keep the `./` in front, by which they are asked for; that is why they are not set as paths.
    fn append_from(&mut self, header: &mut Header, name: &str, data: impl io::Read) -> io::Result<()> {
        if name.len() > NAME_FIELD {
            let mut long = plain_header(EntryType::GNULongName, name.len() as u64 + 1);
            set_name(&mut long, "././@LongLink");
            long.set_cksum();
            self.tar.append(&long, [name.as_bytes(), b"\0"].concat().as_slice())?;
        }
        set_name(header, name);
        header.set_cksum();
        self.tar.append(header, data)
    }
}

fn set_name(header: &mut Header, name: &str) {
    let field = &mut header.as_old_mut().name;
    for (byte, letter) in field.iter_mut().zip(name.bytes().chain(std::iter::repeat(0))) {
        *byte = letter;
    }
}

/// A header with every number set: a reader takes an empty field for damage.
fn plain_header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn header_of(metadata: &Metadata, (user, group): (u32, u32), kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_metadata(metadata);
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_uid(u64::from(user));
    header.set_gid(u64::from(group));
    header
}

/// Turns a shell pattern of `--exclude-path` into one for the path inside the container: with a leading slash
/// it is anchored there, else it matches at any depth. Unlike in a file name, `*` also matches slashes.
pub(super) fn exclusion(glob: &str) -> Result<Regex, regex::Error> {
    let mut pattern = String::from(if glob.starts_with('/') { "^" } else { "/" });
    for char in glob.chars() {
        match char {
            '*' => pattern.push_str("(?s-u:.)*"),
            '?' => pattern.push_str("(?s-u:.)"),
            other => pattern.push_str(&regex::escape(&other.to_string())),
        }
    }
    pattern.push_str("(/|$)");
    Regex::new(&pattern)
}

struct Counted<W> {
    output: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.output.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn members(archive: &[u8]) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (String::from_utf8(entry.path_bytes().into_owned()).unwrap(), text)
            })
            .collect()
    }

    #[test]
    fn the_configuration_comes_first_and_mounts_hide_what_is_below() {
        let dir = tempfile::tempdir().unwrap();
        let long = "n".repeat(120);
        for (file, text) in [
            ("root/etc/hostname", "ct01\n"),
            ("root/mnt/data/hidden", "below the mount point"),
            ("root/tmp/scratch", "excluded"),
            ("data/file.txt", "in the mount point\n"),
            ("data/lost+found/x", "never"),
        ] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::write(dir.path().join("data").join(&long), "long").unwrap();
        let mount = |path: &str, folder: &str| Mount {
            path: path.into(),
            folder: dir.path().join(folder),
            owners: BTreeMap::new(),
        };
        let excluded = vec![exclusion("/tmp/?*").unwrap()];
        let mut writer = TreeWriter::new(Vec::new(), "arch: amd64\n", "", excluded).unwrap();
        writer.mounts(&[mount("/", "root"), mount("/mnt/data", "data")]).unwrap();
        let (archive, bytes) = writer.finish().unwrap();
        assert_eq!((archive.len() as u64, bytes % RECORD), (bytes, 0));
        let expected = [
            ("./etc/vzdump/pct.conf".to_owned(), "arch: amd64\n"),
            ("./etc/vzdump/pct.fw".to_owned(), ""),
            ("./".to_owned(), ""),
            ("./etc/".to_owned(), ""),
            ("./etc/hostname".to_owned(), "ct01\n"),
            ("./mnt/".to_owned(), ""),
            ("./mnt/data/".to_owned(), ""),
            ("./tmp/".to_owned(), ""),
            ("./mnt/data/".to_owned(), ""),
            ("./mnt/data/file.txt".to_owned(), "in the mount point\n"),
            (format!("./mnt/data/{long}"), "long"),
        ];
        let expected: Vec<(String, String)> =
            expected.into_iter().map(|(name, text)| (name, text.to_owned())).collect();
        assert_eq!(members(&archive), expected);
    }

    #[test]
    fn patterns_are_anchored_only_with_a_leading_slash() {
        let matches = |glob: &str, path: &str| exclusion(glob).unwrap().is_match(path.as_bytes());
        assert!(matches("/tmp/?*", "/tmp/a") && matches("/tmp/?*", "/tmp/a/b"));
        assert!(!matches("/tmp/?*", "/tmp") && !matches("/tmp/?*", "/var/tmp/a"));
        assert!(matches("*.bak", "/srv/x.bak") && !matches("*.bak", "/srv/x.bak2"));
        assert!(matches("cache", "/var/cache/x") && !matches("cache", "/var/cached"));
        assert!(!matches("/var/run/?*.pid", "/var/run/.pid"));
    }
}
