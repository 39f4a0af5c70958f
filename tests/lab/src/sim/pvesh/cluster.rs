//! The cluster.

use serde_json::{Value, json};

use super::Answer;
use super::network::own_address;
use crate::sim::node::{Node, Outcome};
use crate::sim::{Io, Parsed};

/// A node that stands alone has no entry for a cluster.
pub(super) fn status(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let others = node.other_nodes();
    let alone = others.is_empty();
    let mut names: Vec<&str> = others.iter().map(String::as_str).chain([node.name()]).collect();
    names.sort_unstable();
    let entry = |(number, name): (usize, &&str)| {
        let local = *name == node.name();
        let mut entry = json!({
            "id": format!("node/{name}"),
            "level": "",
            "local": u8::from(local),
            "name": name,
            "nodeid": if alone { 0 } else { number + 1 },
            "online": u8::from(local || node.settings().quorum),
            "type": "node",
        });
        if let Some(address) = own_address(node).filter(|_| local) {
            entry["ip"] = address.into();
        }
        entry
    };
    let mut entries: Vec<Value> = names.iter().enumerate().map(entry).collect();
    if !alone {
        let quorate = u8::from(node.settings().quorum);
        let name = cluster_name(node);
        entries.insert(
            0,
            json!({"id": "cluster", "name": name, "nodes": names.len(), "quorate": quorate, "type": "cluster", "version": names.len()}),
        );
    }
    Ok(Value::from(entries).into())
}

/// The cluster's name, from `corosync.conf`.
fn cluster_name(node: &Node) -> String {
    let text = node.read("/etc/pve/corosync.conf").unwrap_or_default();
    let name = text.lines().find_map(|line| line.trim().strip_prefix("cluster_name:"));
    name.map_or_else(|| "home".to_owned(), |name| name.trim().to_owned())
}
