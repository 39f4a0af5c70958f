//! What no backup covers: guests, disks, jobs and storages that leave something out.

use std::time::Duration;

use restore_common::{
    pve::{BackupJob, GuestKind, Storage, Vmid},
    ui::format,
};

use crate::{
    codes::{guest as codes, node as node_codes},
    finding::Finding,
    quick::{Ended, GuestNow, Look, archives::name_of, backup_storages},
    report::ArchivePart,
};

/// A newest backup may be this old where no schedule says otherwise.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(48 * 3600);
/// A run may begin late and take its time.
const LEAST_GRACE: Duration = Duration::from_secs(2 * 3600);

/// What the operator asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// A newest backup may be this old, whatever the jobs' schedules are.
    pub max_age: Option<Duration>,
    /// Whether all storages were read: otherwise that there is no backup, or no newer one, cannot be said.
    pub sees_all: bool,
}

/// What is to be said about a guest.
pub fn of_guest(look: &Look, guest: &GuestNow, archives: &[ArchivePart], wish: Wish) -> Vec<Finding> {
    if guest.config.is_left_by_a_failed_restore() {
        return vec![Finding::new(&codes::BROKEN, "its configuration is empty, or `memory: 128` alone")];
    }
    let is_template = guest.config.flag("template");
    let jobs = jobs_of(look, guest);
    let mut findings = Vec::new();
    if wish.sees_all {
        findings.extend(match archives.first() {
            None => Some(Finding::new(&codes::NO_BACKUP, "no storage of the node lists one")),
            // A template does not change.
            Some(_) if is_template => None,
            Some(newest) => stale(look, newest, &jobs, wish.max_age),
        });
    }
    let covered = !jobs.is_empty() || (is_template && !archives.is_empty());
    findings.extend((!covered).then(|| in_no_job(look, guest)));
    findings.extend(last_try(look, guest.vmid, archives));
    findings.extend(disks(guest));
    findings
}

/// The enabled jobs that back it up from this node.
fn jobs_of<'a>(look: &'a Look, guest: &GuestNow) -> Vec<&'a BackupJob> {
    let covers = |job: &&BackupJob| {
        job.is_enabled() && job.runs_on(&look.facts.name) && job.selects(guest.vmid, guest.pool.as_deref())
    };
    look.jobs.iter().filter(covers).collect()
}

fn in_no_job(look: &Look, guest: &GuestNow) -> Finding {
    let selects = |job: &&BackupJob| job.selects(guest.vmid, guest.pool.as_deref());
    let words = match look.jobs.iter().find(selects) {
        Some(job) if !job.is_enabled() => format!("job {} names it and is disabled", job.id),
        Some(job) => format!("job {} names it and runs on another node", job.id),
        None => "no job names it".to_owned(),
    };
    Finding::new(&codes::NO_JOB, words)
}

fn stale(
    look: &Look,
    newest: &ArchivePart,
    jobs: &[&BackupJob],
    max_age: Option<Duration>,
) -> Option<Finding> {
    let gap = jobs.iter().filter_map(|job| Some((job.longest_gap()?, *job))).min_by_key(|(gap, _)| *gap);
    let (allowed, reason) = match (max_age, gap) {
        (Some(age), _) => (age, "--max-age".to_owned()),
        (None, Some((gap, job))) => {
            (gap + (gap / 4).max(LEAST_GRACE), format!("job {}: {}", job.id, job.schedule))
        }
        (None, None) => (DEFAULT_MAX_AGE, "no schedule says otherwise".to_owned()),
    };
    let age = u64::try_from(look.facts.time.saturating_sub(newest.ctime)).ok()?;
    (age > allowed.as_secs()).then(|| {
        let words = format!(
            "the newest is {} old, {} are allowed ({reason})",
            format::duration(Duration::from_secs(age)),
            format::duration(allowed)
        );
        Finding::new(&codes::STALE, words)
    })
}

/// Whether the last try failed: by the node's tasks, or by a log without an archive that is newer than all archives.
fn last_try(look: &Look, vmid: Vmid, archives: &[ArchivePart]) -> Option<Finding> {
    let by_task = look.runs.iter().find(|run| run.guest() == Some(vmid));
    if let Some((run, failure)) = by_task.and_then(|run| Some((run, run.failure()?))) {
        let newest = archives.first().map_or(i64::MIN, |archive| archive.ctime);
        if run.starttime.is_some_and(|began| began > newest) {
            return Some(Finding::new(&codes::RUN_FAILED, failure));
        }
    }
    let logs = look.folders.iter().flat_map(|folder| &folder.logs);
    let own = logs.filter_map(|log| {
        let name = name_of(log.name.strip_suffix(".log")?)?;
        (name.vmid == vmid).then_some((name.time, &log.ended))
    });
    let (time, ended) = own.max_by_key(|(time, _)| *time)?;
    let has_newer =
        archives.iter().any(|archive| archive.name.as_ref().is_some_and(|name| name.time >= time));
    match ended {
        Ended::Failed(words) if !has_newer => Some(Finding::new(&codes::RUN_FAILED, words)),
        Ended::Failed(_) | Ended::Finished | Ended::Unknown => None,
    }
}

fn disks(guest: &GuestNow) -> impl Iterator<Item = Finding> {
    let left_out = guest.config.disks(guest.kind).into_iter().filter(|d| !d.in_backup && !d.is_unused());
    let kind = guest.kind;
    left_out.map(move |disk| {
        let by_default = kind == GuestKind::Lxc && disk.volume().is_some() && !disk.value.contains("backup=");
        let code = if by_default { &codes::DISK_LEFT_OUT } else { &codes::DISK_EXCLUDED };
        Finding::new(code, format!("{}: {}", disk.key, disk.source))
    })
}

/// What is to be said about a node: its storages, folders and jobs.
pub fn of_node(look: &Look, only: Option<&restore_common::pve::StorageId>) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        backup_storages(&look.facts, only).filter_map(|storage| of_storage(look, storage)).collect();
    let unreadable = |folder: &crate::quick::FolderLook| {
        let reason = folder.unreadable.as_ref()?;
        Some(Finding::new(
            &node_codes::STORAGE_INACTIVE,
            format!("{}: {}: {reason}", folder.storage, folder.path),
        ))
    };
    findings.extend(look.folders.iter().filter_map(unreadable));
    findings.extend(of_jobs(look));
    findings
}

fn of_storage(look: &Look, storage: &Storage) -> Option<Finding> {
    let id = &storage.id;
    if !storage.enabled {
        return Some(Finding::new(&node_codes::STORAGE_DISABLED, id.to_string()));
    }
    if let Some(reason) = look.unread.get(id) {
        return Some(Finding::new(&node_codes::STORAGE_INACTIVE, format!("{id}: {reason}")));
    }
    let (total, free) = (storage.total().filter(|total| *total > 0)?, storage.available()?);
    let percent = u128::from(total.saturating_sub(free)) * 100 / u128::from(total);
    let code = match percent {
        ..85 => return None,
        85..95 => &node_codes::STORAGE_NEARLY_FULL,
        _ => &node_codes::STORAGE_FULL,
    };
    let words = format!("{id}: {percent} % full, {} of {} free", format::bytes(free), format::bytes(total));
    Some(Finding::new(code, words))
}

fn of_jobs(look: &Look) -> Vec<Finding> {
    let here = || look.jobs.iter().filter(|job| job.runs_on(&look.facts.name));
    let mut findings = Vec::new();
    if !look.guests.is_empty() && !here().any(BackupJob::is_enabled) {
        findings.push(Finding::new(&node_codes::NO_JOB, "no enabled job runs here"));
    }
    let disabled = here().filter(|job| !job.is_enabled());
    findings.extend(
        disabled.map(|job| Finding::new(&node_codes::JOB_DISABLED, format!("{} ({})", job.id, job.schedule))),
    );
    let last = look.runs.iter().find(|run| run.guest().is_none());
    if let Some(failure) = last.and_then(|run| run.failure()) {
        let began = last.and_then(|run| run.starttime).unwrap_or_default();
        let words = format!("{}: {failure}", format::node_time(began, look.facts.utc_offset));
        findings.push(Finding::new(&node_codes::JOB_FAILED, words));
    }
    findings
}
