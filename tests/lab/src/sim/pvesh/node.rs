//! The nodes themselves.

use serde_json::{Value, json};

use super::Answer;
use super::cluster::{is_online, nodes};
use crate::sim::clock;
use crate::sim::node::{Node, Outcome};
use crate::sim::{Io, Parsed};

/// The build that the versions belong to.
const REPOSITORY: &str = "0123456789abcdef";
/// How long a node of the lab has been up, in seconds.
const UPTIME: u32 = 86_400;
/// The size of its root file system.
const ROOT: u64 = 100 << 30;

/// The version of a node's manager.
fn manager_version(node: &Node) -> &'static str {
    if node.version() >= 9 { "9.2.11" } else { "8.4.21" }
}

pub(super) fn version(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let version = manager_version(node);
    let release = version.rsplit_once('.').map_or(version, |(release, _)| release);
    Ok(json!({"release": release, "repoid": REPOSITORY, "version": version}).into())
}

pub(super) fn time(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let (now, ahead) = (clock::now(), node.settings().hours_ahead);
    let zone = match ahead {
        0 => "UTC".to_owned(),
        // These names have the sign of the old days: what is ahead of UTC is west of it.
        hours => format!("Etc/GMT{:+}", -hours),
    };
    Ok(json!({"localtime": now + node.settings().seconds_ahead(), "time": now, "timezone": zone}).into())
}

/// A node as lists show it; of others only the name is known here.
pub(super) fn summary(node: &Node, name: &str) -> Value {
    let mut entry = json!({"id": format!("node/{name}"), "level": "", "node": name, "type": "node"});
    entry["status"] = if is_online(node, name) { "online" } else { "offline" }.into();
    if name == node.name() {
        let memory = node.settings().memory;
        let figures = json!({
            "cpu": 0.01, "disk": ROOT / 10, "maxcpu": node.settings().cpus, "maxdisk": ROOT, "maxmem": memory,
            "mem": memory / 4, "uptime": UPTIME,
        });
        if let (Some(entry), Value::Object(figures)) = (entry.as_object_mut(), figures) {
            entry.extend(figures);
        }
    }
    entry
}

pub(super) fn list(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let entry = |name: &String| {
        let mut entry = summary(node, name);
        entry["ssl_fingerprint"] = Value::Null;
        entry
    };
    Ok(Value::from(nodes(node).iter().map(entry).collect::<Vec<_>>()).into())
}

pub(super) fn status(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let (cpus, memory) = (node.settings().cpus, node.settings().memory);
    let new = node.version() >= 9;
    let (kernel, build) = if new { ("7.0.2-1-pve", "PMX 7.0.2-1") } else { ("6.8.12-9-pve", "PMX 6.8.12-9") };
    let mut status = json!({
        "boot-info": {"mode": "legacy-bios"},
        "cpu": 0.01,
        "cpuinfo": {
            "cores": cpus, "cpus": cpus, "flags": "fpu vmx", "hvm": "1", "mhz": "3400.000", "model": "Lab CPU",
            "sockets": 1, "user_hz": 100,
        },
        "current-kernel": {
            "machine": "x86_64", "release": kernel, "sysname": "Linux", "version": format!("#1 SMP PREEMPT_DYNAMIC {build}"),
        },
        "idle": 0,
        "ksm": {"shared": 0},
        "kversion": format!("Linux {kernel} #1 SMP PREEMPT_DYNAMIC {build}"),
        "loadavg": ["0.10", "0.05", "0.01"],
        "memory": {"free": memory / 4 * 3, "total": memory, "used": memory / 4},
        "pveversion": format!("pve-manager/{}/{REPOSITORY}", manager_version(node)),
        "rootfs": {"avail": ROOT / 10 * 9, "free": ROOT / 10 * 9, "total": ROOT, "used": ROOT / 10},
        "swap": {"free": 0, "total": 0, "used": 0},
        "uptime": UPTIME,
        "wait": 0,
    });
    if new {
        status["memory"]["available"] = (memory / 4 * 3).into();
        status["cpuinfo"]["family"] = "6".into();
        status["cpuinfo"]["vendor"] = "GenuineIntel".into();
    }
    Ok(status.into())
}
