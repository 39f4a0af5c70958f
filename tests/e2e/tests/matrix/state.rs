//! How a guest is.

use std::{collections::BTreeMap, io};

use restore_lab::{lab::Lab, sim::GuestKind};

/// All of a guest that has to be the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Without what differs after every restore.
    pub settings: Vec<String>,
    /// Volume ids by disk.
    pub volumes: BTreeMap<String, String>,
    pub contents: Contents,
}

/// What is compared of a guest besides its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// SHA-256 by disk.
    pub disks: BTreeMap<String, String>,
    pub firewall: Option<String>,
    pub runs: bool,
}

impl State {
    /// `None` when there is no such guest.
    pub fn of(lab: &Lab, kind: GuestKind, vmid: u32) -> io::Result<Option<Self>> {
        let path = config_path(kind, vmid);
        let text = match lab.read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let volumes = volumes(&text);
        let hash = |(key, volid): (&String, &String)| Ok((key.clone(), lab.volume_sha256(volid)?));
        let contents = Contents {
            disks: volumes.iter().map(hash).collect::<io::Result<_>>()?,
            firewall: lab.read(&format!("/etc/pve/firewall/{vmid}.fw")).ok(),
            runs: lab.node()?.running(kind, vmid).is_some(),
        };
        Ok(Some(Self { settings: settings(lab, &path)?, volumes, contents }))
    }

    /// Whether it is the same guest: its volumes may have other numbers.
    pub fn is(&self, other: &Self) -> bool {
        self.settings == other.settings && self.contents == other.contents
    }

    /// The same, running or not.
    pub fn holds_what(&self, other: &Self) -> bool {
        let running = Contents { runs: other.contents.runs, ..self.contents.clone() };
        self.settings == other.settings && running == other.contents
    }
}

/// The path of a guest's configuration.
pub fn config_path(kind: GuestKind, vmid: u32) -> String {
    format!("/etc/pve/{}/{vmid}.conf", kind.folder())
}

/// The volumes that a configuration uses, by their keys.
pub fn volumes(config: &str) -> BTreeMap<String, String> {
    let main = config.lines().take_while(|line| !line.starts_with('['));
    let pairs = main.filter_map(|line| line.split_once(": "));
    pairs
        .filter(|(key, value)| value.starts_with("local-lvm:") && !key.starts_with("unused"))
        .map(|(key, value)| (key.to_owned(), value.split(',').next().unwrap_or_default().to_owned()))
        .collect()
}

/// The settings without what a restore makes anew each time, and without the lab's own addresses.
fn settings(lab: &Lab, path: &str) -> io::Result<Vec<String>> {
    let mut lines = restore_e2e::settings(lab, path)?;
    for line in &mut lines {
        let parts = line.split(',').filter(|part| !is_made_anew(part)).collect::<Vec<_>>();
        *line = parts.join(",");
    }
    Ok(lines)
}

/// Addresses in the network and the identity of a copy.
fn is_made_anew(part: &str) -> bool {
    let makes = ["ip=", "hwaddr=", "net0: virtio=", "smbios1: uuid=", "ipconfig0: ip="];
    makes.iter().any(|start| part.starts_with(start))
}

/// The disks in the newest backup of a guest.
pub fn archived(lab: &Lab, kind: GuestKind, vmid: u32) -> io::Result<BTreeMap<String, String>> {
    let folder = std::fs::read_dir(lab.archive(""))?;
    let names = folder.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let (tool, ends) = if kind == GuestKind::Vm { ("qemu", ".vma.zst") } else { ("lxc", ".tar.zst") };
    let starts = format!("vzdump-{tool}-{vmid}-");
    let names: Vec<String> = names.collect::<io::Result<_>>()?;
    let newest = names.iter().filter(|name| name.starts_with(&starts) && name.ends_with(ends)).max();
    lab.archive_sha256(newest.ok_or_else(|| io::Error::other("no backup"))?)
}
