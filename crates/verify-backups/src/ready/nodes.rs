//! Whether the nodes can be logged in to, and what they say of the storages with the backups.

use restore_common::{
    contact::{Contact, connect_all},
    homelab::Environment,
    pve::{NodeFacts, PveError, Storage},
    remote::{AtHand, Host, HostError, ReadOnly, at_hand},
    ui::format,
};

use super::Ready;
use crate::{codes::ready as codes, nodes, report::ReadyPart};

pub(super) fn look(ready: &Ready<'_>, environments: &[Environment]) -> anyhow::Result<Vec<ReadyPart>> {
    let common = &ready.frame.cli.common;
    // One without a node may still have a state.
    let with_node: Vec<_> = environments.iter().filter(|e| e.node().is_ok()).cloned().collect();
    let wanted = &ready.frame.cli.node;
    let contacts = connect_all(common, &with_node, wanted)?;
    if contacts.is_empty() && !wanted.is_empty() {
        return Err(nodes::unknown(wanted));
    }
    let mut parts = Vec::new();
    for contact in &contacts {
        match &contact.host {
            Ok(host) => {
                parts.push(ReadyPart::ready(
                    "known host",
                    &contact.node.label(),
                    "it has the key that is known",
                ));
                parts.push(ReadyPart::ready("ssh key", &contact.node.label(), "the node accepts it"));
                parts.push(storages(host.as_ref(), &contact.node.label()));
            }
            Err(error) => parts.extend(without_connection(ready, contact, error)),
        }
    }
    Ok(parts)
}

/// What this machine alone can tell, and why the node could not.
fn without_connection(ready: &Ready<'_>, contact: &Contact, error: &PveError) -> Vec<ReadyPart> {
    let label = &contact.node.label();
    let target = ready.frame.cli.common.target(&contact.node);
    let here = at_hand(&target);
    let known = match error {
        PveError::Host(HostError::HostKey { reason, .. }) => {
            ReadyPart::lacking("known host", label, &codes::KNOWN_HOST, reason)
        }
        _ => known_host(label, here.as_ref()),
    };
    let key = match error {
        PveError::Host(HostError::Authentication { tried, .. }) => {
            ReadyPart::lacking("ssh key", label, &codes::SSH_KEY, tried)
        }
        _ => key(label, here.as_ref(), error),
    };
    let words = format!("its storages: {error}");
    vec![known, key, ReadyPart::lacking("storage", label, &codes::NOT_ASKED, words)]
}

fn known_host(label: &str, here: Result<&AtHand, &HostError>) -> ReadyPart {
    match here {
        Ok(here) if here.known_keys.is_empty() => {
            ReadyPart::lacking("known host", label, &codes::KNOWN_HOST, "no file has a key of it")
        }
        Ok(here) => ReadyPart::ready("known host", label, format!("known by {}", here.known_keys.join(", "))),
        Err(error) => ReadyPart::lacking("known host", label, &codes::KNOWN_HOST, error.to_string()),
    }
}

/// Without the node: a key may be at hand, and only the node knows whether it is the right one.
fn key(label: &str, here: Result<&AtHand, &HostError>, why: &PveError) -> ReadyPart {
    match here {
        Ok(here) if here.keys.is_empty() => {
            let words = if here.unusable.is_empty() {
                "there is no agent and no key file".to_owned()
            } else {
                here.unusable.join("; ")
            };
            ReadyPart::lacking("ssh key", label, &codes::SSH_KEY, words)
        }
        Ok(here) => {
            let words = format!("{} would be tried: {why}", here.keys.join(", "));
            ReadyPart::lacking("ssh key", label, &codes::NOT_ASKED, words)
        }
        Err(error) => ReadyPart::lacking("ssh key", label, &codes::SSH_KEY, error.to_string()),
    }
}

fn storages(host: &dyn Host, label: &str) -> ReadyPart {
    let questions = NodeFacts::questions();
    let asked = || -> Result<NodeFacts, PveError> {
        let answers = ReadOnly(host).run_all(&questions)?;
        NodeFacts::read(host, &questions, &answers)
    };
    match asked() {
        Ok(facts) => judged(label, facts.storages.iter().filter(|storage| storage.allows("backup"))),
        Err(error) => ReadyPart::lacking("storage", label, &codes::NOT_ASKED, error.to_string()),
    }
}

/// What is disabled is so on purpose.
fn judged<'s>(label: &str, storages: impl Iterator<Item = &'s Storage>) -> ReadyPart {
    let (good, bad): (Vec<_>, Vec<_>) =
        storages.filter(|storage| storage.enabled).partition(|storage| storage.active);
    let names = |storages: &[&Storage]| {
        storages.iter().map(|storage| storage.id.to_string()).collect::<Vec<_>>().join(", ")
    };
    match (good.is_empty(), bad.is_empty()) {
        (true, true) => {
            let words = "no storage that is enabled on the node is for backups";
            ReadyPart::lacking("storage", label, &codes::STORAGE, words)
        }
        (_, false) => {
            let words = format!("{} cannot be read", names(&bad));
            ReadyPart::lacking("storage", label, &codes::STORAGE, words)
        }
        (false, true) => {
            let count = u64::try_from(good.len()).unwrap_or(u64::MAX);
            let words = format!("{} can be read: {}", format::counted(count, "storage"), names(&good));
            ReadyPart::ready("storage", label, words)
        }
    }
}
