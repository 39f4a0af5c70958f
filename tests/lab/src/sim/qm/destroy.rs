//! Destroying VMs, and what goes with them.

use super::VM;
use crate::sim::node::{GuestConfig, Task};
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

pub(super) fn destroy(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(VM, vmid)?;
    let purge = call.is_on("purge");
    let refuse = |text: String| Err(Failure::new(text));
    if config.main.is_on("protection") {
        return refuse(format!("can't remove VM {vmid} - protection mode enabled"));
    }
    if !purge && node.ha_state(VM, vmid).is_some() {
        return refuse(format!(
            "unable to remove VM {vmid} - used in HA resources and purge parameter not set."
        ));
    }
    if !purge && node.is_replicated(vmid) {
        return refuse(format!(
            "unable to remove VM {vmid} - replication job exists and purge parameter not set."
        ));
    }
    if node.running(VM, vmid).is_some() {
        return Err(Failure::with_status(format!("VM {vmid} is running - destroy failed"), 25));
    }
    Ok(node.worker(io, "qmdestroy", &vmid.to_string(), |task| {
        let mut waiting = String::new();
        let lock = node.lock_guest(VM, vmid, 10, &mut |text| waiting.push_str(text));
        task.text(&waiting)?;
        let _lock = lock?;
        if let Some(lock) = config.lock().filter(|_| !call.is_on("skiplock")) {
            return Err(Failure::new(format!("VM is locked ({lock})")));
        }
        remove_volumes(node, vmid, &config, task)?;
        if call.is_on("destroy-unreferenced-disks") {
            remove_unreferenced(node, vmid, task)?;
        }
        node.forget_access(vmid)?;
        node.remove(&Node::firewall_path(vmid))?;
        if purge {
            task.line(&format!("purging VM {vmid} from related configurations.."))?;
            if node.purge(VM, vmid)? {
                task.line(&format!("NOTE: removed VM {vmid} from HA resource configuration."))?;
            }
        }
        node.remove_config(VM, vmid)
    }))
}

/// Removes the volumes that a configuration names and the VM owns, those of snapshots too.
fn remove_volumes(node: &Node, vmid: u32, config: &GuestConfig, task: &mut Task<'_>) -> Outcome {
    let disks = super::disks(&config.main).into_iter().map(|(_, disk)| disk);
    let named = disks.filter(|disk| !disk.is_cdrom() || disk.is_cloudinit());
    let mut volumes: Vec<String> = named.filter_map(|disk| disk.volume().map(str::to_owned)).collect();
    let unused = config.main.iter().filter(|(key, _)| key.starts_with("unused"));
    volumes.extend(unused.map(|(_, volid)| volid.to_owned()));
    volumes.extend(config.snapshots().filter_map(|(_, snapshot)| snapshot.get("vmstate").map(str::to_owned)));
    for volid in volumes.iter().filter(|volid| !volid.starts_with('/') && *volid != "none") {
        let removed = match node.place(volid) {
            Ok(place) if place.owner != Some(vmid) => continue,
            Ok(_) => node.free_volume(volid),
            // PVE 8 stops here with the disks before it gone; PVE 9 goes on.
            Err(failure) if node.version() < 9 => return Err(failure),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = removed {
            task.line(&format!("Could not remove disk '{volid}', check manually: {failure}"))?;
        }
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
        if let Err(failure) = node.free_volume(&volume.volid) {
            task.line(&format!("Could not remove disk '{}', check manually: {failure}", volume.volid))?;
        }
        for warning in node.take_warnings() {
            task.line(&warning)?;
        }
    }
    Ok(())
}
