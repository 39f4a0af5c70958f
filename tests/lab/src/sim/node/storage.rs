//! The storages of `storage.cfg`, and how much room they have.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use super::cluster::SectionFile;
use super::{Failure, Node, Outcome};

/// The configuration of storages.
pub const STORAGE_CFG: &str = "/etc/pve/storage.cfg";

/// One storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Its name.
    pub id: String,
    /// `dir`, `nfs`, `cifs`, `lvmthin`, `zfspool`, `pbs`, …
    pub kind: String,
    /// Its settings as they stand in the file.
    pub settings: Vec<(String, String)>,
}

impl Storage {
    /// A setting.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Whether volumes are files in folders.
    pub fn is_folder(&self) -> bool {
        matches!(self.kind.as_str(), "dir" | "nfs" | "cifs" | "btrfs" | "cephfs" | "glusterfs")
    }

    /// Where it is mounted, for a storage of folders.
    pub fn mount(&self) -> String {
        match self.get("path") {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("/mnt/pve/{}", self.id),
        }
    }

    /// The folder on the node in which its volumes are, of whatever kind it is.
    pub fn place(&self) -> String {
        match self.kind.as_str() {
            "lvmthin" | "lvm" => format!("/dev/{}", self.get("vgname").unwrap_or("pve")),
            "zfspool" => format!("/dev/zvol/{}", self.get("pool").unwrap_or("rpool")),
            // Another machine: nothing of it is visible on a real node.
            "pbs" => format!("/.backup-server/{}", self.id),
            _ => self.mount(),
        }
    }

    /// The folder of a content type of a storage of folders.
    pub fn content_folder(&self, content: &str) -> String {
        let own = self.get("content-dirs").and_then(|dirs| {
            dirs.split(',').filter_map(|dir| dir.trim().split_once('=')).find(|(kind, _)| *kind == content)
        });
        let usual = match content {
            "backup" => "dump",
            "iso" => "template/iso",
            "vztmpl" => "template/cache",
            "rootdir" => "private",
            other => other,
        };
        format!("{}/{}", self.mount(), own.map_or(usual, |(_, dir)| dir.trim_matches('/')))
    }

    /// The content types it is for.
    pub fn contents(&self) -> Vec<&str> {
        match self.get("content") {
            Some(content) => content.split([',', ' ']).filter(|word| !word.is_empty()).collect(),
            None if self.is_folder() => vec!["images", "rootdir", "vztmpl", "iso", "backup", "snippets"],
            None if self.kind == "pbs" => vec!["backup"],
            None => vec!["images", "rootdir"],
        }
    }

    /// Whether it is for a content type.
    pub fn allows(&self, content: &str) -> bool {
        self.contents().contains(&content)
    }

    /// Whether it may be used on a node.
    pub fn is_enabled(&self) -> bool {
        self.get("disable").is_none_or(|value| value == "0")
    }

    /// Whether it is configured for a node.
    pub fn is_on(&self, node: &str) -> bool {
        self.get("nodes").is_none_or(|nodes| nodes.split(',').any(|name| name.trim() == node))
    }

    /// Whether all nodes see the same volumes.
    pub fn is_shared(&self) -> bool {
        self.get("shared") == Some("1")
            || matches!(self.kind.as_str(), "nfs" | "cifs" | "pbs" | "cephfs" | "rbd")
    }
}

/// How full a storage is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Everything.
    pub total: u64,
    /// Taken.
    pub used: u64,
    /// Left.
    pub free: u64,
}

/// The room that is left on a storage, shared by all who write to it in this command.
#[derive(Debug, Clone)]
pub struct Room(Rc<Cell<u64>>);

impl Room {
    /// Takes `bytes`, or reports that the storage is full.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let left = self.0.get().checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        self.0.set(left);
        Ok(())
    }

    /// Takes `bytes`, or all that is left.
    pub fn take_up_to(&self, bytes: u64) {
        self.0.set(self.0.get().saturating_sub(bytes));
    }
}

impl Node {
    /// All storages, in the order of the file. `local` is always there.
    pub fn storages(&self) -> Vec<Storage> {
        let file = SectionFile::parse(&self.read(STORAGE_CFG).unwrap_or_default());
        let mut storages: Vec<_> = file
            .sections
            .into_iter()
            .map(|section| Storage { id: section.id, kind: section.kind, settings: section.settings })
            .collect();
        if !storages.iter().any(|storage| storage.id == "local") {
            let settings = [("path", "/var/lib/vz"), ("content", "iso,vztmpl,backup")];
            let settings = settings.map(|(key, value)| (key.into(), value.into())).into();
            storages.insert(0, Storage { id: "local".into(), kind: "dir".into(), settings });
        }
        storages
    }

    /// A storage by its name.
    pub fn storage(&self, id: &str) -> Outcome<Storage> {
        let found = self.storages().into_iter().find(|storage| storage.id == id);
        found.ok_or_else(|| Failure::new(format!("storage '{id}' does not exist")))
    }

    /// A storage that may be used now: known, enabled, on this node and answering.
    pub fn usable_storage(&self, id: &str) -> Outcome<Storage> {
        let storage = self.storage(id)?;
        if !storage.is_enabled() {
            return Err(Failure::new(format!("storage '{id}' is disabled")));
        }
        if !storage.is_on(self.name()) {
            let node = self.name();
            return Err(Failure::new(format!("storage '{id}' is not available on node '{node}'")));
        }
        if !self.is_online(&storage) {
            return Err(Failure::new(format!("storage '{id}' is not online")));
        }
        Ok(storage)
    }

    /// Whether a storage answers.
    pub fn is_online(&self, storage: &Storage) -> bool {
        self.settings().storages.get(&storage.id).is_none_or(|capacity| capacity.online)
    }

    /// How full a storage is.
    pub fn usage(&self, storage: &Storage) -> Usage {
        let capacity = self.settings().storages.get(&storage.id).copied().unwrap_or_default();
        let used = disk_usage(&self.path(&storage.place())) + capacity.reserved;
        let used = used.min(capacity.total);
        Usage { total: capacity.total, used, free: capacity.total - used }
    }

    /// The room on a storage, to be taken by writers.
    pub fn room(&self, storage: &Storage) -> Room {
        Room(Rc::new(Cell::new(self.usage(storage).free)))
    }
}

/// The bytes that a folder's files really take, holes left out.
pub fn disk_usage(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            Some(if metadata.is_dir() { disk_usage(&entry.path()) } else { metadata.blocks() * 512 })
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_is_read_with_its_settings() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let text =
            "dir: data\n\tpath /srv/data\n\tcontent images\n\tdisable\n\nlvmthin: thin\n\tvgname pve\n";
        node.write(STORAGE_CFG, text).unwrap();
        let data = node.storage("data").unwrap();
        assert!(data.allows("images") && !data.allows("backup") && !data.is_enabled());
        assert_eq!(node.usable_storage("data").unwrap_err().text, "storage 'data' is disabled");
        assert_eq!(node.storage("gone").unwrap_err().text, "storage 'gone' does not exist");
        assert_eq!(node.storage("thin").unwrap().place(), "/dev/pve");
        assert_eq!(node.storage("local").unwrap().content_folder("backup"), "/var/lib/vz/dump");
    }
}
