//! What no backup covers: guests, disks, jobs and storages that leave something out.

use std::time::Duration;

use jiff::{Timestamp, civil::Time};
use restore_common::{
    pve::{BackupJob, BackupRun, GuestKind, Storage},
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
    /// Whether all storages that were asked for were read: otherwise that there is no newer backup cannot be said.
    pub sees_all: bool,
    /// Whether that is one storage of several: a schedule fills all of them, and other backups may be on the others.
    pub one_storage: bool,
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
            None if wish.one_storage => None,
            None => Some(Finding::new(&codes::NO_BACKUP, "no storage of the node lists one")),
            // A template does not change.
            Some(_) if is_template || (wish.one_storage && wish.max_age.is_none()) => None,
            Some(newest) => stale(look, newest, &jobs, wish.max_age),
        });
    }
    let covered = !jobs.is_empty() || (is_template && !archives.is_empty());
    findings.extend((!covered).then(|| in_no_job(look, guest)));
    findings.extend(last_try(look, guest, archives));
    findings.extend(disks(guest));
    findings
}

/// Instead of what was said about the age of a guest's backups on its own node: its newest one is on another.
pub fn of_moved(
    look: &Look,
    guest: &GuestNow,
    (newest, on): (&ArchivePart, &str),
    max_age: Option<Duration>,
) -> Vec<Finding> {
    let words = format!("{} on {on}", newest.id);
    let is_template = guest.config.flag("template");
    let stale = stale(look, newest, &jobs_of(look, guest), max_age).filter(|_| !is_template);
    std::iter::once(Finding::new(&codes::BACKUP_ELSEWHERE, words)).chain(stale).collect()
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
        (None, None) if jobs.is_empty() => (DEFAULT_MAX_AGE, "no schedule says otherwise".to_owned()),
        (None, None) => {
            let schedules: Vec<_> = jobs.iter().map(|job| format!("`{}`", job.schedule)).collect();
            (DEFAULT_MAX_AGE, format!("{} is not understood, use --max-age", schedules.join(", ")))
        }
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
fn last_try(look: &Look, guest: &GuestNow, archives: &[ArchivePart]) -> Option<Finding> {
    let by_task = look.runs.iter().find(|run| run.guest() == Some(guest.vmid));
    if let Some((run, failure)) = by_task.and_then(|run| Some((run, run.failure()?))) {
        let newest = archives.first().map_or(i64::MIN, |archive| archive.ctime);
        if run.starttime.is_some_and(|began| began > newest) {
            return Some(Finding::new(&codes::RUN_FAILED, failure));
        }
    }
    let logs = look.folders.iter().flat_map(|folder| &folder.logs);
    let own = logs.filter_map(|log| {
        let name = name_of(log.name.strip_suffix(".log")?)?;
        ((name.vmid, name.kind) == (guest.vmid, guest.kind)).then_some((name.time, &log.ended))
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
    findings.extend(last_runs(look, here().filter(|job| job.is_enabled())).into_iter().filter_map(|run| {
        let began = format::node_time(run.starttime?, look.facts.utc_offset);
        Some(Finding::new(&node_codes::JOB_FAILED, format!("{began}: {}", run.failure()?)))
    }));
    findings
}

/// The last run of each of these jobs, and the last run of all. A task does not say whose run it is; the time of the day
/// at which it began does, and of several that began in one minute each may be it.
fn last_runs<'a>(look: &'a Look, jobs: impl Iterator<Item = &'a BackupJob>) -> Vec<&'a BackupRun> {
    let began = |run: &BackupRun| {
        let time = Timestamp::from_second(run.starttime?).ok()?.to_zoned(look.facts.zone.clone()).datetime();
        Some((time.date(), Time::constant(time.hour(), time.minute(), 0, 0)))
    };
    let runs: Vec<_> = look.runs.iter().filter(|run| run.guest().is_none()).collect();
    let of_job =
        |job: &BackupJob| runs.iter().filter_map(|run| began(run)).find(|(_, time)| job.begins_at(*time));
    let minutes: Vec<_> = jobs.filter_map(of_job).collect();
    let counts =
        |(at, run): &(usize, &BackupRun)| *at == 0 || began(run).is_some_and(|m| minutes.contains(&m));
    runs.into_iter().enumerate().filter(counts).map(|(_, run)| run).collect()
}
