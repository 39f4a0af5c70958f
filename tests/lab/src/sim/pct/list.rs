//! What `pct` tells about containers.

use super::CT;
use crate::sim::node::config::encode;
use crate::sim::{Failure, Io, Node, Outcome, Parsed, qm};

fn state(node: &Node, vmid: u32) -> &'static str {
    if node.running(CT, vmid).is_some() { "running" } else { "stopped" }
}

pub(super) fn status(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let vmid = call.vmid();
    let config = node.config(CT, vmid)?;
    if call.is_on("verbose") {
        io.line(&format!("name: {}", config.main.get("hostname").unwrap_or_default()));
        io.line(&format!("status: {}", state(node, vmid)));
        io.line("type: lxc");
        io.line(&format!("vmid: {vmid}"));
    } else {
        io.line(&format!("status: {}", state(node, vmid)));
    }
    Ok(0)
}

pub(super) fn config(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = node.config(CT, call.vmid())?;
    let shown = match call.get("snapshot") {
        Some(name) => {
            let found = config.snapshots().find(|(snapshot, _)| *snapshot == name);
            found.ok_or_else(|| Failure::new(format!("snapshot '{name}' does not exist")))?.1
        }
        None => &config.main,
    };
    let mut lines: Vec<_> = shown.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    lines.extend(
        shown.description.as_ref().map(|text| format!("description: {}", encode(&format!("{text}\n")))),
    );
    lines.sort();
    for line in lines {
        io.line(&line);
    }
    Ok(0)
}

pub(super) fn pending(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = node.config(CT, call.vmid())?;
    let mut lines: Vec<_> = config.main.iter().map(|(key, value)| format!("cur {key}: {value}")).collect();
    let encoded = |text: &String| format!("cur description: {}", encode(&format!("{text}\n")));
    lines.extend(config.main.description.as_ref().map(encoded));
    if let Some(pending) = config.pending() {
        lines.extend(pending.iter().map(|(key, value)| format!("new {key}: {value}")));
    }
    lines.sort();
    for line in lines {
        io.line(&line);
    }
    Ok(0)
}

pub(super) fn list(node: &Node, io: &mut Io<'_>) -> Outcome<i32> {
    let guests = node.guests(CT);
    if guests.is_empty() {
        return Ok(0);
    }
    io.line(&format!("{:<10} {:<10} {:<12} {:<20}", "VMID", "Status", "Lock", "Name"));
    for vmid in guests {
        let config = node.config(CT, vmid)?;
        let lock = config.lock().unwrap_or_default();
        let name = config.main.get("hostname").map_or_else(|| format!("CT{vmid}"), str::to_owned);
        io.line(&format!("{vmid:<10} {:<10} {lock:<12} {name:<20}", state(node, vmid)));
    }
    Ok(0)
}

/// Draws the tree of snapshots, the present state last.
pub(super) fn snapshots(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = node.config(CT, call.vmid())?;
    for line in qm::snapshot_tree(&config) {
        io.line(&line);
    }
    Ok(0)
}
