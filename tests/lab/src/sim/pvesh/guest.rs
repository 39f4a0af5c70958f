//! Guests: lists, states, configurations, snapshots, addresses.

use serde_json::{Map, Value, json};

use super::Answer;
use crate::sim::node::config::Section;
use crate::sim::node::power::boot_disk;
use crate::sim::node::property::{Properties, parse_size};
use crate::sim::node::{Failure, GuestConfig, GuestKind, Node, Outcome};
use crate::sim::{Io, Parsed, addresses, clock};

const VM: GuestKind = GuestKind::Vm;
const CT: GuestKind = GuestKind::Ct;

/// The settings that the API gives as numbers; all others are strings, a VM's `memory` among them.
const NUMBERS: [&[&str]; 2] = [
    &[
        "acpi",
        "autostart",
        "balloon",
        "ciupgrade",
        "cores",
        "cpulimit",
        "cpuunits",
        "freeze",
        "kvm",
        "localtime",
        "migrate_downtime",
        "migrate_speed",
        "numa",
        "onboot",
        "protection",
        "reboot",
        "shares",
        "smp",
        "sockets",
        "tablet",
        "tdf",
        "template",
        "vcpus",
    ],
    &[
        "console",
        "cores",
        "cpulimit",
        "cpuunits",
        "debug",
        "memory",
        "onboot",
        "protection",
        "swap",
        "template",
        "tty",
        "unprivileged",
    ],
];

/// The kind of guest that a call is about, told by its path.
pub(super) fn kind_of(call: &Parsed) -> GuestKind {
    let path = call.get("api_path").unwrap_or_default();
    if path.trim_matches('/').split('/').nth(2) == Some("lxc") { CT } else { VM }
}

fn number(text: &str) -> Value {
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(number), _) => number.into(),
        (_, Ok(number)) => number.into(),
        _ => text.into(),
    }
}

fn mebibytes(config: &Section, key: &str, default: u64) -> u64 {
    let value = config.get(key).map(Properties::parse).unwrap_or_default();
    let value = value.value.as_deref().or(value.get("current")).and_then(|value| value.parse::<u64>().ok());
    value.unwrap_or(default) << 20
}

pub(super) fn list(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let kind = kind_of(call);
    let full = call.is_on("full");
    let state = |vmid: u32| {
        let config = node.config(kind, vmid).ok()?;
        Some(state(node, kind, vmid, &config, full))
    };
    Ok(Value::from(node.guests(kind).into_iter().filter_map(state).collect::<Vec<_>>()).into())
}

pub(super) fn current(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let (kind, vmid) = (kind_of(call), call.vmid());
    let config = node.config(kind, vmid)?;
    let mut state = state(node, kind, vmid, &config, true);
    state["ha"] = match node.ha_state(kind, vmid) {
        Some(wanted) => json!({"managed": 1, "state": wanted}),
        None => json!({"managed": 0}),
    };
    if kind == VM && addresses::has_agent(&config.main) {
        state["agent"] = 1.into();
    }
    Ok(state.into())
}

/// The state of a guest on this node; `full` is what QEMU itself tells of a VM.
pub(super) fn state(node: &Node, kind: GuestKind, vmid: u32, config: &GuestConfig, full: bool) -> Value {
    let main = &config.main;
    let running = node.running(kind, vmid);
    let memory = mebibytes(main, "memory", 512);
    let word = if running.is_some() { "running" } else { "stopped" };
    let uptime = running.map_or(0, |running| {
        let since = i64::try_from(running.since_ms / 1000).unwrap_or_default();
        if since > 0 { (clock::now() - since).max(1) } else { 1 }
    });
    let mut state = json!({
        "cpu": 0, "cpus": processors(node, kind, main), "disk": 0, "maxdisk": disk_size(kind, main), "maxmem": memory,
        "mem": if running.is_some() { memory / 2 } else { 0 }, "name": name(kind, vmid, main), "netin": 0, "netout": 0,
        "status": word, "uptime": uptime, "vmid": vmid,
    });
    let mut set = |key: &str, value: Value| state[key] = value;
    if let Some(running) = running {
        set("pid", running.pid.into());
        if node.version() >= 9 {
            for what in ["cpu", "io", "memory"] {
                set(&format!("pressure{what}full"), 0.into());
                set(&format!("pressure{what}some"), 0.into());
            }
        }
    }
    if kind == CT {
        set("type", "lxc".into());
        set("maxswap", mebibytes(main, "swap", 512).into());
        for key in ["swap", "diskread", "diskwrite"] {
            set(key, 0.into());
        }
    } else {
        if node.version() >= 9 {
            set("memhost", if running.is_some() { (memory / 2).into() } else { 0.into() });
        }
        if full {
            set("qmpstatus", word.into());
        }
        if full && running.is_some() {
            for key in ["diskread", "diskwrite"] {
                set(key, 0.into());
            }
            set("running-machine", "pc-i440fx-9.2+pve1".into());
            set("running-qemu", "9.2.0".into());
        }
        if main.get("serial0").is_some() {
            set("serial", 1.into());
        }
    }
    if main.is_on("template") {
        set("template", 1.into());
    }
    for key in ["lock", "tags"] {
        if let Some(value) = main.get(key) {
            set(key, value.into());
        }
    }
    state
}

/// What a list calls a guest; a VM and a container without a name differ.
pub(super) fn name(kind: GuestKind, vmid: u32, main: &Section) -> String {
    let (key, unnamed) = if kind == VM { ("name", "VM ") } else { ("hostname", "CT") };
    main.get(key).map_or_else(|| format!("{unnamed}{vmid}"), str::to_owned)
}

fn processors(node: &Node, kind: GuestKind, main: &Section) -> Value {
    let get =
        |key: &str| main.get(key).and_then(|value| value.parse::<u32>().ok()).filter(|count| *count > 0);
    let host = node.settings().cpus;
    match kind {
        VM => get("vcpus")
            .unwrap_or_else(|| (get("sockets").unwrap_or(1) * get("cores").unwrap_or(1)).min(host))
            .into(),
        CT => match (get("cores"), main.get("cpulimit")) {
            (Some(cores), _) => cores.into(),
            (None, Some(limit)) if limit != "0" => number(limit),
            _ => host.into(),
        },
    }
}

fn disk_size(kind: GuestKind, main: &Section) -> u64 {
    let disk = match kind {
        VM => boot_disk(main),
        CT => main.get("rootfs").map(Properties::parse),
    };
    disk.and_then(|disk| parse_size(disk.get("size")?)).unwrap_or_default()
}

pub(super) fn config(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let (kind, vmid) = (kind_of(call), call.vmid());
    let config = node.config(kind, vmid)?;
    let shown = match call.get("snapshot") {
        Some(name) => {
            let found = config.snapshots().find(|(snapshot, _)| *snapshot == name);
            found.ok_or_else(|| Failure::new(format!("snapshot '{name}' does not exist")))?.1.clone()
        }
        None if call.is_on("current") => config.main.clone(),
        None => config.with_pending(),
    };
    let mut fields = settings(kind, &shown);
    fields.insert("digest".into(), config_digest(node, kind, vmid).into());
    Ok(Value::from(fields).into())
}

fn config_digest(node: &Node, kind: GuestKind, vmid: u32) -> String {
    super::digest(&node.read(&node.config_path(kind, vmid)).unwrap_or_default())
}

fn settings(kind: GuestKind, section: &Section) -> Map<String, Value> {
    let mut fields = Map::new();
    let numbers = NUMBERS[usize::from(kind == CT)];
    for (key, value) in section.iter() {
        if kind == CT && key.starts_with("lxc.") {
            let raw = fields.entry("lxc").or_insert_with(|| Value::Array(Vec::new()));
            if let Some(raw) = raw.as_array_mut() {
                raw.push(json!([key, value]));
            }
            continue;
        }
        let value = match key {
            "cipassword" => "**********".into(),
            _ if numbers.contains(&key) => number(value),
            _ => value.into(),
        };
        fields.insert(key.into(), value);
    }
    if let Some(text) = &section.description {
        // Only containers keep the last line break.
        let end = if kind == CT { "\n" } else { "" };
        fields.insert("description".into(), format!("{text}{end}").into());
    }
    fields
}

pub(super) fn snapshots(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let (kind, vmid) = (kind_of(call), call.vmid());
    let config = node.config(kind, vmid)?;
    let with_parent = |mut entry: Value, section: &Section| {
        if let Some(parent) = section.get("parent") {
            entry["parent"] = parent.into();
        }
        entry
    };
    let entry = |(name, section): (&str, &Section)| {
        let description = section.description.as_deref().unwrap_or_default();
        let mut entry = json!({"description": description, "name": name});
        if let Some(time) = section.get("snaptime") {
            entry["snaptime"] = number(time);
        }
        if kind == VM {
            entry["vmstate"] = u8::from(section.get("vmstate").is_some()).into();
        }
        if let Some(state) = section.get("snapstate") {
            entry["snapstate"] = state.into();
        }
        with_parent(entry, section)
    };
    let mut list: Vec<Value> = config.snapshots().map(entry).collect();
    let running = u8::from(node.running(kind, vmid).is_some());
    let digest = config_digest(node, kind, vmid);
    let now =
        json!({"description": "You are here!", "digest": digest, "name": "current", "running": running});
    list.push(with_parent(now, &config.main));
    Ok(Value::from(list).into())
}

pub(super) fn agent_interfaces(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let interfaces = addresses::of_agent(node, call.vmid())?;
    Ok(json!({"result": interfaces}).into())
}

/// A stopped container has none: `null`.
pub(super) fn container_interfaces(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let interfaces = addresses::of_container(node, call.vmid());
    Ok(interfaces.map_or(Value::Null, Value::from).into())
}
