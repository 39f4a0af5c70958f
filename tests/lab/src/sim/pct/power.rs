//! Starting and stopping containers.

use std::thread;
use std::time::{Duration, Instant};

use super::{CT, mounts, volume};
use crate::sim::node::Task;
use crate::sim::{Failure, Io, Node, Outcome, Parsed, ha};

/// How long a container may take to shut down, in seconds.
const SHUTDOWN: u64 = 60;
/// How often a wait looks again.
const TICK: Duration = Duration::from_millis(20);

pub(super) fn start(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    if node.running(CT, vmid).is_some() {
        return Err(Failure::new(format!("CT {vmid} already running")));
    }
    if node.is_ha_managed(CT, vmid) {
        return Ok(ha::request(node, io, CT, vmid, "start"));
    }
    let skip = call.is_on("skiplock");
    Ok(node.worker(io, "vzstart", &vmid.to_string(), |task| start_ct(node, vmid, skip, task)))
}

/// Starts a container, inside a task.
pub(in crate::sim) fn start_ct(node: &Node, vmid: u32, skiplock: bool, task: &mut Task<'_>) -> Outcome {
    let config = node.config(CT, vmid)?;
    if let Some(lock) = config.lock().filter(|_| !skiplock) {
        return Err(Failure::new(format!("CT is locked ({lock})")));
    }
    if config.main.is_on("template") {
        return Err(Failure::new("you can't start a CT if it's a template"));
    }
    let there = |volid: &str| {
        let usable =
            node.place(volid).and_then(|place| node.usable_storage(&place.storage.id).map(|_| place));
        usable.is_ok_and(|place| node.path(&place.path).exists())
    };
    let missing =
        mounts(&config.main).iter().filter_map(|(_, mount)| volume(mount)).any(|volid| !there(volid));
    let fails = node.settings().guests.get(&vmid).is_some_and(|guest| guest.start_fails);
    if missing || fails {
        task.line("run_buffer: 571 Script exited with status 255")?;
        return Err(Failure::new(format!("startup for container '{vmid}' failed")));
    }
    node.power_on(CT, vmid)
}

fn not_running(node: &Node, vmid: u32) -> Outcome {
    if node.running(CT, vmid).is_some() {
        return Ok(());
    }
    Err(Failure::new(format!("CT {vmid} not running")))
}

pub(super) fn stop(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    not_running(node, vmid)?;
    if node.is_ha_managed(CT, vmid) {
        return Ok(ha::request(node, io, CT, vmid, "stop"));
    }
    Ok(node.worker(io, "vzstop", &vmid.to_string(), |_| {
        check_lock(node, vmid, call.is_on("skiplock"))?;
        node.power_off(CT, vmid)
    }))
}

pub(super) fn shutdown(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    not_running(node, vmid)?;
    if node.is_ha_managed(CT, vmid) {
        return Ok(ha::request(node, io, CT, vmid, "stop"));
    }
    Ok(node.worker(io, "vzshutdown", &vmid.to_string(), |_| {
        check_lock(node, vmid, false)?;
        let timeout = call.number("timeout").unwrap_or(SHUTDOWN);
        power_down(node, vmid, timeout, call.is_on("forceStop"))
    }))
}

fn check_lock(node: &Node, vmid: u32, skip: bool) -> Outcome {
    match node.config(CT, vmid)?.lock() {
        Some(lock) if !skip => Err(Failure::new(format!("CT is locked ({lock})"))),
        _ => Ok(()),
    }
}

/// Asks the container's init to end; only one that has booted reacts.
fn power_down(node: &Node, vmid: u32, timeout: u64, force: bool) -> Outcome {
    let behaviour = node.settings().guests.get(&vmid).copied().unwrap_or_default();
    let limit = Duration::from_millis(timeout * 1000 / node.settings().time_divisor.max(1));
    let start = Instant::now();
    while behaviour.ignores_shutdown || !node.has_booted(CT, vmid) {
        if node.running(CT, vmid).is_none() {
            return Ok(());
        }
        if start.elapsed() >= limit {
            if force {
                break;
            }
            return Err(Failure::new(format!(
                "command 'lxc-stop -n {vmid} --nokill --timeout {timeout}' failed: exit code 2"
            )));
        }
        if node.is_interrupted() {
            return Err(Failure::new("interrupted by signal"));
        }
        thread::sleep(TICK);
    }
    node.power_off(CT, vmid)
}
