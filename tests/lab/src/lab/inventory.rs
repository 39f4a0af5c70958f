//! All of a node's state that counts, in a form that can be compared.

use std::{collections::BTreeMap, fs, io, path::Path};

use sha2::{Digest as _, Sha256};

use super::Lab;

/// Configurations, firewall files, power states, archives, and the content of every volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// Every file below the node's root that is not a log: its path and the SHA-256 of its content.
    pub files: BTreeMap<String, String>,
}

/// What changes by itself or is about the simulator: logs, its links, its settings.
const PASSED_OVER: &[&str] = &[
    "/var/log/",
    "/.bin/",
    "/etc/pve-sim",
    "/etc/pve/ha/manager_status",
    "/var/lock/",
    "/run/lock/",
    "/run/pve-sim/",
];

/// What `pct restore` leaves in a restored container, by itself.
pub(super) const LEFT_BY_RESTORE: &str = "/etc/vzdump";

impl Lab {
    /// Takes stock.
    pub fn inventory(&self) -> io::Result<Inventory> {
        let mut files = BTreeMap::new();
        visit(self.root(), self.root(), &mut files)?;
        Ok(Inventory { files })
    }

    /// SHA-256 of what the disk under `key` of a guest holds now; of a container's volume, of its tree.
    pub fn disk_sha256(&self, config_path: &str, key: &str) -> io::Result<String> {
        let text = self.read(config_path)?;
        let line = text
            .lines()
            .take_while(|l| !l.starts_with('['))
            .find_map(|l| l.strip_prefix(&format!("{key}: ")));
        let volid =
            line.and_then(|l| l.split(',').next()).ok_or_else(|| io::Error::other(format!("no {key}")))?;
        self.volume_sha256(volid)
    }

    /// The same for a volume, whoever has it.
    pub fn volume_sha256(&self, volid: &str) -> io::Result<String> {
        let place = self.node()?.place(volid).map_err(|e| io::Error::other(e.text))?;
        sha256(&self.path(&place.path))
    }
}

/// What vanishes meanwhile, because somebody still works on the node, is not there.
fn visit(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) -> io::Result<()> {
    for entry in there(fs::read_dir(folder))?.into_iter().flatten() {
        let path = entry?.path();
        let name = format!("/{}", path.strip_prefix(root).unwrap_or(&path).display());
        if PASSED_OVER.iter().any(|start| name.starts_with(start) || format!("{name}/") == *start) {
            continue;
        }
        let Some(meta) = there(fs::symlink_metadata(&path))? else { continue };
        if meta.is_dir() {
            visit(root, &path, files)?;
        } else if meta.is_file() {
            files.extend(there(sha256(&path))?.map(|hash| (name, hash)));
        }
    }
    Ok(())
}

fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Of a file, of its content; of a folder, of the names and contents below it.
fn sha256(path: &Path) -> io::Result<String> {
    if path.is_dir() {
        let mut files = BTreeMap::new();
        visit(path, path, &mut files)?;
        files.retain(|name, _| !name.starts_with(LEFT_BY_RESTORE));
        return Ok(of_tree(&files));
    }
    let mut hash = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut HashWriter(&mut hash))?;
    Ok(hex(&hash.finalize()))
}

/// Of a tree whose files have these contents.
pub(super) fn of_tree(files: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, content) in files {
        hash.update(format!("{name}\0{content}\n"));
    }
    hex(&hash.finalize())
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |hex, byte| hex + &format!("{byte:02x}"))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
