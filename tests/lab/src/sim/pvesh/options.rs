//! Which options a call of the API takes.

use super::{OUTPUT_OPTIONS, usage};
use crate::sim::Parsed;
use crate::sim::node::{Failure, Outcome};

const HA: &[&str] = &[
    "comment",
    "delete",
    "digest",
    "failback",
    "group",
    "max_relocate",
    "max_restart",
    "sid",
    "state",
    "type",
];
const DESTROY: &[&str] = &["destroy-unreferenced-disks", "force", "purge", "skiplock"];
const START: &[&str] = &[
    "debug",
    "force-cpu",
    "machine",
    "migratedfrom",
    "migration_network",
    "migration_type",
    "nets-host-mtu",
    "skiplock",
    "stateuri",
    "targetstorage",
    "timeout",
    "with-conntrack-state",
];
const STOP: &[&str] = &["forceStop", "keepActive", "overrule-shutdown", "skiplock", "timeout"];

/// The options of a method; nothing where they are the settings of a guest, a storage or a backup job.
fn of(method: &str, pattern: &str) -> Option<&'static [&'static str]> {
    let last = pattern.rsplit('/').next().unwrap_or_default();
    Some(match (method, last) {
        ("create", "qemu" | "lxc" | "vzdump" | "rules") | ("set", "config" | "{storage}" | "options") => {
            return None;
        }
        ("create", "clone") => &["full", "name", "newid", "storage", "target"],
        ("delete", "{pos}") => &["digest"],
        ("create", "content") => &["filename", "format", "size", "vmid"],
        ("create", "start") => START,
        ("create", "stop" | "shutdown" | "reboot") => STOP,
        ("create", "resources") | ("set", "{sid}") => HA,
        ("delete", "{sid}") => &["purge"],
        ("delete", "{vmid}") => DESTROY,
        ("delete", "{volume}") => &["delay"],
        ("set", "{volume}") => &["notes", "protected"],
        ("get", "nextid") => &["vmid"],
        ("get", "resources" | "network") => &["type"],
        ("get", "tasks") => &[
            "errors",
            "limit",
            "since",
            "source",
            "start",
            "statusfilter",
            "typefilter",
            "until",
            "userfilter",
            "vmid",
        ],
        ("get", "log") => &["download", "limit", "start"],
        ("get", "content") => &["content", "vmid"],
        ("get", "extractconfig") => &["volume"],
        ("get", "defaults") => &["storage"],
        ("get", "qemu") => &["full"],
        ("get", "config") => &["current", "snapshot"],
        ("get", "storage") if pattern == "storage" => &["type"],
        ("get", "storage") => &["content", "enabled", "format", "storage", "target"],
        _ => &[],
    })
}

/// Refuses what a method does not take.
pub(super) fn check(pattern: &str, call: &Parsed) -> Outcome {
    let method = call.words.last().map_or("", String::as_str);
    let Some(known) = of(method, pattern) else { return Ok(()) };
    let is_known = |name: &str| name == "api_path" || OUTPUT_OPTIONS.contains(&name) || known.contains(&name);
    let unknown = call.params.keys().filter(|name| !is_known(name));
    let mut lines: Vec<_> = unknown.map(|name| format!("Unknown option: {}", name.to_lowercase())).collect();
    if lines.is_empty() {
        return Ok(());
    }
    lines.extend(["400 unable to parse option".into(), usage(call)]);
    Err(Failure::new(lines.join("\n")))
}
