//! The guest agent: it answers when it is configured and the guest has booted.

use serde_json::{Value, json};

use super::VM;
use crate::sim::node::GuestConfig;
use crate::sim::node::property::Properties;
use crate::sim::{Failure, Io, Node, Outcome, Parsed};

/// The configuration of a guest whose agent answers.
fn answering(node: &Node, vmid: u32) -> Outcome<GuestConfig> {
    let config = node.config(VM, vmid)?;
    let agent = config.main.get("agent").map(Properties::parse).unwrap_or_default();
    if agent.value.as_deref().or_else(|| agent.get("enabled")) != Some("1") {
        return Err(Failure::new("No QEMU guest agent configured"));
    }
    if node.running(VM, vmid).is_none() {
        return Err(Failure::new(format!("VM {vmid} is not running")));
    }
    if !node.has_booted(VM, vmid) {
        return Err(Failure::new("QEMU guest agent is not running"));
    }
    Ok(config)
}

fn print(io: &mut Io<'_>, value: &Value) {
    io.line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

pub(super) fn cmd(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = answering(node, call.vmid())?;
    let name = config.main.get("name").unwrap_or("localhost");
    let answer = match call.get("command").unwrap_or_default() {
        "ping" => return Ok(0),
        "network-get-interfaces" => interfaces(&config),
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

/// The network of a guest: the loopback, and a card for each `netN` with the addresses of its `ipconfigN`.
fn interfaces(config: &GuestConfig) -> Value {
    let loopback = json!({
        "name": "lo",
        "hardware-address": "00:00:00:00:00:00",
        "ip-addresses": [{ "ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8 }],
    });
    let cards = (0..32).filter_map(|number| {
        let card = Properties::parse(config.main.get(&format!("net{number}"))?);
        let mac = card.iter().map(|(_, value)| value).find(|value| value.split(':').count() == 6)?;
        let setup = config.main.get(&format!("ipconfig{number}")).map(Properties::parse).unwrap_or_default();
        let address = |key: &str, kind: &str| {
            let (address, prefix) = setup.get(key)?.split_once('/')?;
            let prefix: u8 = prefix.parse().ok()?;
            Some(json!({ "ip-address-type": kind, "ip-address": address, "prefix": prefix }))
        };
        let addresses: Vec<_> =
            [address("ip", "ipv4"), address("ip6", "ipv6")].into_iter().flatten().collect();
        Some(json!({
            "name": format!("eth{number}"),
            "hardware-address": mac.to_lowercase(),
            "ip-addresses": addresses,
        }))
    });
    Value::Array([loopback].into_iter().chain(cards).collect())
}

/// Runs one of the few commands that the lab's guests know.
pub(super) fn exec(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<i32> {
    let config = answering(node, call.vmid())?;
    let words: Vec<_> = call.rest.iter().map(String::as_str).collect();
    let (code, output) = match words[..] {
        ["true" | "sync", ..] => (0, String::new()),
        ["false", ..] => (1, String::new()),
        ["echo", ref rest @ ..] => (0, format!("{}\n", rest.join(" "))),
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
