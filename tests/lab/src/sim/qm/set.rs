//! Changing configurations.

use super::VM;
use crate::sim::node::GuestConfig;
use crate::sim::node::config::Section;
use crate::sim::node::property::{Properties, is_disk_key};
use crate::sim::{Failure, Io, Node, Outcome, Parsed, rescan};

/// Parameters that are no settings.
const OWN: [&str; 7] = ["vmid", "delete", "skiplock", "force", "revert", "digest", "background_delay"];
/// Settings that a running VM takes over at once; all others wait for its next start.
const AT_ONCE: [&str; 9] =
    ["name", "description", "onboot", "protection", "tags", "startup", "hookscript", "lock", "template"];

pub(super) fn set(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    node.config(VM, vmid)?;
    let _lock = node.lock_guest(VM, vmid, 10, &mut |text| drop(write!(io.stderr, "{text}")))?;
    let mut config = node.config(VM, vmid)?;
    if let Some(lock) = config.lock().filter(|_| !call.is_on("skiplock")) {
        return Err(Failure::new(format!("VM is locked ({lock})")));
    }
    let changes: Vec<_> = call.params.iter().filter(|(key, _)| !OWN.contains(&key.as_str())).collect();
    let shown = call.params.iter().filter(|(key, _)| *key == "delete" || !OWN.contains(&key.as_str()));
    let shown = shown.fold(String::new(), |shown, (key, value)| shown + &format!(" -{key} {value}"));
    if !shown.is_empty() {
        io.line(&format!("update VM {vmid}:{shown}"));
    }
    let waits = |key: &str| node.running(VM, vmid).is_some() && !AT_ONCE.contains(&key);
    for key in call.get("revert").into_iter().flat_map(|list| list.split(',')) {
        pending(&mut config).remove(key);
    }
    for key in call.get("delete").into_iter().flat_map(|list| list.split([',', ' ', ';'])) {
        if waits(key) {
            delete_later(&mut config, key);
        } else {
            delete(node, vmid, &mut config, key)?;
        }
    }
    for (key, value) in changes {
        let value = &with_new_volume(node, vmid, key, value, io)?;
        if key == "description" {
            config.main.description = Some(value.trim_end_matches('\n').to_owned());
        } else if waits(key) {
            pending(&mut config).set(key, value);
        } else {
            config.main.set(key, value);
        }
    }
    drop_used_again(&mut config);
    config.sections.retain(|(name, section)| name != "PENDING" || !section.is_empty());
    node.write_config(VM, vmid, &config)?;
    Ok(0)
}

/// A disk that is given as `STORAGE:GIB` is made; anything else stays as it is.
fn with_new_volume(node: &Node, vmid: u32, key: &str, value: &str, io: &mut Io<'_>) -> Outcome<String> {
    let mut disk = Properties::parse(value);
    let order = disk.volume().filter(|_| is_disk_key(key)).and_then(|volume| volume.split_once(':'));
    let Some((storage, gib)) = order.and_then(|(storage, gib)| Some((storage, gib.parse::<u64>().ok()?)))
    else {
        return Ok(value.to_owned());
    };
    let (volume, lines) = node.alloc_image(storage, vmid, "raw", None, gib << 30)?;
    for line in &lines {
        io.line(line);
    }
    disk.value = Some(volume.volid);
    disk.set("size", format!("{gib}G"));
    Ok(disk.to_string())
}

/// The section of pending changes, made if there is none; it stands in front of the snapshots.
fn pending(config: &mut GuestConfig) -> &mut Section {
    if config.sections.first().is_none_or(|(name, _)| name != "PENDING") {
        config.sections.insert(0, ("PENDING".into(), Section::default()));
    }
    &mut config.sections[0].1
}

fn delete_later(config: &mut GuestConfig, key: &str) {
    let pending = pending(config);
    pending.remove(key);
    let keys = pending.get("delete").map_or_else(|| key.to_owned(), |keys| format!("{keys},{key}"));
    pending.set("delete", keys);
}

/// Deletes a setting. The volume of a disk is kept as unused; one that is unused already is destroyed.
fn delete(node: &Node, vmid: u32, config: &mut GuestConfig, key: &str) -> Outcome {
    if key == "description" {
        config.main.description = None;
        return Ok(());
    }
    let Some(value) = config.main.remove(key) else { return Ok(()) };
    if key.starts_with("unused") {
        let is_own = node.place(&value)?.owner == Some(vmid);
        return if is_own { node.free_volume(&value) } else { Ok(()) };
    }
    if !is_disk_key(key) {
        return Ok(());
    }
    let disk = Properties::parse(&value);
    if let Some(volid) = disk.volume().filter(|volid| volid.contains(':') && !disk.is_cdrom()) {
        rescan::add_unused(config, volid);
    }
    Ok(())
}

/// A volume that a disk names again is unused no more.
fn drop_used_again(config: &mut GuestConfig) {
    let used: Vec<String> =
        super::disks(&config.main).iter().filter_map(|(_, disk)| disk.volume().map(str::to_owned)).collect();
    let unused = config
        .main
        .iter()
        .filter(|(key, volid)| key.starts_with("unused") && used.iter().any(|u| u == volid));
    let keys: Vec<String> = unused.map(|(key, _)| key.to_owned()).collect();
    for key in keys {
        config.main.remove(&key);
    }
}

pub(super) fn unlock(node: &Node, call: &Parsed) -> Outcome<i32> {
    let vmid = call.vmid();
    let mut config = node.config(VM, vmid)?;
    if config.main.remove("lock").is_some() {
        node.write_config(VM, vmid, &config)?;
    }
    Ok(0)
}
