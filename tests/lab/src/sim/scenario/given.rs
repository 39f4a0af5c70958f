//! Lays a node out as a scenario says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use regex::Regex;

use super::archive::{self, Claims};
use super::observe::sha256_of;
use super::{GuestGiven, Scenario, StorageGiven, VolumeState, impatient};
use crate::sim::node::settings::Capacity;
use crate::sim::node::storage::{STORAGE_CFG, disk_usage};
use crate::sim::node::volume::{Sidecar, format_of};
use crate::sim::node::{qcow2, storage::Storage};
use crate::sim::{GuestKind, Node};

/// Lays everything out below `root`. Gives which stand-in contents stand for which hashes.
pub(super) fn lay_out(scenario: &Scenario, root: &Path) -> io::Result<Claims> {
    let given = &scenario.given;
    let mut settings = impatient();
    if let Some(name) = &given.node.name {
        settings.node.clone_from(name);
    }
    if let Some(cpus) = given.node.cpus {
        settings.cpus = cpus;
    }
    settings.held_locks = held_locks(&given.note);
    settings.write(root)?;

    let node = Node::open(root, scenario.pve)?;
    let config: String = given.storages.iter().map(storage_section).collect();
    node.write(STORAGE_CFG, &config)?;
    for storage in node.storages() {
        fs::create_dir_all(node.path(&storage.mount()))?;
    }

    let mut claims = Claims::default();
    let own = node.name().to_owned();
    for (vmid, guest) in &given.guests {
        lay_out_guest(&node, &own, vmid, guest)?;
        lay_out_volumes(&node, &guest.volumes, &mut claims)?;
    }
    lay_out_volumes(&node, &given.volumes, &mut claims)?;
    for (volid, archive) in &given.archives {
        archive::write(&node, volid, archive, &mut claims)?;
    }
    for (vmid, text) in &given.firewall {
        node.write(&format!("/etc/pve/firewall/{vmid}.fw"), text)?;
    }
    for (path, text) in &given.files {
        node.write(path, text)?;
    }

    settings.storages = given.storages.iter().filter_map(|storage| capacity(&node, storage)).collect();
    settings.write(root)?;
    Ok(claims)
}

fn held_locks(note: &str) -> Vec<String> {
    let pattern = Regex::new(r"file lock (\S+) is held").ok();
    let found = pattern.and_then(|pattern| Some(pattern.captures(note)?[1].to_owned()));
    found.into_iter().collect()
}

fn storage_section(storage: &StorageGiven) -> String {
    let mut section = format!("{}: {}\n", storage.kind, storage.id);
    let mut add = |key: &str, value: &Option<String>| {
        if let Some(value) = value {
            section.push_str(&format!("\t{key} {value}\n"));
        }
    };
    add("path", &storage.path);
    add("content", &storage.content);
    add("prune-backups", &storage.prune);
    add("shared", &storage.shared.then(|| "1".into()));
    add("disable", &(!storage.enabled).then(String::new));
    section.push('\n');
    section
}

/// What a storage's size must be for the room that the scenario gives it.
fn capacity(node: &Node, given: &StorageGiven) -> Option<(String, Capacity)> {
    let total = given.total?;
    let storage: Storage = node.storage(&given.id).ok()?;
    let taken = total - given.free.unwrap_or(total);
    let reserved = taken.saturating_sub(disk_usage(&node.path(&storage.place())));
    Some((given.id.clone(), Capacity { total, reserved, ..Capacity::default() }))
}

fn lay_out_guest(node: &Node, own: &str, vmid: &str, guest: &GuestGiven) -> io::Result<()> {
    let kind = if guest.kind == "lxc" { GuestKind::Ct } else { GuestKind::Vm };
    let place = match guest.node.as_deref() {
        Some(other) if other != own => format!("/etc/pve/nodes/{other}/{}", kind.folder()),
        _ => format!("/etc/pve/{}", kind.folder()),
    };
    node.write(&format!("{place}/{vmid}.conf"), &guest.config)?;
    if guest.status.as_deref() == Some("running") {
        node.power_on(kind, vmid.parse().unwrap_or_default()).map_err(as_io)?;
    }
    Ok(())
}

fn as_io(failure: crate::sim::Failure) -> io::Error {
    io::Error::other(failure.text)
}

/// Whether the storage of a volume is configured.
pub(super) fn is_reachable(node: &Node, volid: &str) -> bool {
    volid.split_once(':').is_some_and(|(storage, _)| node.storage(storage).is_ok())
}

fn lay_out_volumes(
    node: &Node,
    volumes: &BTreeMap<String, VolumeState>,
    claims: &mut Claims,
) -> io::Result<()> {
    // What lies on a storage that is no longer configured is out of the node's reach, before and after.
    for (volid, volume) in volumes.iter().filter(|(volid, _)| is_reachable(node, volid)) {
        let place = node.place(volid).map_err(as_io)?;
        let real = node.path(&place.path);
        if let Some(parent) = real.parent() {
            fs::create_dir_all(parent)?;
        }
        if let Some(files) = &volume.files {
            let mut sidecar = Sidecar { size: volume.size, ..Sidecar::default() };
            fs::create_dir_all(&real)?;
            for (path, state) in files {
                let file = real.join(path.trim_start_matches('/'));
                let Some(state) = state.as_ref().filter(|_| !path.ends_with('/')) else {
                    fs::create_dir_all(file)?;
                    continue;
                };
                if let Some(parent) = file.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::write(file, claims.content(state.sha256.as_deref().unwrap_or_default(), state.size))?;
                if let Some(uid) = state.uid.filter(|uid| *uid != 0) {
                    sidecar.owners.insert(path.clone(), (uid, uid));
                }
            }
            node.write_sidecar(&place.path, &sidecar)?;
            continue;
        }
        let file = File::options().read(true).write(true).create_new(true).open(&real)?;
        let (claim, offset) = match volume.virtual_size.filter(|_| format_of(volid) == "qcow2") {
            Some(size) => (volume.content_sha256.as_deref(), qcow2::create(&file, size)?),
            None => {
                file.set_len(volume.size)?;
                (Some(volume.sha256.as_str()), 0)
            }
        };
        let claim = claim.unwrap_or_default();
        file.write_all_at(&claim.as_bytes()[..claim.len().min(64)], offset)?;
        claims.insert(sha256_of(&real, offset)?, claim.to_owned());
    }
    Ok(())
}
