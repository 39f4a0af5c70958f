//! What the nodes of a cluster know together: backups on a storage that they share, which each of them lists and which are
//! told, and read, once; and backups that a guest left behind when it moved.

use std::{collections::HashMap, time::Duration};

use restore_common::pve::{GuestKind, Storage, Vmid};

use crate::{
    codes::guest as codes,
    coverage,
    deep::archives,
    finding::Finding,
    nodes::Looked,
    quick::Look,
    report::{ArchivePart, NodePart},
};

/// What makes the entries of two nodes one backup. Nothing keeps two clusters from having the same names; the same backup of
/// the same second and with the same number of bytes they do not have.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// Where the first node of the cluster is among all nodes.
    cluster: usize,
    id: String,
    ctime: i64,
    size: u64,
}

/// Which node keeps a backup, and what it has found about it.
struct Home {
    node: usize,
    codes: Vec<&'static str>,
    also_on: Vec<String>,
}

/// Takes what several nodes of a cluster list out of all of them but one: the one that has the guest, or else the first.
/// Where another node has found more about it, it stays there as well.
pub fn once(looked: &mut [Looked]) {
    let clusters: Vec<Option<usize>> = (0..looked.len()).map(|node| cluster_of(looked, node)).collect();
    let mut homes: HashMap<Key, Home> = HashMap::new();
    for (node, Looked { look, part, .. }) in looked.iter_mut().enumerate() {
        let present: Vec<_> = part.guests.iter().filter(|g| g.present).map(|g| g.vmid).collect();
        for archive in archives(part) {
            let Some(key) = key(clusters[node], look.as_ref(), archive) else { continue };
            let is_here = archive.name.as_ref().is_some_and(|name| present.contains(&name.vmid));
            if is_here || !homes.contains_key(&key) {
                homes.insert(key, Home { node, codes: names(archive).collect(), also_on: Vec::new() });
            }
        }
    }
    for (node, Looked { look, part, .. }) in looked.iter_mut().enumerate() {
        let label = part.label.clone();
        retain(part, |archive| {
            let key = key(clusters[node], look.as_ref(), archive);
            let Some(home) = key.and_then(|key| homes.get_mut(&key)) else { return true };
            if home.node == node || names(archive).any(|code| !home.codes.contains(&code)) {
                return true;
            }
            home.also_on.push(label.clone());
            false
        });
    }
    for (node, Looked { look, part, .. }) in looked.iter_mut().enumerate() {
        for archive in archives(part) {
            let home = key(clusters[node], look.as_ref(), archive).and_then(|key| homes.get(&key));
            if let Some(home) = home.filter(|home| home.node == node) {
                archive.also_on.clone_from(&home.also_on);
            }
        }
    }
}

/// A guest that has moved to another node of its cluster leaves its backups behind. It is not without any, nor are they older
/// than its newest one.
pub fn moved(looked: &mut [Looked], max_age: Option<Duration>) {
    let clusters: Vec<Option<usize>> = (0..looked.len()).map(|node| cluster_of(looked, node)).collect();
    let mut newest: HashMap<(usize, Vmid, GuestKind), (String, ArchivePart)> = HashMap::new();
    for (Looked { part, .. }, cluster) in looked.iter().zip(&clusters) {
        for guest in &part.guests {
            let (Some(cluster), Some(archive)) = (cluster, guest.archives.first()) else { continue };
            let key = (*cluster, guest.vmid, guest.kind);
            if newest.get(&key).is_none_or(|(_, known)| known.ctime < archive.ctime) {
                newest.insert(key, (part.label.clone(), archive.clone()));
            }
        }
    }
    for (Looked { look, part, .. }, cluster) in looked.iter_mut().zip(&clusters) {
        let (Some(look), Some(cluster)) = (look.as_ref(), cluster) else { continue };
        for guest in part.guests.iter_mut().filter(|guest| guest.findings.iter().any(is_about_age)) {
            let Some((on, archive)) = newest.get(&(*cluster, guest.vmid, guest.kind)) else { continue };
            let own = guest.archives.first().map_or(i64::MIN, |own| own.ctime);
            let Some(now) = look.guest(guest.vmid).filter(|_| archive.ctime > own) else { continue };
            guest.findings.retain(|finding| !is_about_age(finding));
            guest.findings.extend(coverage::of_moved(look, now, (archive, on), max_age));
        }
    }
}

fn is_about_age(finding: &Finding) -> bool {
    [&codes::NO_BACKUP, &codes::STALE].contains(&finding.code)
}

/// Where the first node of this node's cluster is; nothing for one that stands alone or is silent.
fn cluster_of(looked: &[Looked], node: usize) -> Option<usize> {
    let cluster = |looked: &Looked| looked.look.as_ref().and_then(|look| look.facts.cluster.clone());
    let own = cluster(looked.get(node)?)?;
    looked.iter().position(|other| cluster(other).as_ref() == Some(&own))
}

/// Nothing for what is this node's alone.
fn key(cluster: Option<usize>, look: Option<&Look>, archive: &ArchivePart) -> Option<Key> {
    let (cluster, storage) = (cluster?, storage_of(look?, archive)?);
    let ArchivePart { id, ctime, size, .. } = archive;
    storage.shared.then(|| Key { cluster, id: id.clone(), ctime: *ctime, size: *size })
}

/// The storage of a volume id, or that of the folder in which a file is.
fn storage_of<'a>(look: &'a Look, archive: &ArchivePart) -> Option<&'a Storage> {
    let facts = &look.facts;
    if !archive.id.starts_with('/') {
        return facts.storage(archive.id.split_once(':')?.0);
    }
    let folder = archive.id.rsplit_once('/')?.0;
    let (id, _) = facts.backup_folders.iter().find(|(_, path)| path == folder)?;
    facts.storage(id.as_str())
}

fn names(archive: &ArchivePart) -> impl Iterator<Item = &'static str> {
    archive.findings.iter().map(|finding| finding.code.name)
}

/// A guest that is on another node goes with the last of its backups.
fn retain(part: &mut NodePart, mut stays: impl FnMut(&ArchivePart) -> bool) {
    for guest in &mut part.guests {
        guest.archives.retain(&mut stays);
    }
    part.guests.retain(|guest| guest.present || !guest.archives.is_empty());
    part.others.retain(stays);
}
