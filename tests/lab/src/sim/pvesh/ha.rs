//! Guests under high availability.

use serde_json::{Value, json};

use super::Answer;
use crate::sim::node::cluster::{HA_RESOURCES, Section, SectionFile};
use crate::sim::node::{Failure, Node, Outcome};
use crate::sim::{Io, Parsed, ha};

fn all(node: &Node) -> Vec<Value> {
    let text = node.read(HA_RESOURCES).unwrap_or_default();
    let digest = super::digest(&text);
    SectionFile::parse(&text).sections.iter().map(|section| resource(section, &digest)).collect()
}

pub(super) fn resources(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let mut list = all(node);
    list.retain(|entry| call.get("type").is_none_or(|kind| entry["type"] == kind));
    Ok(Value::from(list).into())
}

pub(super) fn one_resource(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let sid = call.get("sid").unwrap_or_default();
    let found = all(node).into_iter().find(|entry| entry["sid"] == sid);
    found.map(Answer::from).ok_or_else(|| Failure::new(format!("no such resource '{sid}'")))
}

fn resource(section: &Section, digest: &str) -> Value {
    let sid = format!("{}:{}", section.kind, section.id);
    let mut entry = json!({"digest": digest, "sid": sid, "type": section.kind});
    for (key, value) in &section.settings {
        entry[key] = match value.parse::<u64>() {
            Ok(number) if key != "comment" => number.into(),
            _ => value.as_str().into(),
        };
    }
    entry
}

pub(super) fn add(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    ha::add(node, call).map(|()| Answer::Nothing)
}

pub(super) fn set(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    ha::set(node, call).map(|()| Answer::Nothing)
}

pub(super) fn remove(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    ha::remove(node, call).map(|()| Answer::Nothing)
}

pub(super) fn status(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let entry = |entry: ha::StatusEntry| {
        let mut value = json!({"id": entry.id, "node": entry.node, "status": entry.text, "type": entry.kind});
        if entry.kind == "quorum" {
            value["quorate"] = u8::from(node.settings().quorum).into();
        }
        if let Some((section, state, has)) = entry.service {
            let wanted = section.get("state").unwrap_or("started");
            value["sid"] = format!("{}:{}", section.kind, section.id).into();
            value["state"] = state.into();
            if let Some(has) = has {
                value["crm_state"] = has.into();
            }
            value["request_state"] = wanted.into();
            let number = |key: &str| section.get(key).and_then(|value| value.parse::<u64>().ok());
            value["max_restart"] = number("max_restart").unwrap_or(1).into();
            value["max_relocate"] = number("max_relocate").unwrap_or(1).into();
            if node.version() >= 9 {
                value["failback"] = number("failback").unwrap_or(1).into();
            }
            if let Some(group) = section.get("group") {
                value["group"] = group.into();
            }
        }
        value
    };
    Ok(Value::from(ha::status(node).into_iter().map(entry).collect::<Vec<_>>()).into())
}
