//! What tells a throw-away guest from all others, and keeps it apart from them.

use restore_common::{
    pve::{GuestConfig, GuestKind, Property, Vmid},
    remote::RunId,
};

/// What the line of a mark begins with. It stands in the guest's description, where the node leaves it alone: it holds
/// none of the characters that are encoded there.
pub const WORDS: &str = "pve-restore drill";

/// Says that a run made this very guest. A copy of it has another number, and so no mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The run.
    pub run: RunId,
    /// The guest that it made.
    pub vmid: Vmid,
    /// The guest whose backup that was.
    pub source: Vmid,
}

impl Mark {
    fn line(&self) -> String {
        let Self { run, vmid, source } = self;
        format!("#{WORDS} {run} made {vmid} from {source} and throws it away")
    }

    /// Reads the line of a mark, with or without the `#` of a configuration file.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.trim_start_matches('#').strip_prefix(WORDS)?.split_whitespace().collect();
        let [run, "made", vmid, "from", source, ..] = words[..] else { return None };
        Some(Self {
            run: run.to_owned().try_into().ok()?,
            vmid: vmid.parse().ok()?,
            source: source.parse().ok()?,
        })
    }

    /// The mark that a guest carries.
    pub fn of(config: &GuestConfig, vmid: Vmid) -> Option<Self> {
        config.description().iter().find_map(|line| Self::parse(line)).filter(|mark| mark.vmid == vmid)
    }
}

/// The configuration of a restored guest with the mark, and without anything by which it could disturb or reach others:
/// its network cards have no link; it does not start by itself; what belongs to the node (devices, folders, hook scripts,
/// raw settings of QEMU and LXC) and disks that are not its own are gone; and nothing keeps it from being removed.
pub fn set_apart(kind: GuestKind, config: &GuestConfig, mark: &Mark) -> String {
    let current = config.text().lines().take_while(|line| !line.starts_with('['));
    let settings = current.filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        let (key, value) = (key.trim(), value.trim());
        kept(kind, mark.vmid, key, value).map(|value| format!("{key}: {value}\n"))
    });
    settings.fold(mark.line() + "\n", |text, line| text + &line)
}

/// Settings that go away: some make the node start or keep the guest, others lead to what it shares with others.
const DROPPED: &[&str] = &[
    "onboot",
    "startup",
    "protection",
    "lock",
    "parent",
    "template",
    "hookscript",
    "args",
    "ivshmem",
    "vmstate",
];

/// Families of settings that go away: devices and folders of the node.
const DROPPED_FAMILIES: &[&str] = &["hostpci", "usb", "virtiofs", "parallel", "dev"];

/// Raw settings of LXC that say how the container itself is run.
const RAW_KEPT: &[&str] = &["lxc.idmap", "lxc.apparmor", "lxc.cap"];

/// Families whose values begin with a volume, or a path of the node.
fn disk_families(kind: GuestKind) -> &'static [&'static str] {
    match kind {
        GuestKind::Qemu => &["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate", "unused"],
        GuestKind::Lxc => &["rootfs", "mp", "unused"],
    }
}

/// A setting as the throw-away guest gets it; nothing when it goes away.
fn kept(kind: GuestKind, vmid: Vmid, key: &str, value: &str) -> Option<String> {
    let family = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_dropped = DROPPED.contains(&key)
        || GuestConfig::SECRETS.contains(&key)
        || (DROPPED_FAMILIES.contains(&family) && family != key)
        || (family == "serial" && value != "socket")
        || (key.starts_with("lxc.") && !RAW_KEPT.iter().any(|raw| key.starts_with(raw)))
        || (disk_families(kind).contains(&family) && !is_own(vmid, value));
    if is_dropped {
        return None;
    }
    if family == "net" && family != key {
        let rest = value.split(',').filter(|part| !part.starts_with("link_down="));
        return Some(rest.chain(["link_down=1"]).collect::<Vec<_>>().join(","));
    }
    Some(value.to_owned())
}

/// Whether a disk's volume has the guest's own number: `data:9900/vm-9900-disk-0.raw`, `local-lvm:vm-9900-cloudinit`.
fn is_own(vmid: Vmid, value: &str) -> bool {
    let property = Property::parse(value);
    let named = || property.named.get("file").or(property.named.get("volume")).copied();
    let Some(volume) = property.first.or_else(named).filter(|source| !source.starts_with('/')) else {
        return false;
    };
    let name = volume.rsplit(['/', ':']).next().unwrap_or_default();
    ["vm", "subvol"].iter().any(|lead| name.starts_with(&format!("{lead}-{vmid}-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let run = "20261127T030101.123456Z-verify-backups-drill".to_owned().try_into().unwrap();
        Mark { run, vmid: "9900".parse().unwrap(), source: "101".parse().unwrap() }
    }

    fn apart(kind: GuestKind, text: &str) -> Vec<String> {
        let text = set_apart(kind, &GuestConfig::parse(text), &mark());
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_mark_is_read_as_it_was_written_and_only_on_the_guest_it_was_made_for() {
        let config =
            GuestConfig::parse(&set_apart(GuestKind::Qemu, &GuestConfig::parse("name: a\n"), &mark()));
        assert_eq!(Mark::of(&config, "9900".parse().unwrap()), Some(mark()));
        assert_eq!(Mark::of(&config, "9901".parse().unwrap()), None, "a copy of it");
        for other in
            ["", "#pve-restore drill", "#pve-restore drill ../x made 9900 from 101", "#by pve-restore drill"]
        {
            assert_eq!(Mark::of(&GuestConfig::parse(other), "9900".parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn a_vm_keeps_what_it_needs_to_boot_and_nothing_that_reaches_others() {
        let apart = apart(
            GuestKind::Qemu,
            "#notes\n#pve-restore drill old made 9900 from 7\nagent: 1\nargs: -device x\nboot: order=scsi0\ncipassword: $5$x\n\
             hookscript: local:snippets/x.pl\nhostpci0: 01:00.0\nide0: data:9900/vm-9900-cloudinit.qcow2,media=cdrom\n\
             ide2: local:iso/debian.iso,media=cdrom\nivshmem: size=32,name=shared\nlock: backup\nmemory: 512\n\
             net0: virtio=BC:24:11:00:00:65,bridge=vmbr0\nnet12: e1000=BC:24:11:00:00:66,link_down=0,bridge=vmbr1\n\
             onboot: 1\nparallel0: /dev/parport0\nprotection: 1\nscsi0: data:9900/vm-9900-disk-0.raw,size=1G\n\
             scsi1: file=data:vm-9900-disk-1,size=1G\nscsi2: /dev/disk/by-id/x\nscsi3: data:vm-101-disk-9\n\
             scsihw: virtio-scsi-single\nserial0: socket\nserial1: /dev/ttyS0\nstartup: order=1\nusb0: host=1-2\n\
             virtio0: data:base-9/vm-9900-disk-3.raw\nvirtiofs0: share\nvga: serial0\n[before]\nname: old\n",
        );
        let expected = [
            "#pve-restore drill 20261127T030101.123456Z-verify-backups-drill made 9900 from 101 and throws it away",
            "agent: 1",
            "boot: order=scsi0",
            "ide0: data:9900/vm-9900-cloudinit.qcow2,media=cdrom",
            "memory: 512",
            "net0: virtio=BC:24:11:00:00:65,bridge=vmbr0,link_down=1",
            "net12: e1000=BC:24:11:00:00:66,bridge=vmbr1,link_down=1",
            "scsi0: data:9900/vm-9900-disk-0.raw,size=1G",
            "scsi1: file=data:vm-9900-disk-1,size=1G",
            "scsihw: virtio-scsi-single",
            "serial0: socket",
            "virtio0: data:base-9/vm-9900-disk-3.raw",
            "vga: serial0",
        ];
        assert_eq!(apart, expected);
    }

    #[test]
    fn a_container_keeps_its_own_volumes_and_how_it_is_run() {
        let apart = apart(
            GuestKind::Lxc,
            "arch: amd64\ndev0: /dev/ttyUSB0\nfeatures: nesting=1\nhookscript: local:snippets/x.pl\nhostname: dns\n\
             lxc.apparmor.profile: unconfined\nlxc.cap.drop:\nlxc.cgroup2.devices.allow: c 10:200 rwm\n\
             lxc.idmap: u 0 100000 65536\nlxc.mount.entry: /srv srv none bind 0 0\nmp0: data:subvol-9900-disk-1,mp=/a\n\
             mp1: /srv/share,mp=/b\nmp2: data:vm-99000-disk-0,mp=/c\nnet0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth\n\
             onboot: 1\nprotection: 1\nrootfs: volume=data:vm-9900-disk-0,size=2G\nunprivileged: 1\n",
        );
        let expected = [
            "arch: amd64",
            "features: nesting=1",
            "hostname: dns",
            "lxc.apparmor.profile: unconfined",
            "lxc.cap.drop: ",
            "lxc.idmap: u 0 100000 65536",
            "mp0: data:subvol-9900-disk-1,mp=/a",
            "net0: name=eth0,bridge=vmbr0,ip=dhcp,type=veth,link_down=1",
            "rootfs: volume=data:vm-9900-disk-0,size=2G",
            "unprivileged: 1",
        ];
        assert_eq!(apart[1..], expected);
    }
}
