//! Addresses that the restored guest will have, and that somebody else has by now.

use std::{net::IpAddr, thread, time::Duration};

use restore_common::{
    probe::{self, Ping, Tcp},
    pve::{
        GuestConfig, NodeName, PveError, RunningGuest, Vmid, neighbour_in, neighbour_question,
        running_guests, running_guests_questions,
    },
    remote::Host,
};
use serde::{Deserialize, Serialize};

use crate::identity::identity;

/// An address that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// The address.
    pub address: IpAddr,
    /// Who has it: ``VM 101 `web` on pve-prod``.
    pub who: String,
}

/// How long somebody may take to answer at an address.
const ATTEMPT: Duration = Duration::from_secs(1);

/// Looks for whoever has one of the static addresses of `config`: a running guest of the cluster, somebody who answers
/// to the operator's machine, or somebody whom the node has heard. One remote execution, none without such an address.
pub fn find(
    host: &dyn Host,
    node: &NodeName,
    target: Vmid,
    config: &GuestConfig,
    ports: &[u16],
) -> Result<Vec<Conflict>, PveError> {
    let mut addresses: Vec<IpAddr> =
        config.static_addresses().into_iter().filter_map(|address| address.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut questions = running_guests_questions();
    let about_guests = questions.len();
    questions.extend(addresses.iter().map(|address| neighbour_question(*address)));
    let answers = host.run_all(&questions)?;
    let (of_guests, of_neighbours) = answers.split_at(about_guests);
    let guests = running_guests(host, node, &questions[..about_guests], of_guests)?;
    // What the node heard before may have been the guest itself, when it was still there.
    let own = identity(config);
    let strangers = of_neighbours.iter().map(|answer| {
        neighbour_in(answer).filter(|heard| !own.iter().any(|mark| mark.value.eq_ignore_ascii_case(heard)))
    });
    let who = |(address, stranger): (&IpAddr, Option<String>)| {
        let guest = guests.iter().find(|guest| guest.vmid != target && guest.addresses.contains(address));
        let who =
            guest.map(described).or_else(|| who_answers(*address, ports).map(str::to_owned)).or_else(|| {
                stranger.map(|mac| format!("the machine with the MAC address {mac}, which {node} heard"))
            });
        who.map(|who| Conflict { address: *address, who })
    };
    Ok(addresses.iter().zip(strangers).filter_map(who).collect())
}

fn described(guest: &RunningGuest) -> String {
    let RunningGuest { kind, vmid, node, .. } = guest;
    match &guest.name {
        Some(name) => format!("{kind} {vmid} `{name}` on {node}"),
        None => format!("{kind} {vmid} on {node}"),
    }
}

/// Whether somebody answers at an address, to ping or on a port. A refusal does not count: a router may give it in the
/// place of a machine that is not there.
fn who_answers(address: IpAddr, ports: &[u16]) -> Option<&'static str> {
    let address = address.to_string();
    thread::scope(|scope| {
        let ping = scope.spawn(|| probe::ping(&address, ATTEMPT) == Ping::Answered);
        let tcp = |port: u16| probe::tcp(&address, port, ATTEMPT) == Tcp::Open;
        let asked: Vec<_> = ports.iter().map(|&port| scope.spawn(move || tcp(port))).collect();
        let answers = |thread: thread::ScopedJoinHandle<'_, bool>| thread.join().unwrap_or_default();
        if answers(ping) {
            return Some("a machine that answers to ping");
        }
        asked.into_iter().any(answers).then_some("a machine that answers on TCP")
    })
}
