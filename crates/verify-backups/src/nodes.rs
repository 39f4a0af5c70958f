//! Every node at the same time: one connection each, looked at, and put into the report.

use std::collections::BTreeSet;

use restore_common::{
    contact::{Contact, at_once},
    homelab::NodeRef,
    pve::{GuestKind, NodeName, PveError, StorageId, Vmid},
    remote::ReadOnly,
};

use crate::{
    codes::{drill::LEFT, node::COULD_NOT_CHECK},
    coverage::{self, Wish},
    drill::mark::Mark,
    finding::Finding,
    quick::{GuestNow, Look, archives, backup_storages},
    report::{ArchivePart, GuestPart, NodePart},
};

/// Which part of the homelab a run is about.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// These nodes; all without a name.
    pub nodes: Vec<NodeName>,
    /// This storage; all without one.
    pub storage: Option<StorageId>,
    /// These guests; all without a number.
    pub vmids: Vec<Vmid>,
    /// A newest backup may be this old.
    pub max_age: Option<std::time::Duration>,
}

/// A node with what it told.
pub struct Looked {
    /// The connection.
    pub contact: Contact,
    /// What it told; nothing when it could not be asked.
    pub look: Option<Look>,
    /// What is to be reported of it.
    pub part: NodePart,
}

/// Looks at every node. One that cannot be asked is part of the result. Nothing on any node is changed.
pub fn look(contacts: Vec<Contact>, scope: &Scope) -> anyhow::Result<Vec<Looked>> {
    let looks = at_once(&contacts, |contact| match &contact.host {
        Ok(host) => Look::read(&ReadOnly(host.as_ref()), scope.storage.as_ref()).map_err(|e| said(&e)),
        Err(error) => Err(said(error)),
    })?;
    let wanted = |look: &Look| scope.nodes.is_empty() || scope.nodes.contains(&look.facts.name);
    let looked = contacts.into_iter().zip(looks).filter_map(|(contact, look)| match look {
        Ok(look) => wanted(&look).then(|| {
            let part = part_of(&contact.node, &look, scope);
            Looked { contact, look: Some(look), part }
        }),
        Err(words) => Some(Looked { part: silent(&contact, words), contact, look: None }),
    });
    Ok(looked.collect())
}

/// That no node has one of these names.
pub fn unknown(names: &[NodeName]) -> anyhow::Error {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("no node of the project is named {}", names.join(" or "))
}

/// Refuses numbers and storages that nobody knows: a slip of the finger must not look like good news. While a node is silent,
/// which is an error of its own, it may be the one that knows them.
pub fn all_known(looked: &[Looked], scope: &Scope) -> anyhow::Result<()> {
    let looks: Vec<&Look> = looked.iter().filter_map(|looked| looked.look.as_ref()).collect();
    if looks.len() < looked.len() {
        return Ok(());
    }
    let knows = |part: &NodePart, vmid: Vmid| {
        let left = |other: &ArchivePart| other.name.as_ref().is_some_and(|name| name.vmid == vmid);
        part.guests.iter().any(|guest| guest.vmid == vmid) || part.others.iter().any(left)
    };
    if let Some(vmid) = scope.vmids.iter().find(|vmid| !looked.iter().any(|l| knows(&l.part, **vmid))) {
        let labels: Vec<_> = looked.iter().map(|looked| looked.part.label.as_str()).collect();
        anyhow::bail!("no node has a guest {vmid} or a backup of it (asked: {})", labels.join(", "));
    }
    let storages = || looks.iter().flat_map(|look| backup_storages(&look.facts, None)).map(|s| &s.id);
    if let Some(storage) = &scope.storage
        && !storages().any(|id| id == storage)
    {
        let known: BTreeSet<_> = storages().map(StorageId::as_str).collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        anyhow::bail!("no node keeps backups on a storage `{storage}`; there are: {known}");
    }
    Ok(())
}

fn said(error: &PveError) -> String {
    match error {
        PveError::Host(host) => match host.hint() {
            Some(hint) => format!("{error} ({hint})"),
            None => error.to_string(),
        },
        PveError::Failed(_) | PveError::Unreadable { .. } => error.to_string(),
    }
}

fn silent(contact: &Contact, words: String) -> NodePart {
    NodePart {
        label: contact.node.label(),
        environment: contact.node.environment.clone(),
        reached: false,
        findings: vec![Finding::new(&COULD_NOT_CHECK, words)],
        ..NodePart::default()
    }
}

/// What is to be reported of a node that answered.
pub fn part_of(node: &NodeRef, look: &Look, scope: &Scope) -> NodePart {
    let is_wanted = |vmid: Vmid| scope.vmids.is_empty() || scope.vmids.contains(&vmid);
    let (mut archives, mut others) = archives::judge(look);
    others.retain(|other| other.name.as_ref().map_or(scope.vmids.is_empty(), |name| is_wanted(name.vmid)));
    let (sees_all, one_storage) = (look.reads_everything(), scope.storage.is_some());
    let wish = Wish { max_age: scope.max_age, sees_all, one_storage };
    let mut guests: Vec<GuestPart> = Vec::new();
    let (left, own): (Vec<_>, Vec<_>) =
        look.guests.iter().partition(|g| Mark::of(&g.config, g.vmid).is_some());
    for guest in own.into_iter().filter(|guest| is_wanted(guest.vmid)) {
        guests.push(present(
            look,
            guest,
            archives.remove(&(guest.vmid, guest.kind)).unwrap_or_default(),
            wish,
        ));
    }
    guests.extend(archives.into_iter().filter(|((vmid, _), _)| is_wanted(*vmid)).map(gone));
    guests.sort_by_key(|guest| (guest.vmid, !guest.present));
    NodePart {
        label: node.label(),
        environment: node.environment.clone(),
        reached: true,
        findings: coverage::of_node(look, scope.storage.as_ref())
            .into_iter()
            .chain(left.into_iter().map(throw_away))
            .collect(),
        guests,
        others,
    }
}

fn present(look: &Look, guest: &GuestNow, archives: Vec<ArchivePart>, wish: Wish) -> GuestPart {
    GuestPart {
        vmid: guest.vmid,
        name: guest.config.name().map(str::to_owned),
        kind: guest.kind,
        present: true,
        findings: coverage::of_guest(look, guest, &archives, wish),
        archives,
        drill: None,
    }
}

/// A guest that a drill made is nobody's: no backup covers it.
fn throw_away(guest: &GuestNow) -> Finding {
    Finding::new(&LEFT, format!("{} {}", guest.kind, guest.vmid))
}

/// A guest of which only backups are left.
fn gone(((vmid, kind), archives): ((Vmid, GuestKind), Vec<ArchivePart>)) -> GuestPart {
    GuestPart { vmid, name: None, kind, present: false, findings: Vec::new(), archives, drill: None }
}
