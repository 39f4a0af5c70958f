//! A guest's configuration file, as it stands in `/etc/pve` or inside an archive.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{GuestKind, StorageId, VolumeId};

/// A configuration: the current settings, the names of snapshots, and the text it was read from.
///
/// Serialised it is that text without passwords (see [`GuestConfig::SECRETS`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct GuestConfig {
    text: String,
    settings: BTreeMap<String, String>,
    description: Vec<String>,
    snapshots: Vec<String>,
}

/// A value of the form `first,key=value,key=value`: its first part (or the part named by `default`) and the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// The part without a name, which stands first.
    pub first: Option<&'a str>,
    /// The parts with a name.
    pub named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Property<'a> {
    /// Splits a value.
    pub fn parse(value: &'a str) -> Self {
        let mut property = Self { first: None, named: BTreeMap::new() };
        for part in value.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => {
                    property.named.insert(key, value);
                }
                None => property.first = property.first.or(Some(part)),
            }
        }
        property
    }

    /// A named part as a flag.
    pub fn flag(&self, key: &str) -> bool {
        self.named.get(key).is_some_and(|v| matches!(*v, "1" | "on" | "yes" | "true"))
    }
}

/// A disk of a VM, or the root file system or a mount point of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its key in the configuration: `scsi0`, `efidisk0`, `rootfs`, `mp1`, `unused0`.
    pub key: String,
    /// What stands behind the key, without options: a volume id, or the host path of a bind mount.
    pub source: String,
    /// The whole value, with options.
    pub value: String,
    /// Size in bytes, where the configuration says it.
    pub size: Option<u64>,
    /// Whether a backup of this guest contains it.
    pub in_backup: bool,
}

impl Disk {
    /// The volume, unless it is a path of the host (a bind mount).
    pub fn volume(&self) -> Option<VolumeId> {
        if self.source.starts_with('/') { None } else { self.source.parse().ok() }
    }

    /// The storage its volume lies on.
    pub fn storage(&self) -> Option<StorageId> {
        self.volume().and_then(|v| v.storage().parse().ok())
    }

    /// An `unusedN` entry: a volume that belongs to the guest and is attached nowhere.
    pub fn is_unused(&self) -> bool {
        self.key.starts_with("unused")
    }
}

impl GuestConfig {
    /// Reads a configuration. Lines of unknown form are kept in [`GuestConfig::text`] and otherwise passed over.
    pub fn parse(text: &str) -> Self {
        let mut config = Self {
            text: text.to_owned(),
            settings: BTreeMap::new(),
            description: Vec::new(),
            snapshots: Vec::new(),
        };
        let mut in_current = true;
        for line in text.lines() {
            if let Some(section) = line.trim_end().strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                in_current = false;
                if !section.contains(':') && section != "PENDING" {
                    config.snapshots.push(section.to_owned());
                }
            } else if in_current {
                config.read_line(line);
            }
        }
        config
    }

    fn read_line(&mut self, line: &str) {
        if let Some(comment) = line.strip_prefix('#') {
            if !comment.starts_with("qmdump#") {
                self.description.push(comment.to_owned());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            self.settings.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Settings that hold a password, hashed or not. They stay on the node.
    pub const SECRETS: [&str; 1] = ["cipassword"];

    /// A setting's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// The settings in order of their keys.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The lines of the description, as they stand in the file (percent-encoded).
    pub fn description(&self) -> &[String] {
        &self.description
    }

    /// The names of its snapshots.
    pub fn snapshots(&self) -> &[String] {
        &self.snapshots
    }

    /// The guest's name: `name` of a VM, `hostname` of a container.
    pub fn name(&self) -> Option<&str> {
        self.get("name").or_else(|| self.get("hostname"))
    }

    /// The word of a configuration lock.
    pub fn lock(&self) -> Option<&str> {
        self.get("lock")
    }

    /// Whether a flag is set.
    pub fn flag(&self, key: &str) -> bool {
        self.get(key)
            .is_some_and(|v| Property::parse(v).first == Some("1") || Property::parse(v).flag("enabled"))
    }

    /// What an interrupted `qmrestore` leaves: no setting at all, or `memory: 128` and nothing else.
    pub fn is_left_by_a_failed_restore(&self) -> bool {
        let only_memory = self.settings.len() == 1 && self.get("memory") == Some("128");
        self.settings.is_empty() || only_memory
    }

    /// Disks, root file system and mount points, in order of their keys. CD-ROM drives hold no data of the guest and
    /// are left out; so is the cloud-init drive, which the node makes anew.
    pub fn disks(&self, kind: GuestKind) -> Vec<Disk> {
        let entries = self.settings.iter().filter(|(key, _)| is_disk_key(kind, key));
        entries.filter_map(|(key, value)| disk(kind, key, value)).collect()
    }

    /// The bridges its network interfaces are attached to, with the interface's key.
    pub fn bridges(&self) -> Vec<(&str, &str)> {
        let nets = self.settings.iter().filter(|(key, _)| is_indexed(key, "net"));
        nets.filter_map(|(key, value)| Some((key.as_str(), *Property::parse(value).named.get("bridge")?)))
            .collect()
    }

    /// Static addresses without prefix length, from `ipconfigN` of a VM or `netN` of a container.
    pub fn static_addresses(&self) -> Vec<&str> {
        let lines =
            self.settings.iter().filter(|(key, _)| is_indexed(key, "ipconfig") || is_indexed(key, "net"));
        let values = lines.flat_map(|(_, value)| {
            let property = Property::parse(value);
            [property.named.get("ip").copied(), property.named.get("ip6").copied()]
        });
        let words = ["dhcp", "auto", "manual"];
        values.flatten().filter(|v| !words.contains(v)).map(|v| v.split('/').next().unwrap_or(v)).collect()
    }
}

fn disk(kind: GuestKind, key: &str, value: &str) -> Option<Disk> {
    let property = Property::parse(value);
    let source = property.first.or_else(|| property.named.get("file").copied())?;
    if source == "none" || property.named.get("media") == Some(&"cdrom") || source.contains("cloudinit") {
        return None;
    }
    let is_volume = !source.starts_with('/');
    let in_backup = match kind {
        GuestKind::Qemu => {
            property.named.get("backup").is_none_or(|v| matches!(*v, "1" | "on" | "yes" | "true"))
        }
        GuestKind::Lxc => key == "rootfs" || property.flag("backup"),
    };
    Some(Disk {
        key: key.to_owned(),
        source: source.to_owned(),
        value: value.to_owned(),
        size: property.named.get("size").and_then(|s| bytes_of(s)),
        in_backup: in_backup && is_volume && !key.starts_with("unused"),
    })
}

fn is_disk_key(kind: GuestKind, key: &str) -> bool {
    let families: &[&str] = match kind {
        GuestKind::Qemu => &["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused"],
        GuestKind::Lxc => &["mp", "unused"],
    };
    families.iter().any(|family| is_indexed(key, family)) || (kind == GuestKind::Lxc && key == "rootfs")
}

fn is_indexed(key: &str, family: &str) -> bool {
    key.strip_prefix(family).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// `528K`, `32G`, `1048576`: sizes in a configuration, in bytes.
fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let fraction: f64 = digits.parse().ok()?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((fraction * factor as f64) as u64)
}

/// The `#qmdump#map:KEY:DEVICE:STORAGE:FORMAT:` lines of a configuration inside a VM archive: key and storage of each
/// disk that the archive holds. Source: vzdump of qemu-server.
pub fn map_lines(text: &str) -> Vec<(String, Option<StorageId>)> {
    let entries = text.lines().filter_map(|line| line.strip_prefix("#qmdump#map:"));
    let entry = |line: &str| {
        let mut parts = line.split(':');
        let key = parts.next().filter(|k| !k.is_empty())?;
        let storage = parts.nth(1)?;
        Some((key.to_owned(), storage.parse().ok()))
    };
    entries.filter_map(entry).collect()
}

impl From<String> for GuestConfig {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<GuestConfig> for String {
    fn from(config: GuestConfig) -> Self {
        let is_secret = |line: &str| {
            line.split_once(':').is_some_and(|(key, _)| GuestConfig::SECRETS.contains(&key.trim()))
        };
        config.text.split_inclusive('\n').filter(|line| !is_secret(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_stays_on_the_node() {
        let config =
            GuestConfig::parse("cipassword: $5$hash\nname: web\n[before]\ncipassword: $5$old\nname: web\n");
        let text = serde_json::to_string(&config).unwrap();
        assert!(!text.contains("$5$") && text.contains("[before]"), "{text}");
        let back: GuestConfig = serde_json::from_str(&text).unwrap();
        assert_eq!((back.name(), back.snapshots().len()), (Some("web"), 1));
    }

    const VM: &str = "#notes here\nagent: 1\nboot: order=scsi0\nefidisk0: data:100/vm-100-disk-2.raw,efitype=4m,size=528K\n\
        ide2: none,media=cdrom\nide3: data:vm-100-cloudinit,media=cdrom\nipconfig0: ip=192.168.1.50/24,gw=192.168.1.1\n\
        lock: backup\nmemory: 2048\nname: web01\nnet0: virtio=BC:24:11:2C:4A:9E,bridge=vmbr0,firewall=1\n\
        scsi0: data:100/vm-100-disk-0.raw,size=10M\nscsi2: data:100/vm-100-disk-3.raw,backup=0,size=1G\n\
        unused0: data:100/vm-100-disk-9.raw\n[before]\nlock: no\nsnaptime: 1\n[PENDING]\nmemory: 4096\n[special:cloudinit]\nname: x\n";

    #[test]
    fn only_the_current_section_counts() {
        let config = GuestConfig::parse(VM);
        assert_eq!(config.lock(), Some("backup"));
        assert_eq!(config.get("memory"), Some("2048"));
        assert_eq!(config.snapshots(), ["before"]);
        assert_eq!(config.name(), Some("web01"));
        assert_eq!(config.description(), ["notes here"]);
        assert!(config.flag("agent"));
        assert_eq!(config.bridges(), [("net0", "vmbr0")]);
        assert_eq!(config.static_addresses(), ["192.168.1.50"]);
    }

    #[test]
    fn disks_are_what_holds_data() {
        let disks = GuestConfig::parse(VM).disks(GuestKind::Qemu);
        let seen: Vec<_> = disks.iter().map(|d| (d.key.as_str(), d.size, d.in_backup)).collect();
        let m = 1 << 20;
        assert_eq!(
            seen,
            [
                ("efidisk0", Some(528 << 10), true),
                ("scsi0", Some(10 * m), true),
                ("scsi2", Some(1 << 30), false),
                ("unused0", None, false)
            ]
        );
        assert_eq!(disks[1].volume().unwrap().storage(), "data");
    }

    #[test]
    fn a_containers_mount_points_are_in_the_backup_only_when_they_say_so() {
        let config = GuestConfig::parse(
            "hostname: ct01\nmp0: data:200/a.raw,mp=/a,backup=1,size=1G\nmp1: data:200/b.raw,mp=/b,size=1G\n\
             mp2: /srv/share,mp=/share\nnet0: name=eth0,bridge=vmbr1,hwaddr=BC:24:11:AA:BB:CC,ip=dhcp,type=veth\nrootfs: data:200/r.raw,size=2G\n",
        );
        let disks = config.disks(GuestKind::Lxc);
        let seen: Vec<_> =
            disks.iter().map(|d| (d.key.as_str(), d.in_backup, d.volume().is_some())).collect();
        assert_eq!(
            seen,
            [("mp0", true, true), ("mp1", false, true), ("mp2", false, false), ("rootfs", true, true)]
        );
        assert!(config.static_addresses().is_empty());
    }

    #[rstest::rstest]
    #[case("memory: 128\n", true)]
    #[case("", true)]
    #[case("memory: 128\nlock: create\n", false)]
    #[case("memory: 256\n", false)]
    #[case("memory: 128\nunused0: data:100/vm-100-disk-7.raw\n", false)]
    fn what_a_failed_restore_leaves_is_recognised(#[case] text: &str, #[case] leftover: bool) {
        assert_eq!(GuestConfig::parse(text).is_left_by_a_failed_restore(), leftover);
    }

    #[test]
    fn map_lines_name_keys_and_storages() {
        let text = "scsi0: data:100/x.raw\n#qmdump#map:scsi0:drive-scsi0:data:raw:\n#qmdump#map:efidisk0:drive-efidisk0::raw:\n";
        let lines = map_lines(text);
        assert_eq!(lines, [("scsi0".to_owned(), "data".parse().ok()), ("efidisk0".to_owned(), None)]);
    }
}
