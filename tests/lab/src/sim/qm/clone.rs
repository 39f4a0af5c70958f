//! Full clones: a VM of its own, made of another one's disks.

use std::fs;

use super::{VM, disks};
use crate::sim::node::config::Section;
use crate::sim::node::property::{Properties, format_size};
use crate::sim::node::volume::format_of;
use crate::sim::node::{GuestConfig, Task, random};
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

pub(super) fn clone(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let (vmid, new) =
        (call.vmid(), call.number("newid").and_then(|id| u32::try_from(id).ok()).unwrap_or_default());
    let config = node.config(VM, vmid)?;
    if node.find_guest(new).is_some() {
        return Err(Failure::new(format!("unable to create VM {new}: config file already exists")));
    }
    if !call.is_on("full") {
        return Err(Failure::new("the lab makes full clones only"));
    }
    Ok(node.worker(io, "qmclone", &vmid.to_string(), |task| {
        let mut made = Vec::new();
        let outcome = copy(node, call, &config, new, &mut made, task);
        if outcome.is_err() {
            // As on a node, nothing of a clone that failed stays.
            for volid in &made {
                drop(node.free_volume(volid));
            }
        }
        outcome.map_err(|failure| failure.prefixed("clone failed: "))
    }))
}

fn copy(
    node: &Node,
    call: &Parsed,
    config: &GuestConfig,
    new: u32,
    made: &mut Vec<String>,
    task: &mut Task<'_>,
) -> Outcome {
    let mut main = config.main.clone();
    for (key, mut disk) in disks(&config.main) {
        let Some(volid) = disk.volume().filter(|_| !disk.is_cdrom()).map(str::to_owned) else { continue };
        let from = node.place(&volid)?;
        let storage = call.get("storage").unwrap_or(&from.storage.id);
        let (size, format) = (node.volume_size(&from.path), format_of(&from.name));
        task.line(&format!("create full clone of drive {key} ({volid})"))?;
        let (volume, lines) = node.alloc_image(storage, new, format, None, size)?;
        made.push(volume.volid.clone());
        lines.iter().try_for_each(|line| task.line(line))?;
        fs::copy(node.path(&from.path), node.path(&volume.path))?;
        disk.value = Some(volume.volid);
        disk.set("size", format_size(size));
        main.set(&key, disk.to_string());
    }
    make_another(&mut main, call.get("name"));
    node.write_config(VM, new, &GuestConfig { main, sections: Vec::new() })
}

/// What two machines must not have in common.
fn make_another(main: &mut Section, name: Option<&str>) {
    main.remove("template");
    main.set("smbios1", format!("uuid={}", random::uuid()));
    main.set("vmgenid", random::uuid());
    if let Some(name) = name {
        main.set("name", name);
    }
    let is_card =
        |key: &str| key.strip_prefix("net").is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    let cards: Vec<_> =
        main.iter().filter(|(key, _)| is_card(key)).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    for (key, card) in cards {
        let mut card = Properties::parse(&card);
        card.set("virtio", random::mac());
        main.set(&key, card.to_string());
    }
}
