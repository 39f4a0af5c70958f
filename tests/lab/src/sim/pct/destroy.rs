//! Destroying containers, and what goes with them.

use super::{CT, mounts, unused, volume};
use crate::sim::node::{GuestConfig, Task};
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

pub(super) fn destroy(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(CT, vmid)?;
    let (purge, force) = (call.is_on("purge"), call.is_on("force"));
    let refuse = |text: String| Err(Failure::new(text));
    if config.main.is_on("protection") {
        return refuse(format!("can't remove CT {vmid} - protection mode enabled"));
    }
    if let Some(lock) = config.lock().filter(|_| !force) {
        return refuse(format!("CT is locked ({lock})"));
    }
    if !purge && node.ha_state(CT, vmid).is_some() {
        return refuse(format!(
            "unable to remove CT {vmid} - used in HA resources and purge parameter not set."
        ));
    }
    if !purge && node.is_replicated(vmid) {
        return refuse(format!(
            "unable to remove CT {vmid} - replication job exists and purge parameter not set."
        ));
    }
    if node.running(CT, vmid).is_some() && !force {
        return refuse(format!("unable to destroy CT {vmid} - container is running"));
    }
    Ok(node.worker(io, "vzdestroy", &vmid.to_string(), |task| {
        node.power_off(CT, vmid)?;
        remove_volumes(node, vmid, &config, task)?;
        if call.is_on("destroy-unreferenced-disks") {
            remove_unreferenced(node, vmid, task)?;
        }
        node.forget_access(vmid)?;
        node.remove(&Node::firewall_path(vmid))?;
        if purge {
            task.line(&format!("purging CT {vmid} from related configurations.."))?;
            if node.purge(CT, vmid)? {
                task.line(&format!("NOTE: removed CT {vmid} from HA resource configuration."))?;
            }
        }
        node.remove_config(CT, vmid)
    }))
}

/// Removes every volume that a configuration names and the container owns: the root file system, all mount points, and
/// those that are unused. One that cannot be removed ends it, with those before it gone.
pub(in crate::sim) fn remove_volumes(
    node: &Node,
    vmid: u32,
    config: &GuestConfig,
    task: &mut Task<'_>,
) -> Outcome {
    let mounted: Vec<_> =
        mounts(&config.main).iter().filter_map(|(_, m)| volume(m).map(str::to_owned)).collect();
    let pending = config.pending().map(mounts).unwrap_or_default();
    let pending = pending.iter().filter_map(|(_, m)| volume(m).map(str::to_owned));
    let unused = unused(&config.main).into_iter().map(|(_, volid)| volid);
    for volid in mounted.into_iter().chain(pending).chain(unused) {
        let place = node.place(&volid)?;
        if place.owner != Some(vmid) {
            continue;
        }
        node.free_volume(&volid)?;
        for warning in node.take_warnings() {
            task.line(&warning)?;
        }
    }
    Ok(())
}

fn remove_unreferenced(node: &Node, vmid: u32, task: &mut Task<'_>) -> Outcome {
    let storages = node.storages().into_iter().filter(|storage| node.usable_storage(&storage.id).is_ok());
    let volumes: Vec<_> = storages.flat_map(|storage| node.volumes(&storage)).collect();
    for volume in volumes.iter().filter(|volume| volume.owner == vmid) {
        node.free_volume(&volume.volid)?;
        for warning in node.take_warnings() {
            task.line(&warning)?;
        }
    }
    Ok(())
}
