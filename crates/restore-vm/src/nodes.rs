//! Which node: every node of the project is asked at the same time, and the one that has to do with the guest is chosen.

use std::sync::Arc;

use restore_common::{
    contact::{Contact, at_once},
    homelab::NodeRef,
    procedure::Problem,
    pve::{PveError, Vmid},
    remote::{HostError, ReadOnly, SshHost},
};

use crate::{
    args::{Args, Options},
    look::{Holder, NodeLook, look_at},
};

/// A node that answered, and what it knows about one guest.
pub struct Reached {
    /// What the project says about it.
    pub node: NodeRef,
    /// The connection.
    pub host: Arc<SshHost>,
    /// What it knows about the guest.
    pub look: NodeLook,
}

/// All nodes that were asked about one guest.
pub struct Survey {
    /// Those that answered.
    pub reached: Vec<Reached>,
    /// Those that could not be asked. Their silence is not a "no".
    pub silent: Vec<(NodeRef, Arc<PveError>)>,
}

/// Looks at every node for some guests, at the same time: a survey for each guest. Two remote executions a node.
pub fn survey(options: &Options, contacts: &[Contact], vmids: &[Vmid]) -> anyhow::Result<Vec<Survey>> {
    let looks = at_once(contacts, |contact| {
        let host = contact.host.as_ref().map_err(Arc::clone)?;
        look_at(&ReadOnly(host.as_ref()), vmids, options.storage.as_ref()).map_err(Arc::new)
    })?;
    let mut surveys: Vec<Survey> =
        vmids.iter().map(|_| Survey { reached: Vec::new(), silent: Vec::new() }).collect();
    for (contact, result) in contacts.iter().zip(looks) {
        let node = &contact.node;
        match (result, &contact.host) {
            (Ok(looks), Ok(host)) => {
                let wanted =
                    |look: &NodeLook| options.node.as_ref().is_none_or(|name| look.facts.name == *name);
                for (survey, look) in surveys.iter_mut().zip(looks).filter(|(_, look)| wanted(look)) {
                    survey.reached.push(Reached { node: node.clone(), host: Arc::clone(host), look });
                }
            }
            (Err(error), _) => surveys.iter_mut().for_each(|survey| {
                survey.silent.push((node.clone(), Arc::clone(&error)));
            }),
            (Ok(_), Err(_)) => {}
        }
    }
    Ok(surveys)
}

/// The node that holds the guest; else the one that holds its backups. Anything but exactly one is a problem.
pub fn pick(args: &Args, survey: Survey) -> Result<Reached, Vec<Problem>> {
    let Survey { reached, silent } = survey;
    let holders: Vec<_> = reached.iter().filter(|r| r.look.holder.here().is_some()).map(name_of).collect();
    if holders.len() > 1 {
        return Err(vec![several(args, "a guest", &holders)]);
    }
    let with_backups: Vec<_> = reached.iter().filter(|r| !r.look.archives.is_empty()).map(name_of).collect();
    let chosen = match (holders.first(), with_backups.as_slice()) {
        (Some(holder), []) => holder.clone(),
        (Some(holder), backups) if backups.contains(holder) => holder.clone(),
        (Some(holder), backups) => {
            let both: Vec<_> = std::iter::once(holder).chain(backups).cloned().collect();
            return Err(vec![several(args, "a guest or backups", &both)]);
        }
        (None, [one]) => one.clone(),
        (None, []) => return nobody(args, reached, silent),
        (None, many) => return Err(vec![several(args, "backups of a guest", many)]),
    };
    for (_, error) in &silent {
        log::warn!("not asked, so this rests on the other nodes: {error}");
    }
    let mut candidates = reached.into_iter().filter(|r| name_of(r) == chosen);
    candidates.next().ok_or_else(Vec::new)
}

fn name_of(reached: &Reached) -> String {
    format!("{} ({})", reached.look.facts.name, reached.node.environment)
}

fn several(args: &Args, what: &str, nodes: &[String]) -> Problem {
    Problem::new(format!("{} nodes have {what} {}: {}", nodes.len(), args.vmid, nodes.join(", ")))
        .hint("choose one with `--node NAME` or `--env NAME`")
}

fn nobody(
    args: &Args,
    mut reached: Vec<Reached>,
    silent: Vec<(NodeRef, Arc<PveError>)>,
) -> Result<Reached, Vec<Problem>> {
    if !silent.is_empty() {
        return Err(silent.into_iter().map(|(_, error)| could_not_ask(&error)).collect());
    }
    match reached.len() {
        0 => Err(vec![match &args.node {
            Some(name) => Problem::new(format!("no node of the project is named `{name}`"))
                .hint("`default_node` in the tfvars names an environment's node"),
            None => Problem::new("the project names no node".to_owned()),
        }]),
        // With one node, what is missing there is told in full by the choice of the backup.
        1 => Ok(reached.remove(0)),
        _ => Err(vec![nowhere(args, &reached)]),
    }
}

fn could_not_ask(error: &PveError) -> Problem {
    let hint = match error {
        PveError::Host(error) => HostError::hint(error),
        PveError::Failed(_) | PveError::Unreadable { .. } => None,
    };
    let problem = Problem::new(error.to_string());
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn nowhere(args: &Args, reached: &[Reached]) -> Problem {
    let elsewhere = reached.iter().find_map(|r| match &r.look.holder {
        Holder::Elsewhere { node, kind } => {
            Some(format!("; {} is a {kind} on the cluster's node {node}", args.vmid))
        }
        Holder::Nobody | Holder::Here(_) => None,
    });
    let searched: Vec<_> = reached.iter().map(name_of).collect();
    Problem::new(format!(
        "no node has a guest {} or a backup of it (asked: {}){}",
        args.vmid,
        searched.join(", "),
        elsewhere.unwrap_or_default()
    ))
}
