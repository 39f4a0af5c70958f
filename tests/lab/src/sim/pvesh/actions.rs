//! Calls that run a worker task. It works in the foreground; the answer is its ID, however it ended.

use serde_json::{Value, json};

use super::guest::kind_of;
use super::{Answer, OUTPUT_OPTIONS, invalid};
use crate::sim::node::property::is_disk_key;
use crate::sim::node::{Failure, GuestKind, Node, Outcome};
use crate::sim::{Io, Parsed, addresses, pct, pvesm, qm, qmrestore, vzdump};

/// What of a restore's parameters the restore itself takes; the others are settings that win over the backup's.
const RESTORE_OPTIONS: [&str; 10] = [
    "archive",
    "bwlimit",
    "force",
    "ha-managed",
    "live-restore",
    "pool",
    "start",
    "storage",
    "unique",
    "vmid",
];

type Program = fn(&Node, &Parsed, &mut Io<'_>) -> i32;

/// The call of a program with the parameters of a call of the API.
fn command(call: &Parsed, words: &[&str]) -> Parsed {
    let mut command = call.clone();
    command.words = words.iter().map(|word| (*word).to_owned()).collect();
    command
        .params
        .retain(|key, _| key != "node" && key != "api_path" && !OUTPUT_OPTIONS.contains(&key.as_str()));
    command
}

/// Runs a program in the foreground. Only what fails before there is a task fails the call.
fn foreground(node: &Node, command: &Parsed, io: &mut Io<'_>, program: Program) -> Outcome<Answer> {
    node.take_last_worker();
    let status = program(node, command, io);
    match node.take_last_worker() {
        Some(upid) => Ok(Value::from(upid).into()),
        None if status == 0 => Ok(Answer::Nothing),
        // The program has told why.
        None => Err(Failure::with_status("", status)),
    }
}

pub(super) fn restore_vm(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    if call.get("archive").is_none() {
        return Err(Failure::new("the lab makes VMs from backups only"));
    }
    let mut restore = command(call, &["qmrestore"]);
    if let Some(key) = restore.params.keys().find(|key| is_disk_key(key)) {
        return Err(invalid(call, &format!("{key}: option conflicts with option 'archive'")));
    }
    let mut settings = Vec::new();
    restore.params.retain(|key, value| {
        let is_option = RESTORE_OPTIONS.contains(&key.as_str());
        if !is_option {
            settings.push((key.clone(), value.clone()));
        }
        is_option
    });
    node.take_last_worker();
    let status = qmrestore::main(node, &restore, io);
    if status == 0 && !settings.is_empty() {
        let mut config = node.config(GuestKind::Vm, call.vmid())?;
        for (key, value) in settings {
            if key == "description" {
                config.main.description = Some(value);
            } else {
                config.main.set(&key, value);
            }
        }
        node.write_config(GuestKind::Vm, call.vmid(), &config)?;
    }
    match node.take_last_worker() {
        Some(upid) => Ok(Value::from(upid).into()),
        None => Err(Failure::with_status("", status)),
    }
}

/// From a backup or from a template.
pub(super) fn new_container(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    if call.is_on("restore") {
        return foreground(node, &command(call, &["pct", "restore"]), io, pct::main);
    }
    foreground(node, &command(call, &["pct", "create"]), io, pct::main)
}

pub(super) fn clone(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    foreground(node, &command(call, &["qm", "clone"]), io, qm::main)
}

/// Runs `qm` or `pct`, whichever the path is about.
fn guest_tool(node: &Node, call: &Parsed, io: &mut Io<'_>, word: &str) -> Outcome<Answer> {
    match kind_of(call) {
        GuestKind::Vm => foreground(node, &command(call, &["qm", word]), io, qm::main),
        GuestKind::Ct => foreground(node, &command(call, &["pct", word]), io, pct::main),
    }
}

pub(super) fn destroy(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    guest_tool(node, call, io, "destroy")
}

pub(super) fn set_config(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    guest_tool(node, call, io, "set")
}

/// `start`, `stop`, `shutdown` and `reboot`.
pub(super) fn power(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    let path = call.get("api_path").unwrap_or_default().trim_end_matches('/');
    guest_tool(node, call, io, path.rsplit('/').next().unwrap_or_default())
}

pub(super) fn ping_agent(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    addresses::require_agent(node, call.vmid())?;
    Ok(json!({"result": {}}).into())
}

/// A backup of guests that are all on other nodes is no task, and answers `OK`.
pub(super) fn back_up(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    match foreground(node, &command(call, &["vzdump"]), io, vzdump::main)? {
        Answer::Nothing => Ok(Value::from("OK").into()),
        answer @ Answer::Value(_) => Ok(answer),
    }
}

pub(super) fn allocate(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Answer> {
    Ok(Value::from(pvesm::allocate(node, call, io)?).into())
}
