//! The connections of a run: every node of the project once, all at the same time.

use std::{sync::Arc, thread};

use crate::{
    cli::Common,
    homelab::{Environment, NodeRef},
    pve::{NodeName, PveError},
    remote::{HostError, SshHost},
};

/// A node of the project, and the connection to it where there is one.
pub struct Contact {
    /// What the project says about it.
    pub node: NodeRef,
    /// The connection, or why there is none.
    pub host: Result<Arc<SshHost>, Arc<PveError>>,
}

/// Connects to every node, at the same time. `only` leaves out nodes that are known to have another name; without names
/// none is left out.
pub fn connect_all(
    common: &Common,
    environments: &[Environment],
    only: &[NodeName],
) -> anyhow::Result<Vec<Contact>> {
    let nodes = distinct(environments, only)?;
    let hosts = at_once(&nodes, |node| common.connect(node))?;
    let contact = |(node, host): (NodeRef, Result<SshHost, HostError>)| Contact {
        node,
        host: host.map(Arc::new).map_err(|error| Arc::new(error.into())),
    };
    Ok(nodes.into_iter().zip(hosts).map(contact).collect())
}

/// Does the same with each of some things at the same time.
pub fn at_once<T: Sync, R: Send>(things: &[T], act: impl Fn(&T) -> R + Sync) -> anyhow::Result<Vec<R>> {
    thread::scope(|scope| {
        let act = &act;
        let started: Vec<_> = things.iter().map(|thing| scope.spawn(move || act(thing))).collect();
        started
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("the look at a node ended unexpectedly")))
            .collect()
    })
}

/// The nodes to ask, each once: environments may share one.
fn distinct(environments: &[Environment], only: &[NodeName]) -> anyhow::Result<Vec<NodeRef>> {
    let mut nodes: Vec<NodeRef> = Vec::new();
    for environment in environments {
        let node = environment.node()?;
        let other_name = !only.is_empty() && node.node.as_ref().is_some_and(|known| !only.contains(known));
        let seen = nodes.iter().any(|n| n.address == node.address && n.ssh_port == node.ssh_port);
        if !other_name && !seen {
            nodes.push(node.clone());
        }
    }
    Ok(nodes)
}
