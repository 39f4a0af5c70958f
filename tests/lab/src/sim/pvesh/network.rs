//! The node's network, as `/etc/network/interfaces` describes it.

use serde_json::{Map, Value, json};

use super::Answer;
use crate::sim::node::{Node, Outcome};
use crate::sim::{Io, Parsed};

const INTERFACES: &str = "/etc/network/interfaces";

/// A device with what its stanzas say.
#[derive(Debug, Default)]
struct Device {
    name: String,
    auto: bool,
    /// Methods by family: `inet`, `inet6`.
    methods: Vec<(String, String)>,
    /// Settings with the family that they stand under.
    settings: Vec<(String, String, String)>,
    comments: String,
}

impl Device {
    fn get(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(_, k, _)| k == key).map(|(_, _, value)| value.as_str())
    }

    fn kind(&self) -> &'static str {
        let has = |key: &str| self.get(key).is_some();
        if has("bridge-ports") || self.name.starts_with("vmbr") && !self.name.contains('.') {
            "bridge"
        } else if has("ovs_type") {
            "OVSBridge"
        } else if has("bond-slaves") || self.name.starts_with("bond") && !self.name.contains('.') {
            "bond"
        } else if has("vlan-raw-device") || self.name.contains('.') {
            "vlan"
        } else if self.name.contains(':') {
            "alias"
        } else if self.name == "lo" {
            "loopback"
        } else {
            "eth"
        }
    }

    fn value(&self, priority: usize) -> Value {
        let mut fields = Map::new();
        let mut set = |key: &str, value: Value| fields.insert(key.to_owned(), value);
        set("iface", self.name.as_str().into());
        set("type", self.kind().into());
        set("active", 1.into());
        set("exists", 1.into());
        set("priority", priority.into());
        if self.auto {
            set("autostart", 1.into());
        }
        let families: Vec<_> = self.methods.iter().map(|(family, _)| family.as_str()).collect();
        set("families", json!(families));
        for (key, family) in [("method", "inet"), ("method6", "inet6")] {
            let method = self.methods.iter().find(|(name, _)| name == family);
            set(key, method.map_or("manual", |(_, method)| method.as_str()).into());
        }
        if !self.comments.is_empty() {
            set("comments", self.comments.as_str().into());
        }
        for (family, key, value) in &self.settings {
            let six = if family == "inet6" { "6" } else { "" };
            match key.as_str() {
                "address" => {
                    let (address, length) = value.split_once('/').unwrap_or((value, ""));
                    let length = if length.is_empty() { self.mask() } else { length.to_owned() };
                    set(&format!("address{six}"), address.into());
                    set(&format!("netmask{six}"), length.as_str().into());
                    set(&format!("cidr{six}"), format!("{address}/{length}").into());
                }
                "netmask" => {}
                "gateway" => {
                    set(&format!("gateway{six}"), value.as_str().into());
                }
                "bridge-ports" => {
                    set("bridge_ports", if value == "none" { "" } else { value }.into());
                }
                "bridge-vlan-aware" => {
                    set("bridge_vlan_aware", 1.into());
                }
                "bond-slaves" => {
                    set("slaves", value.as_str().into());
                }
                "vlan-raw-device" | "vlan-id" => {
                    set(key, value.as_str().into());
                }
                other => {
                    set(&other.replace('-', "_"), value.as_str().into());
                }
            }
        }
        fields.into()
    }

    /// The prefix length of a dotted `netmask`.
    fn mask(&self) -> String {
        let mask = self.get("netmask").unwrap_or("32");
        let ones = |part: &str| part.parse::<u8>().map_or(0, u8::count_ones);
        if mask.contains('.') { mask.split('.').map(ones).sum::<u32>().to_string() } else { mask.into() }
    }
}

fn devices(text: &str) -> Vec<Device> {
    let mut devices: Vec<Device> = Vec::new();
    let mut autos: Vec<String> = Vec::new();
    let mut current = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("auto" | "allow-auto" | "allow-hotplug") => {
                autos.extend(words.map(str::to_owned));
                current = None;
            }
            Some("iface") => {
                let name = words.next().unwrap_or_default();
                let family = words.next().unwrap_or("inet").to_owned();
                let method = words.next().unwrap_or("manual").to_owned();
                let at = devices.iter().position(|device| device.name == name).unwrap_or_else(|| {
                    devices.push(Device { name: name.to_owned(), ..Device::default() });
                    devices.len() - 1
                });
                devices[at].methods.push((family.clone(), method));
                current = Some((at, family));
            }
            Some(word) if line.starts_with('#') => {
                if let Some((at, _)) = current {
                    let comment = line.trim_start_matches('#');
                    devices[at].comments.push_str(&format!("{comment}\n"));
                }
                let _ = word;
            }
            Some("source" | "source-directory" | "mapping") => current = None,
            Some(key) => {
                if let Some((at, family)) = &current {
                    let value = words.collect::<Vec<_>>().join(" ");
                    devices[*at].settings.push((family.clone(), key.replace('_', "-"), value));
                }
            }
            None => {}
        }
    }
    for device in &mut devices {
        device.auto = autos.contains(&device.name);
    }
    devices
}

pub(super) fn list(node: &Node, call: &Parsed, _io: &mut Io<'_>) -> Outcome<Answer> {
    let is_wanted = |device: &&Device| match (call.get("type"), device.kind()) {
        (_, "loopback") => false,
        (None, _) => true,
        (Some("any_bridge" | "any_local_bridge"), kind) => matches!(kind, "bridge" | "OVSBridge"),
        (Some(wanted), kind) => wanted == kind,
    };
    let devices = devices(&node.read(INTERFACES).unwrap_or_default());
    let wanted = devices.iter().enumerate().filter(|(_, device)| is_wanted(device));
    let list: Vec<Value> = wanted.map(|(at, device)| device.value(at + 2)).collect();
    Ok(Value::from(list).into())
}

/// The address of the first bridge that has one.
pub(super) fn own_address(node: &Node) -> Option<String> {
    let devices = devices(&node.read(INTERFACES)?);
    let address =
        devices.iter().filter(|device| device.kind() != "loopback").find_map(|d| d.get("address"))?;
    Some(address.split('/').next().unwrap_or(address).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "auto lo\niface lo inet loopback\n\niface eno1 inet manual\n\nauto vmbr0\n\
        iface vmbr0 inet static\n\taddress 192.168.1.10/24\n\tgateway 192.168.1.1\n\tbridge-ports eno1\n\
        \tbridge-stp off\n\tbridge-fd 0\n#the lan\n\niface vmbr1 inet manual\n\tbridge-ports none\n";

    #[test]
    fn bridges_are_told_with_their_addresses() {
        let bridges: Vec<_> = devices(FILE).into_iter().filter(|device| device.kind() == "bridge").collect();
        assert_eq!(bridges.len(), 2);
        let expected = json!({
            "active": 1, "address": "192.168.1.10", "autostart": 1, "bridge_fd": "0", "bridge_ports": "eno1",
            "bridge_stp": "off", "cidr": "192.168.1.10/24", "comments": "the lan\n", "exists": 1,
            "families": ["inet"], "gateway": "192.168.1.1", "iface": "vmbr0", "method": "static",
            "method6": "manual", "netmask": "24", "priority": 4, "type": "bridge",
        });
        assert_eq!(bridges[0].value(4), expected);
        assert_eq!(bridges[1].value(5)["bridge_ports"], "");
    }
}
