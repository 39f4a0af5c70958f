//! The addresses of running guests.

use serde_json::{Value, json};

use super::node::config::Section;
use super::node::property::Properties;
use super::node::{Failure, GuestConfig, GuestKind, Node, Outcome};

/// Whether a VM's agent is enabled.
pub(super) fn has_agent(config: &Section) -> bool {
    let agent = config.get("agent").map(Properties::parse).unwrap_or_default();
    let enabled = agent.value.as_deref().or(agent.get("enabled"));
    enabled.is_some_and(|flag| matches!(flag, "1" | "on" | "yes" | "true"))
}

/// Checks that a VM's agent can be asked, with the words of a node.
pub(super) fn require_agent(node: &Node, vmid: u32) -> Outcome<GuestConfig> {
    let config = node.config(GuestKind::Vm, vmid)?;
    if !has_agent(&config.main) {
        return Err(Failure::new("No QEMU guest agent configured"));
    }
    if node.running(GuestKind::Vm, vmid).is_none() {
        return Err(Failure::new(format!("VM {vmid} is not running")));
    }
    if !node.has_booted(GuestKind::Vm, vmid) {
        return Err(Failure::new("QEMU guest agent is not running"));
    }
    Ok(config)
}

/// The interfaces that a VM's agent tells.
pub(super) fn of_agent(node: &Node, vmid: u32) -> Outcome<Vec<Value>> {
    let config = require_agent(node, vmid)?.main;
    let mut list = vec![interface(
        "lo",
        "00:00:00:00:00:00",
        &["127.0.0.1/8".into(), "::1/128".into()],
        ["ipv4", "ipv6"],
    )];
    for (number, (key, mac)) in nics(&config, GuestKind::Vm).into_iter().enumerate() {
        let settings = config.get(&format!("ipconfig{}", key.trim_start_matches("net")));
        let addresses = addresses(&settings.map(Properties::parse).unwrap_or_default(), &mac);
        list.push(interface(&format!("eth{number}"), &mac, &addresses, ["ipv4", "ipv6"]));
    }
    Ok(list)
}

/// The interfaces of a container; nothing while it is stopped, or when there is none.
pub(super) fn of_container(node: &Node, vmid: u32) -> Option<Vec<Value>> {
    node.running(GuestKind::Ct, vmid)?;
    let config = node.config(GuestKind::Ct, vmid).ok()?.main;
    let mut list =
        vec![container_interface("lo", "00:00:00:00:00:00", &["127.0.0.1/8".into(), "::1/128".into()])];
    let up = node.has_booted(GuestKind::Ct, vmid);
    for (key, mac) in nics(&config, GuestKind::Ct) {
        let settings = config.get(&key).map(Properties::parse).unwrap_or_default();
        let addresses = if up { addresses(&settings, &mac) } else { Vec::new() };
        list.push(container_interface(settings.get("name").unwrap_or("eth0"), &mac, &addresses));
    }
    Some(list)
}

fn container_interface(name: &str, mac: &str, addresses: &[String]) -> Value {
    let mut entry = interface(name, mac, addresses, ["inet", "inet6"]);
    entry["hwaddr"] = mac.into();
    for address in addresses {
        entry[if address.contains(':') { "inet6" } else { "inet" }] = address.as_str().into();
    }
    entry
}

/// The network cards of a guest: their keys and MAC addresses in lower case.
fn nics(config: &Section, kind: GuestKind) -> Vec<(String, String)> {
    let is_nic = |key: &str| key.strip_prefix("net").is_some_and(|number| number.parse::<u8>().is_ok());
    let mac = |value: &str| {
        let card = Properties::parse(value);
        let mac = match kind {
            // A VM names the model of the card in front of its MAC.
            GuestKind::Vm => {
                card.iter().map(|(_, value)| value).find(|value| value.matches(':').count() == 5)
            }
            GuestKind::Ct => card.get("hwaddr"),
        };
        mac.map(str::to_lowercase)
    };
    config
        .iter()
        .filter(|(key, _)| is_nic(key))
        .filter_map(|(key, value)| Some((key.into(), mac(value)?)))
        .collect()
}

/// The addresses with prefix lengths that a guest takes; what it would ask for by DHCP depends on its MAC.
fn addresses(settings: &Properties, mac: &str) -> Vec<String> {
    let mut found = Vec::new();
    match settings.get("ip") {
        Some("manual") => {}
        Some("dhcp") => found.push(lease(mac)),
        None if settings.iter().next().is_none() => found.push(lease(mac)),
        None => {}
        Some(address) => found.push(address.to_owned()),
    }
    found.extend(settings.get("ip6").filter(|ip| ip.contains(':')).map(str::to_owned));
    found
}

/// What the lab's DHCP server gives to a MAC.
fn lease(mac: &str) -> String {
    let last = mac.rsplit(':').next().and_then(|byte| u8::from_str_radix(byte, 16).ok()).unwrap_or_default();
    format!("192.168.1.{}/24", 100 + last % 100)
}

fn interface(name: &str, mac: &str, addresses: &[String], types: [&str; 2]) -> Value {
    let mut entry = json!({"hardware-address": mac, "name": name});
    let list: Vec<Value> = addresses
        .iter()
        .map(|address| {
            let (address, length) = address.split_once('/').unwrap_or((address, "32"));
            let prefix: u8 = length.parse().unwrap_or(32);
            let kind = types[usize::from(address.contains(':'))];
            json!({"ip-address": address, "ip-address-type": kind, "prefix": prefix})
        })
        .collect();
    if !list.is_empty() {
        entry["ip-addresses"] = list.into();
    }
    entry
}
