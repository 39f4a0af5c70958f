//! What becomes of each disk, when a guest is restored over the one that is there.

use restore_common::pve::{Disk, GuestConfig, GuestKind, map_lines};
use serde::Serialize;

/// What becomes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Its content comes from the backup; what it holds now is replaced.
    Restored,
    /// The backup does not contain it; it stays as it is, under its key.
    Kept,
    /// The volume stays on its storage, attached as `unusedN`.
    Detached,
    /// It is given up.
    Lost,
}

impl Fate {
    /// For the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Restored => "restored",
            Self::Kept => "kept",
            Self::Detached => "detached",
            Self::Lost => "LOST",
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskFate {
    /// Its key: `scsi0`, `mp1`.
    pub key: String,
    /// What is there now.
    pub now: Option<String>,
    /// Bytes, as the configuration says (of the backup where it is in there).
    pub size: Option<u64>,
    /// What becomes of it.
    pub fate: Fate,
}

/// The keys of the disks that an archive holds data for.
pub fn keys_in_archive(kind: GuestKind, inside: &GuestConfig) -> Vec<String> {
    match kind {
        GuestKind::Qemu => map_lines(inside.text()).into_iter().map(|(key, _)| key).collect(),
        GuestKind::Lxc => inside.disks(kind).into_iter().filter(|d| d.in_backup).map(|d| d.key).collect(),
    }
}

/// The disks of the present guest that the backup does not contain and that are kept across the restore.
///
/// A VM's disk stays on its storage when the archive has none under its key: it only has to be attached again. A
/// container's volumes are all destroyed by `pct restore`, so those that the backup does not contain are taken out of
/// the configuration before. Source: restore_cleanup_oldconf of qemu-server, destroy_lxc_container of pve-container.
pub fn kept(kind: GuestKind, present: &GuestConfig, inside: &GuestConfig, discard: bool) -> Vec<Disk> {
    if discard {
        return Vec::new();
    }
    let restored = keys_in_archive(kind, inside);
    let is_kept = |disk: &Disk| {
        let excluded = disk.volume().is_some() && !restored.contains(&disk.key);
        match kind {
            // A disk that is only newer than the backup is left as `unusedN`: the backup has no place for it.
            GuestKind::Qemu => excluded && !disk.is_unused() && !disk.in_backup,
            GuestKind::Lxc => excluded,
        }
    };
    present.disks(kind).into_iter().filter(is_kept).collect()
}

/// The table of disks.
pub fn fates(
    kind: GuestKind,
    present: Option<&GuestConfig>,
    inside: &GuestConfig,
    kept: &[Disk],
) -> Vec<DiskFate> {
    let in_archive = keys_in_archive(kind, inside);
    let mut rows: Vec<DiskFate> = Vec::new();
    let present_disks = present.map(|config| config.disks(kind)).unwrap_or_default();
    for disk in &present_disks {
        let fate = if in_archive.contains(&disk.key) {
            Fate::Restored
        } else if kept.contains(disk) || disk.volume().is_none() {
            Fate::Kept
        } else if kind == GuestKind::Qemu {
            Fate::Detached
        } else {
            Fate::Lost
        };
        rows.push(DiskFate { key: disk.key.clone(), now: Some(disk.source.clone()), size: disk.size, fate });
    }
    for disk in inside.disks(kind).into_iter().filter(|d| in_archive.contains(&d.key)) {
        match rows.iter_mut().find(|row| row.key == disk.key) {
            Some(row) => row.size = disk.size.or(row.size),
            None => rows.push(DiskFate { key: disk.key, now: None, size: disk.size, fate: Fate::Restored }),
        }
    }
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vms_excluded_disk_is_kept_and_a_newer_one_detached() {
        let present = GuestConfig::parse(
            "scsi0: st:vm-1-disk-0,size=1G\nscsi1: st:vm-1-disk-1,size=2G\nscsi2: st:vm-1-disk-2,backup=0,size=3G\nunused0: st:vm-1-disk-3\n",
        );
        let inside = GuestConfig::parse(
            "scsi0: st:vm-1-disk-0,size=1G\nscsi2: st:vm-1-disk-2,backup=0,size=3G\n#qmdump#map:scsi0:drive-scsi0:st:raw:\n",
        );
        let table = |discard| {
            let kept = kept(GuestKind::Qemu, &present, &inside, discard);
            let rows = fates(GuestKind::Qemu, Some(&present), &inside, &kept);
            rows.into_iter().map(|r| (r.key, r.fate)).collect::<Vec<_>>()
        };
        let row = |key: &str, fate| (key.to_owned(), fate);
        let rest = [row("scsi0", Fate::Restored), row("scsi1", Fate::Detached)];
        assert_eq!(table(false)[..2], rest);
        assert_eq!(table(false)[2..], [row("scsi2", Fate::Kept), row("unused0", Fate::Detached)]);
        assert_eq!(table(true)[2..], [row("scsi2", Fate::Detached), row("unused0", Fate::Detached)]);
    }

    #[test]
    fn a_containers_other_volumes_are_kept_unless_given_up() {
        let present = GuestConfig::parse(
            "rootfs: st:ct-0,size=1G\nmp0: st:ct-1,mp=/a,backup=1,size=1G\nmp1: st:ct-2,mp=/b,size=1G\nmp2: /srv,mp=/srv\nunused0: st:ct-3\n",
        );
        let inside = GuestConfig::parse(
            "rootfs: st:ct-0,size=1G\nmp0: st:ct-1,mp=/a,backup=1,size=1G\nmp1: st:ct-2,mp=/b,size=1G\n",
        );
        let of = |discard| {
            let kept = kept(GuestKind::Lxc, &present, &inside, discard);
            let rows = fates(GuestKind::Lxc, Some(&present), &inside, &kept);
            rows.into_iter().map(|r| r.fate).collect::<Vec<_>>()
        };
        // mp0, mp1, mp2, rootfs, unused0
        assert_eq!(of(false), [Fate::Restored, Fate::Kept, Fate::Kept, Fate::Restored, Fate::Kept]);
        assert_eq!(of(true), [Fate::Restored, Fate::Lost, Fate::Kept, Fate::Restored, Fate::Lost]);
    }
}
