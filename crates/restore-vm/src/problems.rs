//! Everything that speaks against a restore, found before anything is touched. All of it is listed, not just the first.

use std::collections::BTreeMap;

use restore_common::{
    procedure::Problem,
    pve::{Archive, GuestConfig, GuestKind, NodeFacts, Storage, StorageId, Task, Vmid},
    ui,
};

use crate::{
    disks,
    look::{ArchiveLook, Guest, Holder},
    place::{Wish, destinations},
    steps::safety::clock_behind,
};

/// What a restore would be made of, before it is decided.
pub struct Prospect<'a> {
    /// The node.
    pub facts: &'a NodeFacts,
    /// The guest that is made or overwritten.
    pub target: Vmid,
    /// The guest that the backup was made of.
    pub source: Vmid,
    /// Who holds the target's number.
    pub holder: &'a Holder,
    /// The backup.
    pub archive: &'a Archive,
    /// What is in it.
    pub inside: &'a ArchiveLook,
    /// Where the disks were asked to go.
    pub wish: Wish<'a>,
    /// Where the safety backup goes.
    pub safety: Option<&'a StorageId>,
}

/// Looks for everything that speaks against it.
pub fn find(prospect: &Prospect<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    about_node(prospect, &mut problems);
    about_target(prospect, &mut problems);
    about_archive(prospect, &mut problems);
    about_storages(prospect, &mut problems);
    about_bridges(prospect, &mut problems);
    problems
}

fn about_node(prospect: &Prospect<'_>, problems: &mut Vec<Problem>) {
    let facts = prospect.facts;
    if !facts.quorate {
        problems.push(
            Problem::new(format!(
                "the cluster of {} has no quorum, so nothing can be changed there",
                facts.name
            ))
            .hint("bring the other nodes back first"),
        );
    }
    if prospect.safety.is_some() {
        problems.extend(clock_behind(prospect.archive, facts));
    }
}

fn about_target(prospect: &Prospect<'_>, problems: &mut Vec<Problem>) {
    let (target, source) = (prospect.target, prospect.source);
    match prospect.holder {
        Holder::Nobody => {}
        Holder::Elsewhere { node, kind } => problems.push(
            Problem::new(format!("{target} is a {kind} on node {node}"))
                .hint(format!("`--node {node}` restores there, `--target-id` restores beside it")),
        ),
        Holder::Here(guest) if target != source => {
            let name = guest.config.name().unwrap_or("without a name");
            problems.push(
                Problem::new(format!("{target} is in use: {} `{name}`", guest.kind))
                    .hint("choose a free number with `--target-id`"),
            );
        }
        Holder::Here(guest) => about_present(prospect, guest, problems),
    }
}

fn about_present(prospect: &Prospect<'_>, guest: &Guest, problems: &mut Vec<Problem>) {
    let (target, kind) = (prospect.target, guest.kind);
    let beside = "`--target-id` restores beside it";
    if kind != prospect.archive.name.kind {
        let archive = prospect.archive.name.kind;
        problems.push(
            Problem::new(format!("{target} is a {kind} and the backup is of a {archive}")).hint(beside),
        );
        return;
    }
    if let Some(word) = guest.config.lock() {
        problems.push(locked(prospect, guest, word));
    }
    if guest.config.flag("protection") {
        let unprotect = format!("`{} set {target} --protection 0` on the node", kind.tool());
        problems.push(
            Problem::new(format!("{kind} {target} is protected against removal"))
                .hint(format!("take the protection away with {unprotect}, or restore with `--target-id`")),
        );
    }
    if !guest.clones.is_empty() {
        let clones: Vec<_> = guest.clones.iter().map(ToString::to_string).collect();
        let problem = Problem::new(format!(
            "{kind} {target} is a template with linked clones ({}), whose disks stand on its disks",
            clones.join(", ")
        ));
        problems.push(problem.hint(beside));
    }
    about_old_volumes(prospect, guest, problems);
}

fn locked(prospect: &Prospect<'_>, guest: &Guest, word: &str) -> Problem {
    let (target, kind) = (prospect.target, guest.kind);
    let offset = prospect.facts.utc_offset;
    let is_likely = |task: &&Task| (task.kind == "vzdump") == (word == "backup");
    let task = guest.tasks.iter().find(is_likely).or(guest.tasks.first());
    let holder = task.map(|Task { kind, user, starttime, upid, .. }| {
        let since = starttime.map(|t| format!(" since {}", ui::format::node_time(t, offset)));
        format!("by the task `{kind}` of {user}{} ({upid})", since.unwrap_or_default())
    });
    let problem = Problem::new(format!(
        "{kind} {target} is locked ({word}) {}",
        holder.as_deref().unwrap_or("and no task of it is running: the lock may be left from a crash")
    ));
    if holder.is_some() {
        return problem.hint("wait for that task to end");
    }
    problem.hint(format!(
        "if you are sure that nothing works on it: `{} unlock {target}` on the node",
        kind.tool()
    ))
}

/// An old volume on a storage that is not there ends a restore in its worst place: the old guest is gone by then.
fn about_old_volumes(prospect: &Prospect<'_>, guest: &Guest, problems: &mut Vec<Problem>) {
    for disk in guest.config.disks(guest.kind) {
        let Some(id) = disk.storage() else { continue };
        let storage = prospect.facts.storage(id.as_str());
        let state = match storage {
            None => "does not exist any more",
            Some(s) if guest.kind == GuestKind::Lxc && !(s.enabled && s.active) => "is not available",
            Some(_) => continue,
        };
        let key = &disk.key;
        problems.push(
            Problem::new(format!(
                "the present {key} (`{}`) is on storage `{id}`, which {state}",
                disk.source
            ))
            .hint(format!("the node would stop in the middle: take {key} out of the configuration first")),
        );
    }
}

fn about_archive(prospect: &Prospect<'_>, problems: &mut Vec<Problem>) {
    let archive = prospect.archive;
    if archive.is_refused_by_pct() {
        problems.push(Problem::new(format!(
            "`{}` ends in .tgz, which `pct restore` refuses after it destroyed the container",
            archive.volid
        )));
    }
    if disks::keys_in_archive(archive.name.kind, &prospect.inside.config).is_empty()
        && archive.name.kind == GuestKind::Lxc
    {
        problems.push(Problem::new(format!(
            "the configuration inside `{}` has no root file system",
            archive.volid
        )));
    }
}

/// Storages that the disks go to, with the bytes that they need there as the configuration says.
fn targets(prospect: &Prospect<'_>) -> BTreeMap<StorageId, u64> {
    let mut needs = BTreeMap::new();
    let kind = prospect.archive.name.kind;
    for (disk, storage) in destinations(kind, &prospect.inside.config, prospect.wish) {
        *needs.entry(storage).or_default() += disk.size.unwrap_or(0);
    }
    needs
}

fn about_storages(prospect: &Prospect<'_>, problems: &mut Vec<Problem>) {
    let kind = prospect.archive.name.kind;
    let elsewhere =
        "`--target-storage` puts the disks on another storage, `--storage-map OLD=NEW` those of one";
    for id in targets(prospect).keys() {
        let Some(storage) = usable(prospect.facts, id, kind.content(), elsewhere, problems) else { continue };
        about_metadata(prospect.facts, id, problems);
        let Some(free) = storage.available() else { continue };
        let freed = freed_on(prospect, id);
        // A thin or sparse volume may be larger than its storage, so only what cannot fit at all is refused here: the
        // compressed archive is smaller than its data. The full check knows the exact amount.
        let least = prospect.archive.least_data();
        if least > free.saturating_add(freed) {
            let (need, free) = (ui::format::bytes(least), ui::format::bytes(free));
            problems.push(
                Problem::new(format!(
                    "storage `{id}` is full: {free} are free and the backup has more than {need}"
                ))
                .hint(elsewhere),
            );
        }
    }
    if let Some(safety) = prospect.safety {
        usable(prospect.facts, safety, "backup", "`--safety none` does without a safety backup", problems);
    }
}

/// Above this a restore could fill a pool's metadata, and then every guest on it stops.
const METADATA_LIMIT: u64 = 90;

fn about_metadata(facts: &NodeFacts, id: &StorageId, problems: &mut Vec<Problem>) {
    let Some((_, pool)) = facts.thin_pools.iter().find(|(storage, _)| storage == id) else { return };
    let Some(used) = pool.metadata_percent().filter(|used| *used >= METADATA_LIMIT) else { return };
    let name = format!("{}/{}", pool.vg, pool.lv);
    problems.push(
        Problem::new(format!(
            "the metadata of the thin pool `{name}` behind storage `{id}` is {used} % full"
        ))
        .hint(format!("enlarge it on the node: `lvextend --poolmetadatasize +256M {name}`")),
    );
}

/// Bytes of the old disks on a storage. A VM's are freed before the new ones are made, a container's after.
fn freed_on(prospect: &Prospect<'_>, id: &StorageId) -> u64 {
    let Some(guest) = prospect.holder.here().filter(|g| g.kind == GuestKind::Qemu) else { return 0 };
    let restored = disks::keys_in_archive(GuestKind::Qemu, &prospect.inside.config);
    let old = guest.config.disks(GuestKind::Qemu).into_iter().filter(|d| restored.contains(&d.key));
    old.filter(|d| d.storage().as_ref() == Some(id)).filter_map(|d| d.size).sum()
}

fn usable<'a>(
    facts: &'a NodeFacts,
    id: &StorageId,
    content: &str,
    hint: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'a Storage> {
    let node = &facts.name;
    let wrong = match facts.storage(id.as_str()) {
        None => format!("storage `{id}` does not exist on {node}"),
        Some(s) if !s.enabled => format!("storage `{id}` is disabled on {node}"),
        Some(s) if !s.active => format!("storage `{id}` is not active on {node}"),
        Some(s) if !s.allows(content) => format!("storage `{id}` does not take `{content}`"),
        Some(storage) => return Some(storage),
    };
    let fitting = facts.storages.iter().filter(|s| s.enabled && s.active && s.allows(content));
    let fitting: Vec<_> = fitting.map(|s| s.id.as_str()).collect();
    let candidates =
        if fitting.is_empty() { String::new() } else { format!(" (fitting: {})", fitting.join(", ")) };
    problems.push(Problem::new(wrong).hint(format!("{hint}{candidates}")));
    None
}

fn about_bridges(prospect: &Prospect<'_>, problems: &mut Vec<Problem>) {
    let config: &GuestConfig = &prospect.inside.config;
    let known = |name: &str| prospect.facts.bridges.iter().any(|b| b.iface == name);
    for (key, bridge) in config.bridges().into_iter().filter(|(_, bridge)| !known(bridge)) {
        problems.push(
            Problem::new(format!(
                "{key} of the backup uses the bridge `{bridge}`, which {} has not",
                prospect.facts.name
            ))
            .hint("create that bridge on the node first; the guest could not start without it"),
        );
    }
}
