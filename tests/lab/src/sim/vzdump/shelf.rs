//! The directory that takes the archives, and what is already in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::retention::Retention;
use crate::sim::clock;
use crate::sim::node::storage::Storage;
use crate::sim::node::volume::is_backup_name;

/// Where backups are put.
pub(super) struct Shelf {
    /// Nothing with `--dumpdir`.
    pub(super) storage: Option<Storage>,
    /// The directory as the node names it.
    pub(super) shown: String,
    /// The real directory.
    pub(super) dir: PathBuf,
}

/// A finished backup of one guest.
pub(super) struct Backup {
    file: String,
    time: i64,
    protected: bool,
}

impl Shelf {
    /// The backups of a guest with standard names.
    pub(super) fn backups(&self, kind: &str, vmid: u32) -> Vec<Backup> {
        let Ok(entries) = fs::read_dir(&self.dir) else { return Vec::new() };
        let prefix = format!("vzdump-{kind}-{vmid}-");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|file| self.backup(file, &prefix)).collect()
    }

    fn backup(&self, file: String, prefix: &str) -> Option<Backup> {
        let (stamp, _) = file.strip_prefix(prefix)?.split_once('.')?;
        let time = clock::parse_stamp(stamp).filter(|_| is_backup_name(&file))?;
        let protected = self.dir.join(format!("{file}.protected")).exists();
        Some(Backup { file, time, protected })
    }

    /// How many backups of the guest count against a limit.
    pub(super) fn unprotected(&self, kind: &str, vmid: u32) -> usize {
        self.backups(kind, vmid).iter().filter(|backup| !backup.protected).count()
    }

    /// How many backups of a guest may be protected; root has no limit of its own.
    pub(super) fn most_protected(&self) -> Option<usize> {
        self.storage.as_ref()?.get("max-protected-backups")?.parse().ok()
    }

    /// How many backups of the guest are protected.
    pub(super) fn protected(&self, kind: &str, vmid: u32) -> usize {
        self.backups(kind, vmid).iter().filter(|backup| backup.protected).count()
    }

    /// Removes what the retention does not keep; gives the lines about it.
    pub(super) fn prune(&self, kind: &str, vmid: u32, retention: &Retention) -> io::Result<Vec<String>> {
        let mut candidates = self.backups(kind, vmid);
        candidates.retain(|backup| !backup.protected);
        let times: Vec<i64> = candidates.iter().map(|backup| backup.time).collect();
        let mut lines = vec![format!("prune older backups with retention: {retention}")];
        let condemned = retention.to_remove(&times);
        for time in &condemned {
            for backup in candidates.iter().filter(|backup| backup.time == *time) {
                lines.push(format!("removing backup '{}'", self.volume(&backup.file)));
                self.remove(&backup.file)?;
            }
        }
        lines.push(match condemned.len() {
            0 => "pruned 0 backup(s)".into(),
            count => format!("pruned {count} backup(s) not covered by keep-retention policy"),
        });
        Ok(lines)
    }

    fn volume(&self, file: &str) -> String {
        match &self.storage {
            Some(storage) => format!("{}:backup/{file}", storage.id),
            None => format!("{}/{file}", self.shown),
        }
    }

    fn remove(&self, file: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(file))?;
        let stem = file.split('.').next().unwrap_or(file);
        for companion in [format!("{stem}.log"), format!("{file}.notes")] {
            remove_if_there(&self.dir.join(companion))?;
        }
        Ok(())
    }
}

/// Removes a file that may not exist.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_leaves_protected_backups_and_other_guests_alone() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "vzdump-qemu-101-2026_01_10-12_00_00.vma.zst",
            "vzdump-qemu-101-2026_01_10-12_00_00.log",
            "vzdump-qemu-101-2026_01_10-12_00_00.vma.zst.notes",
            "vzdump-qemu-101-2026_01_09-12_00_00.vma.zst",
            "vzdump-qemu-101-2026_01_09-12_00_00.vma.zst.protected",
            "vzdump-qemu-101-2026_01_11-12_00_00.vma.zst",
            "vzdump-qemu-1010-2026_01_01-12_00_00.vma.zst",
            "vzdump-lxc-101-2026_01_01-12_00_00.tar.zst",
            "vzdump-qemu-101-my-own.vma.zst",
        ];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let shelf = Shelf {
            storage: Some(Storage { id: "nas".into(), kind: "dir".into(), settings: vec![] }),
            shown: "/mnt/nas/dump".into(),
            dir: dir.path().into(),
        };
        assert_eq!((shelf.unprotected("qemu", 101), shelf.protected("qemu", 101)), (2, 1));
        let lines = shelf.prune("qemu", 101, &Retention::parse("keep-last=1")).unwrap();
        assert_eq!(
            lines,
            [
                "prune older backups with retention: keep-last=1",
                "removing backup 'nas:backup/vzdump-qemu-101-2026_01_10-12_00_00.vma.zst'",
                "pruned 1 backup(s) not covered by keep-retention policy",
            ]
        );
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected: Vec<&str> = names[3..].to_vec();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }
}
