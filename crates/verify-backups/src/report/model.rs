//! What a run found: nodes with guests with archives, buckets with versions, checks.

use std::time::Duration;

use jiff::Timestamp;
use restore_common::pve::{ArchiveName, GuestKind, Vmid};

use crate::finding::{Finding, Severity};

/// How far archives were looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Listing, header, configuration, sidecar files.
    Quick,
    /// Every byte.
    Deep,
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
    /// Seconds since 1970, UTC.
    pub ctime: i64,
    /// Bytes.
    pub size: u64,
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
        nodes.chain(buckets)
    }

    /// The worst that was found; `None` when all is good.
    pub fn worst(&self) -> Option<Severity> {
        self.all_findings().map(Finding::severity).max()
    }

    /// How the program ends: 0 all good, 1 warnings, 2 errors.
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            None | Some(Severity::Note) => 0,
            Some(Severity::Warning) => 1,
            Some(Severity::Error) => 2,
        }
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
