//! What a backup takes from its guest, and how it finds and writes files.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::sim::node::storage::{Room, Storage};
use crate::sim::node::volume::{Sidecar, format_of};
use crate::sim::node::{Failure, GuestConfig, GuestKind, Node, Outcome, qcow2};
use crate::sim::tool::strerror;

/// A guest as it is when its backup begins.
pub(super) struct Guest {
    pub(super) vmid: u32,
    pub(super) kind: GuestKind,
    pub(super) config: GuestConfig,
    /// The configuration file as it stands.
    pub(super) text: String,
    pub(super) firewall: Option<String>,
    pub(super) is_running: bool,
}

impl Guest {
    pub(super) fn read(node: &Node, vmid: u32) -> Outcome<Self> {
        let missing = || Failure::new(format!("unable to find VM '{vmid}'"));
        let (kind, _) =
            node.find_guest(vmid).filter(|(_, place)| place == node.name()).ok_or_else(missing)?;
        let text = node.read(&node.config_path(kind, vmid)).ok_or_else(missing)?;
        Ok(Self {
            vmid,
            kind,
            config: GuestConfig::parse(&text),
            text,
            firewall: node.read(&Node::firewall_path(vmid)),
            is_running: node.running(kind, vmid).is_some(),
        })
    }

    /// `qemu` or `lxc`, as in the name of a backup.
    pub(super) fn word(&self) -> &'static str {
        match self.kind {
            GuestKind::Vm => "qemu",
            GuestKind::Ct => "lxc",
        }
    }

    /// What the guest calls itself.
    pub(super) fn name(&self) -> String {
        let (key, prefix) = match self.kind {
            GuestKind::Vm => ("name", "VM "),
            GuestKind::Ct => ("hostname", "CT"),
        };
        match self.config.main.get(key) {
            Some(name) => name.to_owned(),
            None => format!("{prefix}{}", self.vmid),
        }
    }
}

/// Sets the configuration lock of a guest, or removes it; refuses to set it over another one. `announce` hears
/// of a wait for whoever is changing the configuration.
pub(super) fn set_lock(node: &Node, guest: &Guest, lock: bool, announce: &mut dyn FnMut(&str)) -> Outcome {
    let _alone = node.lock_guest(guest.kind, guest.vmid, 10, announce)?;
    let mut config = node.config(guest.kind, guest.vmid)?;
    if let Some(other) = config.lock().filter(|_| lock) {
        return Err(Failure::new(format!("{} is locked ({other})", guest.kind.label())));
    }
    if lock {
        config.main.set("lock", "backup");
    } else {
        config.main.remove("lock");
    }
    node.write_config(guest.kind, guest.vmid, &config)
}

/// A volume that is in the backup.
pub(super) struct Volume {
    pub(super) storage: Storage,
    pub(super) format: &'static str,
    pub(super) size: u64,
    /// The image, or the folder of a container's volume.
    pub(super) real: PathBuf,
    pub(super) sidecar: Sidecar,
}

impl Volume {
    /// Finds a volume, which must exist.
    pub(super) fn find(node: &Node, volid: &str) -> Outcome<Self> {
        let place = node.place(volid)?;
        let storage = node.usable_storage(&place.storage.id)?;
        let real = node.path(&place.path);
        if !real.exists() {
            return Err(Failure::new(format!("volume '{}' does not exist", place.name)));
        }
        let format = if storage.is_folder() { format_of(&place.name) } else { "raw" };
        let size = node.volume_size(&place.path);
        Ok(Self { storage, format, size, real, sidecar: node.sidecar(&place.path) })
    }

    /// Whether its storage can take a snapshot of it.
    pub(super) fn can_snapshot(&self) -> bool {
        ["lvmthin", "zfspool", "btrfs", "rbd"].contains(&self.storage.kind.as_str())
    }

    /// Opens an image where the guest's data begin.
    pub(super) fn open(&self) -> io::Result<File> {
        let mut file = File::open(&self.real)?;
        if self.format == "qcow2" {
            let (_, data) = qcow2::layout(&file)?;
            file.seek(SeekFrom::Start(data))?;
        }
        Ok(file)
    }
}

/// An archive being written: it takes room on its storage, and faults strike in it.
pub(super) struct ArchiveFile<'n> {
    pub(super) node: &'n Node,
    pub(super) file: File,
    /// Nothing with `--dumpdir`, which is on no storage.
    pub(super) room: Option<Room>,
}

impl Write for ArchiveFile<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.node.spend(data.len() as u64)?;
        if let Some(room) = &self.room {
            room.take(data.len() as u64)?;
        }
        self.file.write_all(data)?;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The words of a tool for an error while it wrote.
pub(super) fn write_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => "No space left on device".into(),
        _ => strerror(error),
    }
}
