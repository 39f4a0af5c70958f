//! What of a guest's configuration goes into its backup.

use crate::sim::node::GuestConfig;
use crate::sim::node::config::Section;
use crate::sim::node::property::{Properties, disk_keys};

/// A disk of a VM as a backup sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Disk {
    /// Configuration key, such as `scsi0`.
    pub(super) key: String,
    /// Volume id.
    pub(super) volume: String,
    /// As the configuration writes it, such as `32G`.
    pub(super) size: Option<String>,
    /// Whether `backup=0` leaves it out.
    pub(super) excluded: bool,
}

impl Disk {
    /// The device name inside the archive.
    pub(super) fn device(&self) -> String {
        let suffix = if self.key.starts_with("tpmstate") { "-backup" } else { "" };
        format!("drive-{}{suffix}", self.key)
    }
}

/// A mount point of a container as a backup sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountPoint {
    /// `rootfs` or `mpN`.
    pub(super) key: String,
    /// Volume id, or path for a bind mount.
    pub(super) volume: String,
    /// Path inside the container.
    pub(super) path: String,
    /// What happens to it.
    pub(super) kind: MountKind,
}

/// What a backup does with a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MountKind {
    /// It is in the backup.
    Included,
    /// A volume without `backup=1`.
    Disabled,
    /// A path of the node.
    Bind,
    /// A block device of the node.
    Device,
}

/// The disks of a VM in the order of a backup, without CD-ROM drives.
pub(super) fn disks(config: &Section) -> Vec<Disk> {
    disk_keys().filter_map(|key| disk(&key, &Properties::parse(config.get(&key)?))).collect()
}

fn disk(key: &str, properties: &Properties) -> Option<Disk> {
    let volume = properties.volume()?;
    let is_volume = volume.contains(':') && !volume.starts_with('/');
    if !is_volume || properties.is_cdrom() || properties.is_cloudinit() {
        return None;
    }
    Some(Disk {
        key: key.to_owned(),
        volume: volume.to_owned(),
        size: properties.get("size").map(str::to_owned),
        excluded: properties.get("backup").is_some_and(|value| !is_true(value)),
    })
}

/// The mount points of a container, the root file system first.
pub(super) fn mount_points(config: &Section) -> Vec<MountPoint> {
    let keys = std::iter::once("rootfs".to_owned()).chain((0..256).map(|number| format!("mp{number}")));
    keys.filter_map(|key| mount_point(&key, &Properties::parse(config.get(&key)?))).collect()
}

fn mount_point(key: &str, properties: &Properties) -> Option<MountPoint> {
    let volume = properties.volume()?;
    let path = if key == "rootfs" { "/" } else { properties.get("mp")? };
    let kind = if volume.starts_with("/dev/") {
        MountKind::Device
    } else if volume.starts_with('/') {
        MountKind::Bind
    } else if key == "rootfs" || properties.get("backup").is_some_and(is_true) {
        MountKind::Included
    } else {
        MountKind::Disabled
    };
    Some(MountPoint { key: key.to_owned(), volume: volume.to_owned(), path: path.to_owned(), kind })
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value)
}

/// The configuration of a VM as it goes into the archive, and what is said about what stays out. Its lines are
/// copied as they stand; those about the disks in the archive follow.
pub(super) fn vm_config(text: &str, map: &str) -> (String, Vec<String>) {
    let (mut kept, mut said) = (String::new(), Vec::new());
    for line in text.lines().take_while(|line| !line.starts_with('[')) {
        if ["#qmdump#", "lock:", "parent:"].iter().any(|out| line.starts_with(out)) {
            continue;
        }
        let unused = line.strip_prefix("unused").and_then(|rest| rest.split_once(':'));
        match unused.filter(|(number, _)| number.parse::<u32>().is_ok()) {
            Some((_, volume)) => {
                said.push(format!("skip unused drive '{}' (not included into backup)", volume.trim()));
            }
            None => kept.extend([line, "\n"]),
        }
    }
    let config = GuestConfig::parse(text);
    if config.snapshots().next().is_some() {
        said.push("snapshots found (not included into backup)".into());
    }
    if config.pending().is_some() {
        said.push("pending configuration changes found (not included into backup)".into());
    }
    (format!("{}\n{map}", kept.trim_end()), said)
}

/// The configuration of a container as it goes into the archive.
pub(super) fn container_config(config: &GuestConfig) -> String {
    let mut kept = config.main.clone();
    kept.remove("lock");
    kept.remove("parent");
    kept.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "\
#My test VM
lock: backup
boot: order=scsi0
efidisk0: data:100/vm-100-disk-2.raw,efitype=4m,size=528K
ide2: local:iso/debian.iso,media=cdrom
ide3: data:vm-100-cloudinit,media=cdrom
parent: snap1
scsi0: data:100/vm-100-disk-0.raw,size=10M
scsi2: data:100/vm-100-disk-3.raw,backup=0,size=1M
scsihw: virtio-scsi-single
tpmstate0: data:100/vm-100-disk-9.raw,size=4M,version=v2.0
unused0: data:100/vm-100-disk-7.raw

[PENDING]
cores: 3

[snap1]
scsi1: data:100/vm-100-disk-1.raw
";

    #[test]
    fn disks_are_what_a_backup_asks_about() {
        let seen: Vec<(String, String, bool)> = disks(&GuestConfig::parse(VM).main)
            .into_iter()
            .map(|disk| (disk.device(), disk.size.unwrap_or_default(), disk.excluded))
            .collect();
        let expected = [
            ("drive-scsi0", "10M", false),
            ("drive-scsi2", "1M", true),
            ("drive-efidisk0", "528K", false),
            ("drive-tpmstate0-backup", "4M", false),
        ];
        assert_eq!(seen, expected.map(|(device, size, out)| (device.to_owned(), size.to_owned(), out)));
    }

    #[test]
    fn the_archived_configuration_ends_before_the_sections() {
        let (text, said) = vm_config(VM, "#qmdump#map:scsi0:drive-scsi0:data:raw:\n");
        assert!(text.starts_with("#My test VM\nboot: order=scsi0\n"), "{text}");
        assert!(text.ends_with("version=v2.0\n#qmdump#map:scsi0:drive-scsi0:data:raw:\n"), "{text}");
        for absent in ["lock:", "parent:", "unused0", "[", "cores"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
        assert_eq!(
            said,
            [
                "skip unused drive 'data:100/vm-100-disk-7.raw' (not included into backup)",
                "snapshots found (not included into backup)",
                "pending configuration changes found (not included into backup)",
            ]
        );
    }

    #[test]
    fn mount_points_are_sorted_and_sorted_out() {
        let config = GuestConfig::parse(
            "mp10: data:a,mp=/ten,backup=1\nmp2: /srv/share,mp=/srv/share\nmp1: data:b,mp=/x\n\
                      mp3: /dev/sdb1,mp=/disk\nrootfs: data:200/vm-200-disk-0.raw,size=2G\nlock: backup\n",
        );
        let seen: Vec<(String, String, MountKind)> =
            mount_points(&config.main).into_iter().map(|point| (point.key, point.path, point.kind)).collect();
        let expected = [
            ("rootfs", "/", MountKind::Included),
            ("mp1", "/x", MountKind::Disabled),
            ("mp2", "/srv/share", MountKind::Bind),
            ("mp3", "/disk", MountKind::Device),
            ("mp10", "/ten", MountKind::Included),
        ];
        assert_eq!(seen, expected.map(|(key, path, kind)| (key.to_owned(), path.to_owned(), kind)));
        assert!(!container_config(&config).contains("lock"));
    }
}
