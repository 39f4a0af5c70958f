//! Guests under high availability.

use serde_json::{Value, json};

use super::Answer;
use crate::sim::node::cluster::{HA_RESOURCES, Section, SectionFile};
use crate::sim::node::{Node, Outcome};
use crate::sim::{Io, Parsed};

pub(super) fn resources(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let text = node.read(HA_RESOURCES).unwrap_or_default();
    let digest = super::digest(&text);
    let file = SectionFile::parse(&text);
    let wanted =
        file.sections.iter().filter(|section| call.get("type").is_none_or(|kind| kind == section.kind));
    let list: Vec<Value> = wanted.map(|section| resource(section, &digest)).collect();
    Ok(Value::from(list).into())
}

fn resource(section: &Section, digest: &str) -> Value {
    let mut entry =
        json!({"digest": digest, "sid": format!("{}:{}", section.kind, section.id), "type": section.kind});
    for (key, value) in &section.settings {
        entry[key] = match value.parse::<u64>() {
            Ok(number) if key != "comment" => number.into(),
            _ => value.as_str().into(),
        };
    }
    entry
}
