//! The configuration of a restored VM.

use std::collections::BTreeMap;

use super::plan::Plan;
use crate::sim::node::property::{Properties, is_disk_key};
use crate::sim::node::{GuestConfig, Volume, random};
use crate::sim::{GuestKind, Node, Outcome, qm};

/// Writes the configuration of the archive, with its disks where they are now.
pub(super) fn write(
    node: &Node,
    vmid: u32,
    plan: &Plan,
    made: &BTreeMap<String, Volume>,
    unique: bool,
) -> Outcome {
    let text: String = plan.config.lines().filter_map(|line| adapted(line, made, unique)).collect();
    let mut config = GuestConfig::parse(&text);
    config.main.remove("template");
    config.main.sort();
    node.write_config(GuestKind::Vm, vmid, &config)
}

/// One line of the archive's configuration for the new VM; nothing if it is not taken over.
fn adapted(line: &str, made: &BTreeMap<String, Volume>, unique: bool) -> Option<String> {
    if line.starts_with("#qmdump#") || line.starts_with("#vzdump#") {
        return None;
    }
    let Some((key, value)) = line.split_once(": ").filter(|_| !line.starts_with('#')) else {
        return Some(format!("{line}\n"));
    };
    let value = value.trim();
    let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
    match (name, key) {
        ("lock" | "parent", _) => None,
        ("unused", key) if key != name => None,
        ("vmgenid", _) if value != "0" => Some(format!("vmgenid: {}\n", random::uuid())),
        ("smbios", "smbios1") if unique => {
            let mut smbios = Properties::parse(value);
            smbios.set("uuid", random::uuid());
            Some(format!("smbios1: {smbios}\n"))
        }
        ("net", key) if unique && key != name => Some(format!("{key}: {}\n", with_new_mac(value))),
        _ if is_disk_key(key) => {
            let mut disk = Properties::parse(value);
            if disk.get("backup") == Some("0") {
                // It is not in the archive: the line becomes part of the description.
                return Some(format!("#{line}\n"));
            }
            if let Some(volume) = made.get(key) {
                disk.remove("file");
                disk.remove("format");
                disk.value = Some(volume.volid.clone());
                return Some(format!("{key}: {disk}\n"));
            }
            Some(format!("{line}\n"))
        }
        _ => Some(format!("{line}\n")),
    }
}

/// A network card with a new address: `virtio=MAC,…` or `virtio,macaddr=MAC,…`.
fn with_new_mac(value: &str) -> String {
    let mut card = Properties::parse(value);
    let is_mac = |value: &str| value.len() == 17 && value.split(':').count() == 6;
    let model = card.iter().find(|(_, value)| is_mac(value)).map(|(key, _)| key.to_owned());
    if let Some(model) = model {
        card.set(&model, random::mac());
    }
    card.to_string()
}

/// Turns a VM into a template: its disks become base volumes.
pub(super) fn make_template(node: &Node, vmid: u32) -> Outcome {
    let mut config = node.config(GuestKind::Vm, vmid)?;
    for (key, mut disk) in qm::disks(&config.main).into_iter().filter(|(_, disk)| !disk.is_cdrom()) {
        let Some(volid) = disk.volume() else { continue };
        disk.value = Some(node.make_base(volid)?);
        config.main.set(&key, disk.to_string());
    }
    config.main.set("template", "1");
    node.write_config(GuestKind::Vm, vmid, &config)
}
