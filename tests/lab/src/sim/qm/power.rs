//! Starting and stopping VMs.

use std::thread;
use std::time::{Duration, Instant};

use super::VM;
use crate::sim::node::{GuestConfig, Task};
use crate::sim::{Failure, Io, Node, Outcome, Parsed, ha};

/// How long a guest may take to shut down, in seconds.
const SHUTDOWN: u64 = 60;
/// How often a wait looks again.
const TICK: Duration = Duration::from_millis(20);

fn check_lock(config: &GuestConfig, skip: bool) -> Outcome {
    match config.lock() {
        Some(lock) if !skip => Err(Failure::new(format!("VM is locked ({lock})"))),
        _ => Ok(()),
    }
}

pub(super) fn start(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    node.config(VM, vmid)?;
    if node.is_ha_managed(VM, vmid) {
        return Ok(ha::request(node, io, VM, vmid, "start"));
    }
    let skip = call.is_on("skiplock");
    Ok(node.worker(io, "qmstart", &vmid.to_string(), |task| start_vm(node, vmid, skip, task)))
}

/// Starts a VM, inside a task.
pub(in crate::sim) fn start_vm(node: &Node, vmid: u32, skiplock: bool, task: &mut Task<'_>) -> Outcome {
    let config = node.config(VM, vmid)?;
    if config.main.is_on("template") {
        return Err(Failure::new("you can't start a vm if it's a template"));
    }
    check_lock(&config, skiplock)?;
    if node.running(VM, vmid).is_some() {
        return Err(Failure::new(format!("VM {vmid} already running")));
    }
    for (_, disk) in super::disks(&config.main) {
        let Some(volid) = disk.volume().filter(|volid| *volid != "none") else { continue };
        if disk.is_cloudinit() {
            task.line("generating cloud-init ISO")?;
            continue;
        }
        let place = node.place(volid)?;
        node.usable_storage(&place.storage.id)?;
        if !node.path(&place.path).exists() {
            return Err(Failure::new(format!("volume '{volid}' does not exist")));
        }
    }
    if node.settings().guests.get(&vmid).is_some_and(|guest| guest.start_fails) {
        task.line("kvm: cannot set up guest memory 'pc.ram': Cannot allocate memory")?;
        return Err(Failure::new("start failed: QEMU exited with code 1"));
    }
    apply_pending(node, vmid, config)?;
    node.power_on(VM, vmid)
}

/// A start puts the pending changes into force.
fn apply_pending(node: &Node, vmid: u32, mut config: GuestConfig) -> Outcome {
    let Some(pending) = config.pending().cloned() else { return Ok(()) };
    for key in pending.get("delete").unwrap_or_default().split(',').filter(|key| !key.is_empty()) {
        config.main.remove(key.trim_start_matches('!'));
    }
    for (key, value) in pending.iter().filter(|(key, _)| *key != "delete") {
        config.main.set(key, value);
    }
    config.sections.retain(|(name, _)| name != "PENDING" && name != "pve:pending");
    node.write_config(VM, vmid, &config)
}

fn missing(node: &Node, vmid: u32) -> Failure {
    Failure::new(format!("unable to find configuration file for VM {vmid} on node '{}'", node.name()))
}

pub(super) fn stop(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    if node.config(VM, vmid).is_ok() && node.is_ha_managed(VM, vmid) {
        return Ok(ha::request(node, io, VM, vmid, "stop"));
    }
    Ok(node.worker(io, "qmstop", &vmid.to_string(), |_| {
        let config = node.config(VM, vmid).map_err(|_| missing(node, vmid))?;
        if node.running(VM, vmid).is_some() {
            check_lock(&config, call.is_on("skiplock"))?;
            node.power_off(VM, vmid)?;
        }
        Ok(())
    }))
}

pub(super) fn shutdown(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(VM, vmid).ok();
    if config.is_some() && node.is_ha_managed(VM, vmid) {
        return Ok(ha::request(node, io, VM, vmid, "stop"));
    }
    if config.is_none() {
        io.complain(&format!("{}\n", missing(node, vmid)));
    } else if node.running(VM, vmid).is_none() {
        io.complain(&format!("VM {vmid} not running\n"));
    }
    Ok(node.worker(io, "qmshutdown", &vmid.to_string(), |task| {
        let config = config.ok_or_else(|| missing(node, vmid))?;
        if node.running(VM, vmid).is_none() {
            return Ok(());
        }
        check_lock(&config, call.is_on("skiplock"))?;
        let timeout = call.number("timeout").or_else(|| down_time(&config)).unwrap_or(SHUTDOWN);
        power_down(node, vmid, timeout, call.is_on("forceStop"), task)
    }))
}

/// The `down=` of the startup option.
fn down_time(config: &GuestConfig) -> Option<u64> {
    let startup = crate::sim::node::property::Properties::parse(config.main.get("startup")?);
    startup.get("down")?.parse().ok()
}

/// Asks the guest to power off; only one that has booted reacts.
fn power_down(node: &Node, vmid: u32, timeout: u64, force: bool, task: &mut Task<'_>) -> Outcome {
    let behaviour = node.settings().guests.get(&vmid).copied().unwrap_or_default();
    let limit = Duration::from_millis(timeout * 1000 / node.settings().time_divisor.max(1));
    let start = Instant::now();
    while behaviour.ignores_shutdown || !node.has_booted(VM, vmid) {
        if node.running(VM, vmid).is_none() {
            return Ok(());
        }
        if start.elapsed() >= limit {
            if !force {
                return Err(Failure::new("VM quit/powerdown failed - got timeout"));
            }
            task.line("VM quit/powerdown failed - got timeout")?;
            task.line("VM still running - terminating now with SIGTERM")?;
            break;
        }
        if node.is_interrupted() {
            return Err(Failure::new("interrupted by signal"));
        }
        thread::sleep(TICK);
    }
    node.power_off(VM, vmid)
}

pub(super) fn reboot(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(VM, vmid)?;
    if node.running(VM, vmid).is_none() {
        return Err(Failure::new(format!("VM {vmid} not running")));
    }
    Ok(node.worker(io, "qmreboot", &vmid.to_string(), |task| {
        check_lock(&config, false)?;
        power_down(node, vmid, call.number("timeout").unwrap_or(SHUTDOWN), false, task)?;
        start_vm(node, vmid, false, task)
    }))
}

/// Waits until a VM has stopped.
pub(super) fn wait(node: &Node, call: &Parsed) -> Outcome<i32> {
    let vmid = call.vmid();
    node.config(VM, vmid)?;
    let limit = call
        .number("timeout")
        .map(|seconds| Duration::from_millis(seconds * 1000 / node.settings().time_divisor.max(1)));
    let start = Instant::now();
    while node.running(VM, vmid).is_some() {
        if limit.is_some_and(|limit| start.elapsed() >= limit) {
            return Err(Failure::new("got timeout"));
        }
        if node.is_interrupted() {
            return Err(Failure::new("interrupted by signal"));
        }
        thread::sleep(TICK);
    }
    Ok(0)
}
