//! From what was seen to what will be done; or to everything that speaks against it.

use std::{collections::BTreeMap, time::Duration};

use restore_common::{
    cli::state_folder,
    homelab::GuestChecks,
    ledger::Entry,
    procedure::{Failure, Problem},
    pve::{Archive, Disk, GuestKind, NodeFacts, StorageId},
    remote::{Host, HostError},
};

use crate::{
    args::{Args, CheckLevel, Safety},
    assignment::{Assignment, Start},
    choose::{Selector, choose, passed_over},
    conflicts::{self, Conflict},
    disks,
    ha::{self, Managed},
    live,
    look::{ArchiveLook, Guest, Holder, NodeLook, look_for, look_into},
    place::{Placement, Wish, destinations, place},
    problems::{self, Prospect},
    record,
    steps::{archive::newest_intact, links},
};

/// How long a guest may take to come up when nothing else is said.
const DEFAULT_WAIT: Duration = Duration::from_secs(120);

/// What the project knows about the guest.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The environment it belongs to.
    pub environment: String,
    /// The environment whose node was asked.
    pub reached_by: String,
    /// How it is proven to work.
    pub proof: GuestChecks,
}

/// Decides every part of the restore. At most four remote executions.
///
/// The inner error lists everything that speaks against it; the outer one is a question that could not be asked.
pub fn decide(
    args: &Args,
    host: &dyn Host,
    look: &NodeLook,
    known: &dyn Fn(Option<&str>) -> Known,
) -> anyhow::Result<Result<Assignment, Vec<Problem>>> {
    let selector = selector(args);
    let archive = match choose(look, args.vmid, &selector) {
        Ok(archive) => archive,
        Err(problem) => return Ok(Err(vec![problem])),
    };
    let passed_over = passed_over(look, archive, &selector);
    let older = older_than(look, archive);
    let inside = match look_into(host, &archive.volid) {
        Ok(inside) => inside,
        Err(restore_common::pve::PveError::Host(error)) => return Err(error.into()),
        Err(error) => return Ok(Err(vec![unreadable(args, host, archive, &older, error)?])),
    };
    let target = args.target_id.unwrap_or(args.vmid);
    let holder = if target == args.vmid { look.holder.clone() } else { look_for(host, &look.facts, target)? };
    let (safety, no_safety) = safety_storage(args, look, archive, &holder);
    let mut found = problems::find(&Prospect {
        facts: &look.facts,
        target,
        source: args.vmid,
        holder: &holder,
        archive,
        inside: &inside,
        wish: wish(args),
        safety: safety.as_ref(),
    });
    found.extend(no_safety);
    let ha = Managed::find(&look.facts, archive.name.kind, target);
    if let Some(managed) = &ha {
        found.extend(ha::problem(host, managed, &holder, target != args.vmid)?);
    }
    let kind = archive.name.kind;
    let kept = |guest: &Guest| disks::kept(kind, &guest.config, &inside.config, args.discard_excluded);
    let excluded = holder.here().map(kept).unwrap_or_default();
    let placement = match place(kind, &inside.config, wish(args), &excluded) {
        Ok(placement) if found.is_empty() => placement,
        Ok(_) => return Ok(Err(found)),
        Err(problem) => {
            found.push(problem);
            return Ok(Err(found));
        }
    };
    let known = known(inside.config.name());
    // A guest that is there has its address itself.
    let conflicts = match holder.here() {
        Some(_) => Vec::new(),
        None => conflicts::find(host, &look.facts.name, target, &inside.config, &known.proof.ports)?,
    };
    let record = record::of(&state_folder(), host, archive, &inside.path);
    let parts = Parts {
        archive,
        passed_over,
        older,
        inside,
        record,
        holder,
        safety,
        excluded,
        placement,
        conflicts,
        ha,
    };
    let assignment = assignment(args, look, known, parts);
    Ok(match live::problems(&assignment) {
        found if found.is_empty() => Ok(assignment),
        found => Err(found),
    })
}

struct Parts<'a> {
    archive: &'a Archive,
    passed_over: Vec<Archive>,
    older: Vec<Archive>,
    inside: ArchiveLook,
    record: Option<Entry>,
    holder: Holder,
    safety: Option<StorageId>,
    excluded: Vec<Disk>,
    placement: Placement,
    conflicts: Vec<Conflict>,
    ha: Option<Managed>,
}

fn assignment(args: &Args, look: &NodeLook, known: Known, parts: Parts<'_>) -> Assignment {
    let Parts {
        archive,
        passed_over,
        older,
        inside,
        record,
        holder,
        safety,
        excluded,
        placement,
        conflicts,
        ha,
    } = parts;
    let target = args.target_id.unwrap_or(args.vmid);
    let kind = archive.name.kind;
    let present = holder.here().cloned();
    let overwrites = present.is_some();
    // With a layout of its own `pct restore` forgets bind mounts.
    let is_bind = |disk: &Disk| !placement.layout.is_empty() && disk.volume().is_none();
    let start = start(args, &inside, &conflicts, ha.as_ref());
    Assignment {
        environment: known.environment,
        reached_by: known.reached_by,
        node: look.facts.name.to_string(),
        looked_at: look.facts.time,
        kind,
        source: args.vmid,
        target,
        excluded,
        binds: inside.config.disks(kind).into_iter().filter(is_bind).collect(),
        room: room(&look.facts, kind, wish(args), &inside, present.as_ref()),
        ha: ha.map(|ha| if start == Start::Yes { ha } else { ha.left_stopped() }),
        start,
        link_down: args.link_down && !links::cards(&inside.config).is_empty(),
        conflicts,
        original: look.holder.here().filter(|_| target != args.vmid).map(|guest| guest.config.clone()),
        bwlimit: args.bwlimit,
        live: args.live_restore,
        not_listed: not_listed(args, look),
        passed_over,
        check: args.check.unwrap_or(if overwrites || record.as_ref().is_some_and(record::is_bad) {
            CheckLevel::Full
        } else {
            CheckLevel::Quick
        }),
        record,
        unique: args.unique || target != args.vmid,
        proof: proof(args, known.proof, &inside),
        archive: archive.clone(),
        inside,
        older,
        present,
        placement,
        safety,
    }
}

/// How the guest is proven to work. A copy has its own address only when the backup gives it one: what the project knows
/// is the original's.
fn proof(args: &Args, known: GuestChecks, inside: &ArchiveLook) -> GuestChecks {
    let is_copy = args.target_id.is_some_and(|target| target != args.vmid);
    let in_backup = || inside.config.static_addresses().first().map(|address| (*address).to_owned());
    let known_wait = Some(known.wait).filter(|wait| !wait.is_zero()).unwrap_or(DEFAULT_WAIT);
    GuestChecks {
        address: known.address.filter(|_| !is_copy).or_else(in_backup),
        wait: args.wait.map_or(known_wait, Duration::from_secs),
        ..known
    }
}

/// Storages that may hold a backup that would have been chosen. What is disabled is so on purpose.
fn not_listed(args: &Args, look: &NodeLook) -> BTreeMap<StorageId, String> {
    let is_enabled = |id: &StorageId| look.facts.storage(id.as_str()).is_some_and(|storage| storage.enabled);
    let unread = look.unread.iter().filter(|(id, _)| args.archive.is_none() && is_enabled(id));
    unread.map(|(id, reason)| (id.clone(), reason.clone())).collect()
}

fn selector(args: &Args) -> Selector {
    match (&args.archive, args.date) {
        (Some(volid), _) => Selector::Archive(volid.clone()),
        (None, Some(day)) => Selector::Day(day),
        (None, None) => Selector::Newest,
    }
}

fn older_than(look: &NodeLook, archive: &Archive) -> Vec<Archive> {
    let same_kind = |a: &&Archive| a.name.kind == archive.name.kind && a.ctime < archive.ctime;
    look.archives.iter().filter(same_kind).cloned().collect()
}

fn unreadable(
    args: &Args,
    host: &dyn Host,
    archive: &Archive,
    older: &[Archive],
    error: restore_common::pve::PveError,
) -> Result<Problem, HostError> {
    let volid = &archive.volid;
    let cause = || Failure::new(format!("the configuration inside `{volid}` cannot be read")).because(error);
    let problem = Problem::new(match archive.size {
        0 => format!("the backup `{volid}` is empty (0 bytes)"),
        _ => format!("{:#}", anyhow::Error::from(cause())),
    });
    let advice =
        newest_intact(args.vmid, host, older, &|volid| log::warn!("looking for an intact backup: {volid}"))?;
    if archive.server.as_ref().is_some_and(|server| server.encrypted) {
        let storage = archive.volid.storage();
        return Ok(problem.hint(format!(
            "it is encrypted: `pvesm set {storage} --encryption-key FILE` gives the node its key; {advice}"
        )));
    }
    Ok(problem.hint(advice))
}

fn wish(args: &Args) -> Wish<'_> {
    Wish { target: args.target_storage.as_ref(), map: &args.storage_map }
}

/// Where the safety backup goes: beside the backup, else on any storage that takes one.
fn safety_storage(
    args: &Args,
    look: &NodeLook,
    archive: &Archive,
    holder: &Holder,
) -> (Option<StorageId>, Option<Problem>) {
    let worth_saving = |guest: &Guest| !guest.config.is_left_by_a_failed_restore();
    if args.safety == Safety::None || !holder.here().is_some_and(worth_saving) {
        return (None, None);
    }
    let fits = |s: &&restore_common::pve::Storage| {
        s.enabled && s.active && s.allows("backup") && !s.is_backup_server()
    };
    let beside = look.facts.storage(archive.volid.storage()).filter(|s| fits(s));
    match beside.or_else(|| look.facts.storages.iter().find(fits)) {
        Some(storage) => (Some(storage.id.clone()), None),
        None => {
            let problem = Problem::new(format!("no storage of {} takes a safety backup", look.facts.name));
            (None, Some(problem.hint("`--safety none` does without one; then there is no way back")))
        }
    }
}

/// Free bytes for the disks, when they all go to one storage. A VM's old disks are freed before the new ones are made.
fn room(
    facts: &NodeFacts,
    kind: GuestKind,
    wish: Wish<'_>,
    inside: &ArchiveLook,
    present: Option<&Guest>,
) -> Option<u64> {
    let keys = disks::keys_in_archive(kind, &inside.config);
    let mut storages: Vec<_> =
        destinations(kind, &inside.config, wish).into_iter().map(|(_, storage)| storage).collect();
    storages.dedup();
    let [storage] = storages.as_slice() else { return None };
    let free = facts.storage(storage.as_str())?.available()?;
    let freed = present.filter(|_| kind == GuestKind::Qemu).map(|guest| {
        let old = guest.config.disks(kind).into_iter().filter(|d| keys.contains(&d.key));
        old.filter(|d| d.storage().as_ref() == Some(storage)).filter_map(|d| d.size).sum::<u64>()
    });
    Some(free.saturating_add(freed.unwrap_or(0)))
}

fn start(args: &Args, inside: &ArchiveLook, conflicts: &[Conflict], ha: Option<&Managed>) -> Start {
    if args.no_start {
        return Start::No("`--no-start` was given".to_owned());
    }
    if let Some(ha) = ha.filter(|ha| !ha.is_started()) {
        return Start::No(format!("high availability is to keep {} {}", ha.sid, ha.before));
    }
    if inside.config.flag("template") {
        return Start::No("it is a template".to_owned());
    }
    let is_copy = args.target_id.is_some_and(|target| target != args.vmid);
    match conflicts.first().filter(|_| is_copy && !args.start && !args.link_down) {
        Some(Conflict { address, who }) => Start::No(format!(
            "{who} has its address {address} (`--start` starts it all the same, `--link-down` with its links down)"
        )),
        None => Start::Yes,
    }
}
