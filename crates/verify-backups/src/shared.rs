//! Backups on a storage that the nodes of a cluster share. Each of these nodes lists all of them; they are told, and read,
//! once.

use std::collections::HashMap;

use restore_common::pve::Storage;

use crate::{
    deep::archives,
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
                homes.insert(key, Home { node, codes: codes(archive).collect(), also_on: Vec::new() });
            }
        }
    }
    for (node, Looked { look, part, .. }) in looked.iter_mut().enumerate() {
        let label = part.label.clone();
        retain(part, |archive| {
            let key = key(clusters[node], look.as_ref(), archive);
            let Some(home) = key.and_then(|key| homes.get_mut(&key)) else { return true };
            if home.node == node || codes(archive).any(|code| !home.codes.contains(&code)) {
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

fn codes(archive: &ArchivePart) -> impl Iterator<Item = &'static str> {
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
