//! Changing configurations of containers.

use super::{CT, volume};
use crate::sim::node::GuestConfig;
use crate::sim::node::property::Properties;
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

/// Parameters that are no settings.
const OWN: [&str; 4] = ["vmid", "delete", "revert", "digest"];

pub(super) fn set(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    node.config(CT, vmid)?;
    let _lock = node.lock_guest(CT, vmid, 10, &mut |text| drop(write!(io.stderr, "{text}")))?;
    let mut config = node.config(CT, vmid)?;
    if let Some(lock) = config.lock() {
        return Err(Failure::new(format!("CT is locked ({lock})")));
    }
    for key in call.get("delete").into_iter().flat_map(|list| list.split([',', ' ', ';'])) {
        delete(node, vmid, &mut config, key)?;
    }
    for (key, value) in call.params.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        if key == "description" {
            config.main.description = Some(value.trim_end_matches('\n').to_owned());
        } else {
            config.main.set(key, value);
        }
    }
    node.write_config(CT, vmid, &config)?;
    Ok(0)
}

/// Deletes a setting. The volume of a mount point is kept as unused; an unused one is destroyed.
fn delete(node: &Node, vmid: u32, config: &mut GuestConfig, key: &str) -> Outcome {
    if key == "description" {
        config.main.description = None;
        return Ok(());
    }
    let Some(value) = config.main.remove(key) else { return Ok(()) };
    let mount = Properties::parse(&value);
    let Some(volid) = volume(&mount) else { return Ok(()) };
    if key.starts_with("unused") {
        if node.place(volid)?.owner == Some(vmid) {
            node.free_volume(volid)?;
        }
    } else if key.starts_with("mp") {
        crate::sim::rescan::add_unused(config, volid);
    }
    Ok(())
}

pub(super) fn unlock(node: &Node, call: &Parsed) -> Outcome<i32> {
    let vmid = call.vmid();
    let mut config = node.config(CT, vmid)?;
    if config.main.remove("lock").is_none() {
        return Err(Failure::new("no lock found trying to remove any lock"));
    }
    node.write_config(CT, vmid, &config)?;
    Ok(0)
}
