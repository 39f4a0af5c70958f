//! What makes a guest itself to others: two that share it disturb each other.

use restore_common::pve::GuestConfig;

/// One mark of a guest's identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where it is set, and what it is: `net0`, `SMBIOS UUID`.
    pub what: String,
    /// Its value, as it stands in the configuration.
    pub value: String,
}

/// The MAC addresses of its network cards, its SMBIOS UUID and its generation id.
pub fn identity(config: &GuestConfig) -> Vec<Mark> {
    let marks = config.settings().flat_map(|(key, value)| {
        let mark = |what: &str, value: &str| Mark { what: what.to_owned(), value: value.to_owned() };
        let found: Vec<_> = match key {
            "smbios1" => value
                .split(',')
                .filter_map(|part| part.strip_prefix("uuid="))
                .map(|v| mark("SMBIOS UUID", v))
                .collect(),
            // 0 is no id.
            "vmgenid" if value != "0" => vec![mark("generation id", value)],
            _ if is_card(key) => macs(value).map(|mac| mark(key, mac)).collect(),
            _ => Vec::new(),
        };
        found
    });
    marks.collect()
}

/// The marks of `config` that one of `others` has, too.
pub fn shared<'a>(config: &[Mark], others: impl IntoIterator<Item = &'a GuestConfig>) -> Vec<Mark> {
    let others: Vec<_> = others.into_iter().flat_map(identity).collect();
    let is_shared = |mark: &&Mark| others.iter().any(|other| other.value.eq_ignore_ascii_case(&mark.value));
    config.iter().filter(is_shared).cloned().collect()
}

/// Whether a setting is a network card.
pub fn is_card(key: &str) -> bool {
    key.strip_prefix("net").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// The MAC address of a card: after its model for a VM, as `hwaddr` or `macaddr`.
fn macs(value: &str) -> impl Iterator<Item = &str> {
    let is_mac = |text: &&str| {
        let mut bytes = text.split(':');
        bytes.clone().count() == 6
            && bytes.all(|byte| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    value.split(',').filter_map(|part| Some(part.split_once('=')?.1)).filter(is_mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: &str = "name: web\nnet0: virtio=BC:24:11:00:00:65,bridge=vmbr0\nnet1: bridge=vmbr1,macaddr=BC:24:11:00:00:66,model=e1000\n\
                      netx: a=BC:24:11:00:00:67\nsmbios1: uuid=11111111-2222-4333-8444-555555555555,serial=1\nvmgenid: 0\n";

    #[test]
    fn macs_and_uuids_are_the_identity() {
        let marks = identity(&GuestConfig::parse(VM));
        let seen: Vec<_> = marks.iter().map(|mark| (mark.what.as_str(), mark.value.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("net0", "BC:24:11:00:00:65"),
                ("net1", "BC:24:11:00:00:66"),
                ("SMBIOS UUID", "11111111-2222-4333-8444-555555555555")
            ]
        );
    }

    #[test]
    fn what_another_has_is_shared_whatever_its_case_and_place() {
        let copy = identity(&GuestConfig::parse("net0: name=eth0,hwaddr=bc:24:11:00:00:66,ip=dhcp\n"));
        let original = GuestConfig::parse(VM);
        assert_eq!(shared(&copy, [&original]).len(), 1);
        assert_eq!(shared(&copy, [&GuestConfig::parse("net0: name=eth0\n")]), []);
    }
}
