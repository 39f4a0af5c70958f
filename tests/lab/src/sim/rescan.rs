//! Brings configurations of VMs in line with the volumes that exist.

use std::collections::BTreeSet;

use super::node::GuestConfig;
use super::node::property::{Properties, format_size, parse_size};
use super::{GuestKind, Node, Outcome, qm};

const VM: GuestKind = GuestKind::Vm;

/// Updates sizes, and adds volumes that nothing names as `unusedN`. Each change is told through `line`.
pub(super) fn guest(node: &Node, vmid: u32, line: &mut dyn FnMut(&str) -> Outcome) -> Outcome {
    let mut config = node.config(VM, vmid)?;
    let before = config.clone();
    sizes(node, vmid, &mut config, line)?;
    let named = named_volumes(&config);
    let storages = node.storages().into_iter();
    let usable =
        storages.filter(|storage| storage.allows("images") && node.usable_storage(&storage.id).is_ok());
    let mut volumes: Vec<_> = usable.flat_map(|storage| node.volumes(&storage)).collect();
    volumes.sort_by(|a, b| a.volid.cmp(&b.volid));
    for volume in volumes.iter().filter(|volume| volume.owner == vmid && !named.contains(&volume.volid)) {
        let volid = &volume.volid;
        let key = if volid.contains("cloudinit") {
            // Nobody needs an old cloud-init image; the real node has no key to print for it.
            node.free_volume(volid)?;
            String::new()
        } else {
            add_unused(&mut config, volid)
        };
        line(&format!("VM {vmid} add unreferenced volume '{volid}' as '{key}' to config"))?;
    }
    if config != before {
        config.main.sort();
        node.write_config(VM, vmid, &config)?;
    }
    Ok(())
}

fn sizes(node: &Node, vmid: u32, config: &mut GuestConfig, line: &mut dyn FnMut(&str) -> Outcome) -> Outcome {
    for (key, mut disk) in qm::disks(&config.main).into_iter().filter(|(_, disk)| !disk.is_cdrom()) {
        let Some(volid) = disk.volume().filter(|volid| !volid.starts_with('/')).map(str::to_owned) else {
            continue;
        };
        let Ok(place) = node.place(&volid) else { continue };
        let size = node.volume_size(&place.path);
        let old = disk.get("size").and_then(parse_size);
        if size == 0 || old == Some(size) {
            continue;
        }
        let (from, to) = (old.map_or("0T".into(), format_size), format_size(size));
        line(&format!("VM {vmid} ({key}): size of disk '{volid}' updated from {from} to {to}"))?;
        disk.set("size", to);
        config.main.set(&key, disk.to_string());
    }
    Ok(())
}

/// The volumes that a configuration names anywhere.
pub(super) fn named_volumes(config: &GuestConfig) -> BTreeSet<String> {
    let sections = config.sections.iter().map(|(_, section)| section);
    let settings = sections.chain([&config.main]).flat_map(|section| section.iter());
    settings.filter_map(|(_, value)| Properties::parse(value).volume().map(str::to_owned)).collect()
}

/// Adds a volume under the first free `unusedN`; gives the key.
pub(super) fn add_unused(config: &mut GuestConfig, volid: &str) -> String {
    let free = (0..256).map(|number| format!("unused{number}")).find(|key| config.main.get(key).is_none());
    let key = free.unwrap_or_default();
    config.main.set(&key, volid);
    key
}
