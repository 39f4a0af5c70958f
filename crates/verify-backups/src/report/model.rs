//! What a run found: nodes with guests with archives, buckets with versions, checks.

use std::time::Duration;

use jiff::Timestamp;
use restore_common::{
    ledger::{Drilled, Proof},
    procedure::{CheckResult, CheckStatus},
    pve::{ArchiveName, GuestKind, Vmid},
    ui::format,
};

use crate::{
    codes::running as codes,
    finding::{Finding, Severity},
};

/// How far archives were looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Listing, header, configuration, sidecar files.
    Quick,
    /// Every byte.
    Deep,
    /// Not at all: only whether a disaster could be met.
    Ready,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the run began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// How far archives were looked into.
    pub level: Level,
    /// The nodes of the environments, also those that could not be asked; with `--local` the one folder.
    pub nodes: Vec<NodePart>,
    /// The state of each environment.
    pub buckets: Vec<BucketPart>,
    /// With `--ready`, what a disaster would need.
    pub ready: Vec<ReadyPart>,
    /// With `--full`, the services that the homelab stands on.
    pub services: Vec<ServicePart>,
    /// Why there is nothing of all that.
    pub error: Option<String>,
}

/// A node, or a folder of this machine.
#[derive(Clone, Debug, Default)]
pub struct NodePart {
    /// As the operator knows it: `pve-prod (192.168.1.100)`; with `--local` the folder.
    pub label: String,
    /// The environment it belongs to; empty with `--local`.
    pub environment: String,
    /// Whether it could be asked at all.
    pub reached: bool,
    /// Storages, jobs, unreachability.
    pub findings: Vec<Finding>,
    /// Every guest that is there or has a backup there, by VMID.
    pub guests: Vec<GuestPart>,
    /// What is in the backup folders and is no backup: half-written and foreign files, traces of backups that are gone.
    pub others: Vec<ArchivePart>,
}

/// A guest and its backups.
#[derive(Clone, Debug)]
pub struct GuestPart {
    /// Its number.
    pub vmid: Vmid,
    /// Its name, where there is such a guest now.
    pub name: Option<String>,
    /// VM or container.
    pub kind: GuestKind,
    /// Whether there is such a guest now; otherwise only its backups are left.
    pub present: bool,
    /// Age, coverage, jobs.
    pub findings: Vec<Finding>,
    /// Its backups, newest first.
    pub archives: Vec<ArchivePart>,
    /// Its last drill, in this run or an earlier one.
    pub drill: Option<DrillPart>,
}

/// What the last drill of a guest proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrillPart {
    /// What is on record.
    pub entry: Drilled,
    /// Whether it was in this run.
    pub now: bool,
}

/// An archive.
#[derive(Clone, Debug)]
pub struct ArchivePart {
    /// Its volume id; with `--local` and for foreign files the path.
    pub id: String,
    /// Its absolute path on the node or on this machine; `None` on a Proxmox Backup Server.
    pub path: Option<String>,
    /// What its name says.
    pub name: Option<ArchiveName>,
    /// When its backup began, in seconds since 1970, UTC.
    pub ctime: i64,
    /// When its file was written last, in seconds since 1970, UTC, where the look has seen that.
    pub mtime: Option<i64>,
    /// Bytes.
    pub size: u64,
    /// Other nodes that list the very same one, on a storage that the cluster shares.
    pub also_on: Vec<String>,
    /// The last time every byte was read and found good, in this run or an earlier one.
    pub verified: Option<Verified>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// That an archive was read to its end and found good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// When.
    pub when: Timestamp,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Whether in this run.
    pub now: bool,
}

/// The state of one environment.
#[derive(Clone, Debug)]
pub struct BucketPart {
    /// The environment.
    pub environment: String,
    /// `bucket/key at http://…`.
    pub place: String,
    /// How many versions there are.
    pub versions: Vec<VersionPart>,
    /// What concerns the bucket as a whole.
    pub findings: Vec<Finding>,
}

/// Something that a disaster would need.
#[derive(Clone, Debug)]
pub struct ReadyPart {
    /// What was looked at: `ssh key`, `state`.
    pub check: &'static str,
    /// Of what: a node, an environment, a program.
    pub about: String,
    /// What was seen; nothing where that is in the findings.
    pub seen: String,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// A version of a state.
#[derive(Clone, Debug)]
pub struct VersionPart {
    /// Its version id.
    pub id: String,
    /// Seconds since 1970, UTC.
    pub written: i64,
    /// Bytes.
    pub size: u64,
    /// Its serial, if it is a state.
    pub serial: Option<u64>,
    /// Its lineage, if it is a state.
    pub lineage: Option<String>,
    /// Whether it is the current one.
    pub current: bool,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// A service, and what was looked at.
#[derive(Clone, Debug)]
pub struct ServicePart {
    /// `MinIO`, `monitoring`.
    pub name: &'static str,
    /// The environment that has it.
    pub environment: String,
    /// Where it was asked.
    pub place: String,
    /// What was looked at, and what was seen.
    pub checks: Vec<CheckResult>,
    /// What of that is not as it should be.
    pub findings: Vec<Finding>,
}

impl ServicePart {
    /// The service with what its proof came to.
    pub fn new(name: &'static str, environment: &str, place: String, checks: Vec<CheckResult>) -> Self {
        let finding = |check: &CheckResult| {
            let code = match check.status {
                CheckStatus::Passed => return None,
                CheckStatus::Failed => &codes::SERVICE_FAILED,
                CheckStatus::Skipped => &codes::SERVICE_NOT_ASKED,
            };
            Some(Finding::new(code, format!("{}: {}", check.title, check.saw)))
        };
        let findings = checks.iter().filter_map(finding).collect();
        Self { name, environment: environment.to_owned(), place, checks, findings }
    }
}

impl GuestPart {
    /// Everything that was found about it and its archives.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        let archives = self.archives.iter().flat_map(|archive| &archive.findings);
        self.findings.iter().chain(archives)
    }
}

impl NodePart {
    /// Everything that was found on it.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        let guests = self.guests.iter().flat_map(GuestPart::all_findings);
        let others = self.others.iter().flat_map(|other| &other.findings);
        self.findings.iter().chain(guests).chain(others)
    }
}

impl BucketPart {
    /// Everything that was found in it.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(self.versions.iter().flat_map(|version| &version.findings))
    }
}

impl Report {
    /// Everything that was found.
    pub fn all_findings(&self) -> impl Iterator<Item = &Finding> {
        let nodes = self.nodes.iter().flat_map(NodePart::all_findings);
        let buckets = self.buckets.iter().flat_map(BucketPart::all_findings);
        let services = self.services.iter().flat_map(|service| &service.findings);
        let ready = self.ready.iter().flat_map(|part| &part.findings);
        nodes.chain(buckets).chain(services).chain(ready)
    }

    /// The worst that was found; `None` when all is good.
    pub fn worst(&self) -> Option<Severity> {
        self.all_findings().map(Finding::severity).max()
    }

    /// How the program ends: 0 all good, 1 warnings, 2 errors.
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            _ if self.error.is_some() => 2,
            None | Some(Severity::Note) => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Error) => 2,
        }
    }
}

/// Milliseconds in seconds.
pub(super) fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

impl DrillPart {
    /// `drilled 2 days ago, the backup was 5 h old then: restored in 12 s, up after 8 s, gone after 25 s`.
    pub(super) fn words(&self, now: i64) -> String {
        let Drilled { when, ctime, proof, restore_ms, boot_ms, took_ms, .. } = &self.entry;
        let took = |milliseconds: u64| format::duration(Duration::from_millis(milliseconds));
        let age = u64::try_from(when.as_second().saturating_sub(*ctime)).unwrap_or_default();
        let age = format::duration(Duration::from_secs(age));
        let done = format::age(when.as_second(), now);
        let proven = match proof {
            Proof::Proven => "proven",
            Proof::Started => "it ran, no more is known",
            Proof::Failed => "FAILED",
        };
        let restored = restore_ms.map(|ms| format!(", restored in {}", took(ms))).unwrap_or_default();
        let up = boot_ms.map(|ms| format!(", up after {}", took(ms))).unwrap_or_default();
        let up = if *proof == Proof::Proven { up } else { String::new() };
        format!(
            "drilled {done} when the backup was {age} old: {proven}{restored}{up}, {} in all",
            took(*took_ms)
        )
    }
}

/// The bytes of some archives together. A size is what a listing says, and an absurd one must not end the report.
pub(super) fn total_size<'a>(archives: impl IntoIterator<Item = &'a ArchivePart>) -> u64 {
    archives.into_iter().fold(0, |sum, archive| sum.saturating_add(archive.size))
}

/// A report in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes, or the one folder.
    pub nodes: usize,
    /// Of these, those that could not be asked.
    pub nodes_not_reached: usize,
    /// Guests that are there or have backups.
    pub guests: usize,
    /// Backups.
    pub archives: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Backups of which every byte was read and found good, now or before.
    pub verified: usize,
    /// Findings of each severity.
    pub errors: usize,
    /// Findings of each severity.
    pub warnings: usize,
    /// Findings of each severity.
    pub notes: usize,
}

impl Totals {
    /// Counts.
    pub fn of(report: &Report) -> Self {
        let guests = || report.nodes.iter().flat_map(|node| &node.guests);
        let archives = || guests().flat_map(|guest| &guest.archives);
        let of = |severity| report.all_findings().filter(|finding| finding.severity() == severity).count();
        Self {
            nodes: report.nodes.len(),
            nodes_not_reached: report.nodes.iter().filter(|node| !node.reached).count(),
            guests: guests().count(),
            archives: archives().count(),
            bytes: total_size(archives()),
            verified: archives().filter(|archive| archive.verified.is_some()).count(),
            errors: of(Severity::Error),
            warnings: of(Severity::Warning),
            notes: of(Severity::Note),
        }
    }
}
