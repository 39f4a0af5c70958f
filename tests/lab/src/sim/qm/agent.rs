//! The guest agent: it answers when it is configured and the guest has booted.

use serde_json::{Value, json};

use crate::sim::{Failure, Io, Node, Outcome, Parsed, addresses};

fn print(io: &mut Io<'_>, value: &Value) {
    io.line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

pub(super) fn cmd(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = addresses::require_agent(node, call.vmid())?;
    let name = config.main.get("name").unwrap_or("localhost");
    let answer = match call.get("command").unwrap_or_default() {
        "ping" => return Ok(0),
        "network-get-interfaces" => addresses::of_agent(node, call.vmid())?.into(),
        "get-host-name" => json!({ "host-name": name }),
        "get-osinfo" => json!({ "id": "debian", "name": "Debian GNU/Linux", "version-id": "12" }),
        "fsfreeze-status" => json!("thawed"),
        "info" => json!({ "version": "7.2.0", "supported_commands": [] }),
        command => {
            return Err(Failure::new(format!("Agent error: Command {command} has been disabled")));
        }
    };
    print(io, &answer);
    Ok(0)
}

/// Runs one of the few commands that the lab's guests know.
pub(super) fn exec(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = addresses::require_agent(node, call.vmid())?;
    let words: Vec<_> = call.rest.iter().map(String::as_str).collect();
    let (code, output) = match words[..] {
        ["true" | "sync", ..] => (0, String::new()),
        ["false", ..] => (1, String::new()),
        ["echo", ref rest @ ..] => (0, format!("{}\n", rest.join(" "))),
        ["docker", "compose", "-f", _, "up", "-d"] => {
            node.install_stack(call.vmid())?;
            (0, String::new())
        }
        ["hostname"] => (0, format!("{}\n", config.main.get("name").unwrap_or("localhost"))),
        _ => (127, String::new()),
    };
    let mut answer = json!({ "exitcode": code, "exited": 1 });
    if !output.is_empty() {
        answer["out-data"] = output.into();
    } else if code == 127 {
        answer["err-data"] = format!("{}: not found\n", words.first().unwrap_or(&"")).into();
    }
    print(io, &answer);
    Ok(0)
}
