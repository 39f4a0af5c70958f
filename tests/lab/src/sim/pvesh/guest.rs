//! Guests.

use serde_json::Value;

use super::Answer;
use crate::sim::node::{GuestKind, Node, Outcome};
use crate::sim::{Io, Parsed, addresses};

pub(super) fn agent_interfaces(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let interfaces = addresses::of_agent(node, call.vmid())?;
    Ok(serde_json::json!({"result": interfaces}).into())
}

/// A stopped container has none: `null`.
pub(super) fn container_interfaces(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let vmid = call.vmid();
    node.config(GuestKind::Ct, vmid)?;
    Ok(addresses::of_container(node, vmid)?.map_or(Value::Null, Value::from).into())
}
