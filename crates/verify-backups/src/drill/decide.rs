//! Which guests are drilled, from which backup, into which number; or why one is not.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use restore_common::{
    procedure::Problem,
    pve::{Compression, GuestKind, NodeFacts, StorageId, Vmid},
    remote::ReadOnly,
    ui::format,
};
use restore_vm::{
    app::Homelab,
    args::{Args, CheckLevel, Options, Safety},
    assignment::{Assignment, Start},
    look::look_at,
    nodes::Reached,
    place::{Wish, destinations},
};

use super::ground::Ground;
use crate::{
    app::Frame,
    args::Cli,
    codes::drill::{NOT_DONE, SKIPPED},
    finding::Finding,
    nodes::Looked,
    report::GuestPart,
};

/// A guest whose drill can begin.
pub(super) struct Ready {
    /// The node, among those that were looked at.
    pub node: usize,
    /// What is to be done.
    pub what: Assignment,
}

/// What was decided for a guest.
#[allow(clippy::large_enum_variant, reason = "there is one of them a guest")]
pub(super) enum Decided {
    /// Its drill can begin.
    Ready(Ready),
    /// It cannot, or need not.
    Not {
        /// The node, among those that were looked at.
        node: usize,
        /// The guest.
        vmid: Vmid,
        /// Why.
        why: Finding,
    },
}

/// The guests that are to be drilled on each node. Those that are named have to be somewhere; without a name it is every
/// guest that is there and has a backup.
pub(super) fn choose(named: &[Vmid], looked: &[Looked]) -> anyhow::Result<Vec<Vec<Vmid>>> {
    if named.is_empty() {
        let is_wanted = |guest: &&GuestPart| guest.present && !guest.archives.is_empty();
        let of_node =
            |node: &Looked| node.part.guests.iter().filter(is_wanted).map(|guest| guest.vmid).collect();
        return Ok(looked.iter().map(of_node).collect());
    }
    let mut chosen: Vec<Vec<Vmid>> = vec![Vec::new(); looked.len()];
    for vmid in named {
        for node in holders(*vmid, looked)? {
            if !chosen[node].contains(vmid) {
                chosen[node].push(*vmid);
            }
        }
    }
    Ok(chosen)
}

/// The nodes that have a guest; else the first that lists a backup of it, as several may list those of one storage.
fn holders(vmid: Vmid, looked: &[Looked]) -> anyhow::Result<Vec<usize>> {
    let having = |is_wanted: fn(&GuestPart) -> bool| -> Vec<usize> {
        let is_it = |guest: &GuestPart| guest.vmid == vmid && is_wanted(guest);
        (0..looked.len()).filter(|&node| looked[node].part.guests.iter().any(is_it)).collect()
    };
    let present = having(|guest| guest.present);
    if !present.is_empty() {
        return Ok(present);
    }
    let mut listing = having(|_| true);
    listing.truncate(1);
    if listing.is_empty() {
        anyhow::bail!("no node has a guest {vmid} or a backup of it ({})", asked(looked));
    }
    Ok(listing)
}

fn asked(looked: &[Looked]) -> String {
    let word = |node: &Looked| if node.part.reached { "asked" } else { "could not be asked" };
    let all: Vec<_> = looked.iter().map(|node| format!("{}: {}", node.part.label, word(node))).collect();
    all.join(", ")
}

/// What deciding needs to know besides the node.
pub(super) struct Terms<'a> {
    /// Ctrl-C and the options.
    pub frame: &'a Frame<'a>,
    homelab: Homelab,
    /// The numbers that throw-away guests get.
    pub numbers: RangeInclusive<u32>,
    /// Where their disks go.
    pub storage: Option<StorageId>,
}

impl<'a> Terms<'a> {
    /// The terms of a run.
    pub(super) fn new(frame: &'a Frame<'a>, place: &restore_common::homelab::Drill) -> anyhow::Result<Self> {
        let storage = place.storage.clone();
        let homelab = Homelab::find(&copy_to(frame.cli, Vmid::LOWEST, storage.as_ref()))?;
        Ok(Self { frame, homelab, numbers: place.numbers.clone(), storage })
    }

    /// Decides for the guests of one node. Only reads.
    pub(super) fn decide(
        &self,
        node: usize,
        looked: &Looked,
        ground: &Ground,
        vmids: &[Vmid],
    ) -> Vec<Decided> {
        let (Ok(host), Some(look)) = (&looked.contact.host, &looked.look) else { return Vec::new() };
        let free = ground.free(&self.numbers);
        let looks = look_at(&ReadOnly(host.as_ref()), vmids, self.frame.cli.storage.as_ref());
        let not = |vmid: Vmid, why: Finding| Decided::Not { node, vmid, why };
        let looks = match looks {
            Ok(looks) => looks,
            Err(error) => {
                let why = || Finding::new(&NOT_DONE, error.to_string());
                return vmids.iter().map(|vmid| not(*vmid, why())).collect();
            }
        };
        let mut decided = Vec::new();
        for (index, (vmid, node_look)) in vmids.iter().zip(looks).enumerate() {
            // Each is gone before the next one comes, so a number can be used again where there are few.
            let Some(target) = free.get(index % free.len().max(1)) else {
                decided.push(not(*vmid, self.no_number(ground, look.facts.name.as_str())));
                continue;
            };
            let reached =
                Reached { node: looked.contact.node.clone(), host: Arc::clone(host), look: node_look };
            let options = copy_to(self.frame.cli, *target, self.storage.as_ref());
            let args = Args { vmid: *vmid, options };
            decided.push(match self.homelab.decide(&args, &reached) {
                Err(error) => not(*vmid, Finding::new(&NOT_DONE, format!("{error:#}"))),
                Ok(Err(problems)) => not(*vmid, Finding::new(&NOT_DONE, told(&problems))),
                Ok(Ok(what)) => match against(&what, &look.facts, ground, self.wish()) {
                    None => Decided::Ready(Ready { node, what: read_first(what) }),
                    Some(why) => not(*vmid, why),
                },
            });
        }
        decided
    }

    fn wish(&self) -> Wish<'_> {
        Wish { target: self.storage.as_ref(), map: &[] }
    }

    fn no_number(&self, ground: &Ground, node: &str) -> Finding {
        let (first, last) = (self.numbers.start(), self.numbers.end());
        let taken = ground.passed_over(&self.numbers).join(", ");
        let words = format!(
            "no number from {first} to {last} is free on {node}: {taken} (`[drill]` in restore.toml)"
        );
        Finding::new(&NOT_DONE, words)
    }
}

/// A copy with links down, and nothing else asked for.
fn copy_to(cli: &Cli, target: Vmid, storage: Option<&StorageId>) -> Options {
    Options {
        list: false,
        date: None,
        archive: None,
        storage: cli.storage.clone(),
        node: None,
        target_id: Some(target),
        target_storage: storage.cloned(),
        storage_map: Vec::new(),
        check: Some(CheckLevel::Quick),
        safety: Safety::None,
        unique: true,
        start: false,
        link_down: true,
        live_restore: false,
        no_start: false,
        discard_excluded: false,
        bwlimit: cli.bwlimit,
        wait: None,
        resume: false,
        rollback: false,
        common: cli.common.clone(),
    }
}

/// The restore is the proof of an archive, but for a plain tar: the node takes one that was cut off for a whole one.
fn read_first(mut what: Assignment) -> Assignment {
    if what.kind == GuestKind::Lxc
        && what.archive.server.is_none()
        && what.archive.name.compression == Compression::None
    {
        what.check = CheckLevel::Full;
    }
    what
}

/// What speaks against a throw-away guest and not against a restore: the operator did not ask for it just now, so there has
/// to be room for all that it may take, and nobody else may lack it.
fn against(what: &Assignment, facts: &NodeFacts, ground: &Ground, wish: Wish<'_>) -> Option<Finding> {
    if let Start::No(reason) = &what.start {
        return Some(Finding::new(&SKIPPED, reason.clone()));
    }
    let mut needs: BTreeMap<StorageId, u64> = BTreeMap::new();
    for (disk, storage) in destinations(what.kind, &what.inside.config, wish) {
        let need = needs.entry(storage).or_default();
        *need = need.saturating_add(disk.size.unwrap_or(0));
    }
    let short = needs.into_iter().find_map(|(storage, size)| {
        let need = size.max(what.archive.least_data());
        let free = facts.storage(storage.as_str())?.available().filter(|free| need > *free)?;
        Some(format!(
            "its disks may take {} on `{storage}`, which has {} free (`storage` of `[drill]` in restore.toml names another)",
            format::bytes(need),
            format::bytes(free)
        ))
    });
    let words = short.or_else(|| {
        let need = memory(what);
        let free = ground.memory.filter(|free| need > *free)?;
        let (need, free) = (format::bytes(need), format::bytes(free));
        Some(format!(
            "it takes {need} of memory and {} has {free} free: another guest might be ended for it",
            facts.name
        ))
    })?;
    Some(Finding::new(&NOT_DONE, words))
}

/// Bytes of memory that a guest may take. Both kinds have 512 MiB where nothing is said.
pub(super) fn memory(what: &Assignment) -> u64 {
    let value = what.inside.config.get("memory").unwrap_or_default();
    let mebibytes =
        value.trim_start_matches("current=").split(',').next().and_then(|number| number.parse().ok());
    mebibytes.unwrap_or(512_u64).saturating_mul(1 << 20)
}

/// Problems in one line.
fn told(problems: &[Problem]) -> String {
    let one = |problem: &Problem| match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.what),
        None => problem.what.clone(),
    };
    problems.iter().map(one).collect::<Vec<_>>().join("; ")
}
