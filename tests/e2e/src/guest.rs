//! A guest as it is, to be compared.

use restore_lab::lab::{Lab, VM};

use crate::settings;

/// What makes a guest: as it has to be again after a failure.
#[derive(Debug, PartialEq, Eq)]
pub struct Guest {
    settings: Vec<String>,
    disks: Vec<String>,
    firewall: Option<String>,
    state: String,
}

impl Guest {
    /// The VM or the container of a lab.
    #[track_caller]
    pub fn of(lab: &Lab, vmid: u32) -> Self {
        let (tool, folder, disks): (_, _, &[&str]) = if vmid == VM {
            ("qm", "qemu-server", &["scsi0", "efidisk0"])
        } else {
            ("pct", "lxc", &["rootfs"])
        };
        let config = format!("/etc/pve/{folder}/{vmid}.conf");
        let status = must(lab.on_node(&[tool, "status", &vmid.to_string()]));
        Self {
            settings: must(settings(lab, &config)),
            disks: disks.iter().map(|key| must(lab.disk_sha256(&config, key))).collect(),
            firewall: lab.read(&format!("/etc/pve/firewall/{vmid}.fw")).ok(),
            state: String::from_utf8_lossy(&status.stdout).into_owned(),
        }
    }
}

#[track_caller]
fn must<T>(result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("the lab: {error}"))
}
