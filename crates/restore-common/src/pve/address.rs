//! The addresses that a running guest has, as the node learns them.

use serde::Deserialize;

use super::{GuestKind, Vmid, json};
use crate::remote::{Command, Output};

/// Asks a running guest for its addresses: a VM by its agent, a container by its name space.
pub fn addresses_command(kind: GuestKind, vmid: Vmid) -> Command {
    match kind {
        GuestKind::Qemu => {
            json::get(&format!("/nodes/localhost/qemu/{vmid}/agent/network-get-interfaces"), &[])
        }
        GuestKind::Lxc => json::get(&format!("/nodes/localhost/lxc/{vmid}/interfaces"), &[]),
    }
}

#[derive(Deserialize)]
struct AgentAnswer {
    result: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    name: String,
    #[serde(default, rename = "ip-addresses")]
    addresses: Vec<Address>,
    inet: Option<String>,
    inet6: Option<String>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "ip-address")]
    address: String,
}

/// The first address in the answer to [`addresses_command`] that reaches the guest from outside: not the loopback, not
/// link-local, not on a bridge inside it. `None` when the guest could not say, too.
pub fn first_address(kind: GuestKind, answer: &Output) -> Option<String> {
    if !answer.success() {
        return None;
    }
    let interfaces = match kind {
        GuestKind::Qemu => serde_json::from_str::<AgentAnswer>(&answer.stdout).ok()?.result,
        // A stopped container answers `null`.
        GuestKind::Lxc => serde_json::from_str::<Option<Vec<Interface>>>(&answer.stdout).ok()??,
    };
    let outside = interfaces.into_iter().filter(|i| i.name != "lo" && !is_inner_bridge(&i.name));
    let addresses = outside.flat_map(|i| {
        // Older containers list only the last address of each family, with its prefix length.
        let old =
            i.inet.into_iter().chain(i.inet6).map(|a| a.split('/').next().unwrap_or_default().to_owned());
        i.addresses.into_iter().map(|a| a.address).chain(old).collect::<Vec<_>>()
    });
    let mut usable: Vec<String> =
        addresses.filter(|a| !a.starts_with("fe80") && !a.starts_with("169.254.")).collect();
    // IPv4 first: in a homelab it is what is routed.
    usable.sort_by_key(|a| a.contains(':'));
    usable.into_iter().next()
}

fn is_inner_bridge(name: &str) -> bool {
    ["docker", "br-", "veth", "virbr", "cni", "flannel"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Ending;

    fn answer(text: &str) -> Output {
        Output { ending: Ending::Exit(0), stdout: text.to_owned(), stderr: String::new() }
    }

    #[test]
    fn the_agents_answer_gives_the_outer_address() {
        let text = r#"{"result":[{"name":"lo","ip-addresses":[{"ip-address":"127.0.0.1"}]},
            {"name":"docker0","ip-addresses":[{"ip-address":"172.17.0.1"}]},
            {"name":"eth0","ip-addresses":[{"ip-address":"fe80::1"},{"ip-address":"2001:db8::5"},{"ip-address":"192.168.1.50"}]}]}"#;
        assert_eq!(first_address(GuestKind::Qemu, &answer(text)).as_deref(), Some("192.168.1.50"));
    }

    #[rstest::rstest]
    #[case("null", None)]
    #[case(r#"[{"name":"eth0","inet":"192.168.1.60/24"}]"#, Some("192.168.1.60"))]
    #[case(r#"[{"name":"lo","inet":"127.0.0.1/8"}]"#, None)]
    fn a_containers_answer_may_be_old_or_empty(#[case] text: &str, #[case] expected: Option<&str>) {
        assert_eq!(first_address(GuestKind::Lxc, &answer(text)).as_deref(), expected);
    }
}
