//! What `qm` tells about VMs.

use super::VM;
use crate::sim::clock;
use crate::sim::node::config::{Section, deleted, encode};
use crate::sim::node::property::{Properties, parse_size};
use crate::sim::node::{GuestConfig, power};
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

fn state(node: &Node, vmid: u32) -> &'static str {
    if node.running(VM, vmid).is_some() { "running" } else { "stopped" }
}

pub(super) fn status(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(VM, vmid)?;
    let state = state(node, vmid);
    if !call.is_on("verbose") {
        io.line(&format!("status: {state}"));
        return Ok(0);
    }
    let main = &config.main;
    let memory = memory(main);
    io.line(&format!("cpus: {}", main.get("cores").unwrap_or("1")));
    if let Some(lock) = config.lock() {
        io.line(&format!("lock: {lock}"));
    }
    io.line(&format!("maxmem: {}", memory << 20));
    io.line(&format!("name: {}", name(main, vmid)));
    if let Some(running) = node.running(VM, vmid) {
        io.line(&format!("pid: {}", running.pid));
    }
    io.line(&format!("qmpstatus: {state}"));
    io.line(&format!("status: {state}"));
    io.line(&format!("vmid: {vmid}"));
    Ok(0)
}

fn memory(main: &Section) -> u64 {
    let memory = main.get("memory").map(Properties::parse).unwrap_or_default();
    let value = memory.value.as_deref().or_else(|| memory.get("current"));
    value.and_then(|value| value.parse().ok()).unwrap_or(512)
}

fn name(main: &Section, vmid: u32) -> String {
    main.get("name").map_or_else(|| format!("VM {vmid}"), str::to_owned)
}

pub(super) fn config(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = node.config(VM, call.vmid())?;
    let shown = match call.get("snapshot") {
        Some(name) => {
            let found = config.snapshots().find(|(snapshot, _)| *snapshot == name);
            found.ok_or_else(|| Failure::new(format!("snapshot '{name}' does not exist")))?.1.clone()
        }
        None if call.is_on("current") => config.main.clone(),
        None => config.with_pending(),
    };
    let mut lines: Vec<_> = shown.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    lines.extend(shown.description.map(|text| format!("description: {}", encode(&text))));
    lines.sort();
    for line in lines {
        io.line(&line);
    }
    Ok(0)
}

pub(super) fn pending(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = node.config(VM, call.vmid())?;
    let pending = config.pending().cloned().unwrap_or_default();
    let mut keys: Vec<_> = config.main.iter().map(|(key, _)| key).collect();
    keys.extend(pending.iter().map(|(key, _)| key).filter(|key| *key != "delete"));
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        if let Some(value) = config.main.get(key) {
            io.line(&format!("cur {key}: {value}"));
        }
        if let Some(value) = pending.get(key) {
            io.line(&format!("new {key}: {value}"));
        }
        if deleted(&pending).any(|deleted| deleted == key) {
            io.line(&format!("del {key}"));
        }
    }
    Ok(0)
}

pub(super) fn list(node: &Node, io: &mut Io<'_>) -> Outcome<i32> {
    let guests = node.guests(VM);
    if guests.is_empty() {
        return Ok(0);
    }
    let row = |cells: [&str; 6]| {
        let [vmid, name, status, memory, disk, pid] = cells;
        format!("{vmid:>10} {name:<20} {status:<10} {memory:<10} {disk:>12} {pid:<10}")
    };
    io.line(&row(["VMID", "NAME", "STATUS", "MEM(MB)", "BOOTDISK(GB)", "PID"]));
    for vmid in guests {
        let main = node.config(VM, vmid)?.main;
        let size = power::boot_disk(&main).and_then(|disk| parse_size(disk.get("size")?)).unwrap_or_default();
        #[allow(clippy::cast_precision_loss)] // two digits are shown
        let disk = format!("{:.2}", size as f64 / f64::from(1_u32 << 30));
        let pid = node.running(VM, vmid).map_or(0, |running| running.pid).to_string();
        let (vmid_text, memory) = (vmid.to_string(), memory(&main).to_string());
        io.line(&row([&vmid_text, &name(&main, vmid), state(node, vmid), &memory, &disk, &pid]));
    }
    Ok(0)
}

/// Draws the tree of snapshots, the present state last.
pub(super) fn snapshots(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = node.config(VM, call.vmid())?;
    for line in snapshot_tree(&config) {
        io.line(&line);
    }
    Ok(0)
}

/// The lines of `listsnapshot`.
pub(in crate::sim) fn snapshot_tree(config: &GuestConfig) -> Vec<String> {
    let mut lines = Vec::new();
    branch(config, None, 0, &mut lines);
    lines
}

fn branch(config: &GuestConfig, parent: Option<&str>, depth: usize, lines: &mut Vec<String>) {
    let row = |name: &str, time: &str, text: &str| {
        let label = format!("{}`-> {name}", " ".repeat(depth));
        format!("{label:<31} {time:<23} {text}")
    };
    for (name, snapshot) in config.snapshots().filter(|(_, section)| section.get("parent") == parent) {
        let time = snapshot.get("snaptime").and_then(|time| time.parse().ok()).map(date_and_time);
        let text = snapshot.description.as_deref().unwrap_or("no-description");
        lines.push(row(name, &time.unwrap_or_default(), text.lines().next().unwrap_or_default()));
        branch(config, Some(name), depth + 1, lines);
    }
    let known = |name: &str| config.snapshots().any(|(snapshot, _)| snapshot == name);
    if config.main.get("parent").filter(|name| known(name)) == parent {
        lines.push(row("current", "", "You are here!"));
    }
}

fn date_and_time(seconds: i64) -> String {
    let (year, month, day) = clock::civil(seconds.div_euclid(86_400));
    let time = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}", month + 1)
}
