//! The node itself.

use serde_json::json;

use super::Answer;
use crate::sim::clock;
use crate::sim::node::{Node, Outcome};
use crate::sim::{Io, Parsed};

/// The build that the versions belong to.
pub(super) const REPOSITORY: &str = "0123456789abcdef";

/// The version of a node's manager.
pub(super) fn manager_version(node: &Node) -> &'static str {
    if node.version() >= 9 { "9.2.11" } else { "8.4.21" }
}

pub(super) fn version(node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let version = manager_version(node);
    let release = version.rsplit_once('.').map_or(version, |(release, _)| release);
    Ok(json!({"release": release, "repoid": REPOSITORY, "version": version}).into())
}

/// The lab's nodes keep UTC.
pub(super) fn time(_node: &Node, _call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let now = clock::now();
    Ok(json!({"localtime": now, "time": now, "timezone": "UTC"}).into())
}
