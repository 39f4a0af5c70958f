//! The cluster, and what all its nodes have together.

use serde_json::{Value, json};

use super::network::own_address;
use super::node::summary;
use super::{Answer, guest, invalid};
use crate::sim::node::{GuestConfig, GuestKind, Node, Outcome, names};
use crate::sim::{Io, Parsed};

/// The names of all nodes, sorted.
pub(super) fn nodes(node: &Node) -> Vec<String> {
    let mut nodes = node.other_nodes();
    nodes.push(node.name().to_owned());
    nodes.sort();
    nodes
}

/// The guests of the whole cluster: kind, number, node and configuration.
pub(super) fn guests(node: &Node) -> Vec<(GuestKind, u32, String, GuestConfig)> {
    let mut found = Vec::new();
    for kind in [GuestKind::Vm, GuestKind::Ct] {
        let own = node
            .guests(kind)
            .into_iter()
            .filter_map(|vmid| Some((kind, vmid, node.name().to_owned(), node.config(kind, vmid).ok()?)));
        found.extend(own);
        for other in node.other_nodes() {
            let folder = format!("/etc/pve/nodes/{other}/{}", kind.folder());
            let configs = names(&node.path(&folder)).into_iter().filter_map(|name| {
                let vmid = name.strip_suffix(".conf")?.parse().ok()?;
                let text = node.read(&format!("{folder}/{name}"))?;
                Some((kind, vmid, other.clone(), GuestConfig::parse(&text)))
            });
            found.extend(configs);
        }
    }
    found.sort_by_key(|(_, vmid, ..)| *vmid);
    found
}

/// A node that stands alone has no entry for a cluster.
pub(super) fn status(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let names = nodes(node);
    let alone = names.len() == 1;
    let entry = |(number, name): (usize, &String)| {
        let local = name == node.name();
        let mut entry = json!({
            "id": format!("node/{name}"),
            "level": "",
            "local": u8::from(local),
            "name": name,
            "nodeid": if alone { 0 } else { number + 1 },
            "online": u8::from(is_online(node, name)),
            "type": "node",
        });
        if let Some(address) = own_address(node).filter(|_| local) {
            entry["ip"] = address.into();
        }
        entry
    };
    let mut entries: Vec<Value> = names.iter().enumerate().map(entry).collect();
    if !alone {
        let count = names.len();
        let quorate = u8::from(node.settings().quorum);
        let cluster = json!({
            "id": "cluster", "name": name(node), "nodes": count, "quorate": quorate, "type": "cluster",
            "version": count,
        });
        entries.insert(0, cluster);
    }
    Ok(Value::from(entries).into())
}

/// Without quorum the others cannot be seen.
pub(super) fn is_online(node: &Node, name: &str) -> bool {
    name == node.name() || node.settings().quorum
}

/// The cluster's name, from `corosync.conf`.
fn name(node: &Node) -> String {
    let text = node.read("/etc/pve/corosync.conf").unwrap_or_default();
    let name = text.lines().find_map(|line| line.trim().strip_prefix("cluster_name:"));
    name.map_or_else(|| "home".to_owned(), |name| name.trim().to_owned())
}

pub(super) fn next_id(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    if let Some(wanted) = call.get("vmid") {
        return match node.find_guest(call.vmid()) {
            Some(_) => Err(invalid(call, &format!("vmid: VM {wanted} already exists"))),
            None => Ok(Value::from(wanted).into()),
        };
    }
    let free = (100..=999_999).find(|vmid| node.find_guest(*vmid).is_none());
    Ok(free.map_or(Value::Null, |vmid| vmid.to_string().into()).into())
}

/// What the status broadcast tells, which is late; of guests on other nodes it knows little here.
pub(super) fn resources(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let wanted = |kind: &str| call.get("type").is_none_or(|wanted| wanted == kind);
    let mut list = Vec::new();
    if wanted("vm") {
        list.extend(guests(node).into_iter().map(|guest| guest_resource(node, &guest)));
    }
    if wanted("node") {
        list.extend(nodes(node).iter().map(|name| summary(node, name)));
    }
    if wanted("storage") {
        let states = node.storage_states(&Parsed::default(), io).unwrap_or_default();
        list.extend(states.iter().filter(|state| state.enabled).map(|state| {
            let id = &state.id;
            json!({
                "content": state.content, "disk": state.usage.used, "id": format!("storage/{}/{id}", node.name()),
                "maxdisk": state.usage.total, "node": node.name(), "plugintype": state.kind,
                "shared": u8::from(state.shared), "status": if state.active { "available" } else { "unknown" },
                "storage": id, "type": "storage",
            })
        }));
    }
    if wanted("sdn") {
        let kind = if node.version() >= 9 { "network" } else { "sdn" };
        list.extend(nodes(node).iter().map(|name| {
            let mut entry = json!({
                "id": format!("{kind}/{name}/localnetwork"), "node": name, "sdn": "localnetwork", "status": "ok",
                "type": kind,
            });
            if kind == "network" {
                entry["network"] = "localnetwork".into();
                entry["network-type"] = "zone".into();
            }
            entry
        }));
    }
    Ok(Value::from(list).into())
}

fn guest_resource(node: &Node, guest: &(GuestKind, u32, String, GuestConfig)) -> Value {
    let (kind, vmid, place, config) = guest;
    let word = if *kind == GuestKind::Vm { "qemu" } else { "lxc" };
    let mut entry = guest::state(node, *kind, *vmid, config, false);
    if let Some(fields) = entry.as_object_mut() {
        let extra = |key: &String, _: &mut Value| !key.starts_with("pressure") && !key.contains("swap");
        fields.retain(|key, value| key != "pid" && extra(key, value));
    }
    entry["maxcpu"] = entry["cpus"].take();
    if let Some(ran) = node.outdated_state(*vmid) {
        entry["status"] = if ran { "running" } else { "stopped" }.into();
    }
    for key in ["diskread", "diskwrite"] {
        entry[key] = 0.into();
    }
    entry["id"] = format!("{word}/{vmid}").into();
    entry["type"] = word.into();
    entry["node"] = place.as_str().into();
    entry["template"] = u8::from(config.main.is_on("template")).into();
    if let Some(state) = node.ha_state(*kind, *vmid) {
        entry["hastate"] = state.into();
    }
    if let Some(pool) = node.pool_of(*vmid) {
        entry["pool"] = pool.into();
    }
    if let Some(fields) = entry.as_object_mut() {
        fields.remove("cpus");
    }
    entry
}
