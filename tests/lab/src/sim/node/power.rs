//! Which guests run: a guest is running while its pid file is there.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::property::Properties;
use super::{GuestKind, Node, Outcome};
use crate::guest::disk;

/// What the boot disk of a guest that can boot begins with.
pub const BOOT_SIGNATURE: &[u8] = b"LABBOOT1";

/// The content of a pid file. A file with just a number will do, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The process.
    pub pid: u32,
    /// When it was started, in milliseconds since 1970.
    #[serde(default)]
    pub since_ms: u64,
}

impl Node {
    /// The pid file of a guest.
    pub fn pid_path(kind: GuestKind, vmid: u32) -> String {
        format!("/run/{}/{vmid}.pid", kind.folder())
    }

    /// The guest's process, if it runs.
    pub fn running(&self, kind: GuestKind, vmid: u32) -> Option<Running> {
        let text = self.read(&Self::pid_path(kind, vmid))?;
        let number = text.trim().parse().map(|pid| Running { pid, since_ms: 0 });
        Some(number.ok().or_else(|| serde_json::from_str(&text).ok()).unwrap_or_default())
    }

    /// Starts a guest.
    pub fn power_on(&self, kind: GuestKind, vmid: u32) -> Outcome {
        self.note_change(kind, vmid)?;
        let running = Running { pid: 10_000 + vmid, since_ms: now_ms() };
        Ok(self.write(&Self::pid_path(kind, vmid), &serde_json::to_string(&running).unwrap_or_default())?)
    }

    /// Stops a guest.
    pub fn power_off(&self, kind: GuestKind, vmid: u32) -> Outcome {
        self.note_change(kind, vmid)?;
        Ok(self.remove(&Self::pid_path(kind, vmid))?)
    }

    /// What the status broadcast has as a guest's state, while that is not yet what it is: whether it ran before.
    pub fn outdated_state(&self, vmid: u32) -> Option<bool> {
        let text = self.read(&change_path(vmid))?;
        let (at, ran) = text.split_once(' ')?;
        let age = now_ms().saturating_sub(at.parse().ok()?);
        (age < self.settings().broadcast_ms).then_some(ran == "running")
    }

    /// Keeps what the state was. A change before the last one was told keeps what that one kept.
    fn note_change(&self, kind: GuestKind, vmid: u32) -> Outcome {
        let ran = self.outdated_state(vmid).unwrap_or_else(|| self.running(kind, vmid).is_some());
        let word = if ran { "running" } else { "stopped" };
        Ok(self.write(&change_path(vmid), &format!("{} {word}", now_ms()))?)
    }

    /// Whether a running guest has got as far as its agent and its services.
    pub fn has_booted(&self, kind: GuestKind, vmid: u32) -> bool {
        let Some(running) = self.running(kind, vmid) else { return false };
        let behaviour = self.settings().guests.get(&vmid).copied().unwrap_or_default();
        let up = now_ms().saturating_sub(running.since_ms);
        !behaviour.never_boots && up >= behaviour.boot_ms && self.can_boot(kind, vmid)
    }

    /// Whether the guest's disk holds a system: a boot signature, or a container's `/etc`.
    fn can_boot(&self, kind: GuestKind, vmid: u32) -> bool {
        let Ok(config) = self.config(kind, vmid) else { return false };
        let disk = match kind {
            GuestKind::Vm => boot_disk(&config.main),
            GuestKind::Ct => config.main.get("rootfs").map(Properties::parse),
        };
        let volume = disk.as_ref().and_then(Properties::volume).and_then(|volid| self.place(volid).ok());
        let Some(place) = volume else { return false };
        match kind {
            GuestKind::Vm => self
                .read_volume_start(&place.path, BOOT_SIGNATURE.len())
                .is_ok_and(|start| start == BOOT_SIGNATURE),
            GuestKind::Ct => {
                // A restore leaves a folder of its own in there.
                let etc = super::names(&self.path(&format!("{}/etc", place.path)));
                etc.iter().any(|name| name != "vzdump")
            }
        }
    }
}

impl Node {
    /// Whether the monitoring stack is installed on a VM's boot disk.
    pub fn has_stack(&self, vmid: u32) -> bool {
        self.boot_volume(vmid).is_ok_and(|disk| disk::has_stack(&disk))
    }

    /// Installs it.
    pub fn install_stack(&self, vmid: u32) -> Outcome {
        Ok(disk::install_stack(&self.boot_volume(vmid)?)?)
    }

    /// The file of a VM's boot disk.
    fn boot_volume(&self, vmid: u32) -> Outcome<PathBuf> {
        let disk = boot_disk(&self.config(GuestKind::Vm, vmid)?.main).unwrap_or_default();
        self.volume_path(disk.volume().unwrap_or_default())
    }
}

/// When a guest was started or stopped, and what it was before.
fn change_path(vmid: u32) -> String {
    format!("/run/pve-sim/changed/{vmid}")
}

/// The disk a VM boots from: the first of `boot: order=`, else `bootdisk`, else the first disk.
pub fn boot_disk(config: &super::config::Section) -> Option<Properties> {
    let order = config.get("boot").map(Properties::parse).unwrap_or_default();
    let keys: Vec<String> = order.get("order").unwrap_or_default().split(';').map(str::to_owned).collect();
    let named = config.get("bootdisk").map(str::to_owned);
    keys.into_iter()
        .chain(named)
        .chain(super::property::disk_keys())
        .filter_map(|key| {
            Some(Properties::parse(config.get(&key).filter(|_| super::property::is_disk_key(&key))?))
        })
        .find(|disk| !disk.is_cdrom())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Node {
    /// Makes a guest's boot disk bootable; for those who lay out a lab.
    pub fn sign_boot_disk(&self, path: &str) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        fs::File::options().write(true).open(self.path(path))?.write_all_at(BOOT_SIGNATURE, 0)
    }
}
