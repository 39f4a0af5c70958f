//! Findings about a node and its storages.

use crate::finding::{
    Code,
    Severity::{Error, Warning},
};

/// Nobody answered.
pub const COULD_NOT_CHECK: Code = Code {
    name: "could-not-check",
    severity: Error,
    meaning: "It could not be asked, so nothing is known about its backups.",
    action: "Make it reachable and run the check again.",
};
/// A storage that does not answer.
pub const STORAGE_INACTIVE: Code = Code {
    name: "storage-inactive",
    severity: Error,
    meaning: "A storage for backups cannot be read, so backups on it are neither made nor checked.",
    action: "Bring its server, disk or mount back.",
};
/// A storage that is switched off.
pub const STORAGE_DISABLED: Code = Code {
    name: "storage-disabled",
    severity: Warning,
    meaning: "A storage for backups is disabled, so backups on it are neither made nor checked.",
    action: "Enable it, or remove it from the configuration.",
};
/// Not much room.
pub const STORAGE_NEARLY_FULL: Code = Code {
    name: "storage-nearly-full",
    severity: Warning,
    meaning: "A storage for backups is 85 % full or more.",
    action: "Keep fewer backups or make it larger before the next ones fail.",
};
/// No room.
pub const STORAGE_FULL: Code = Code {
    name: "storage-full",
    severity: Error,
    meaning: "A storage for backups is 95 % full or more: the next backup will fail.",
    action: "Remove backups that are not needed, or make it larger, now.",
};
/// Nothing runs by itself.
pub const NO_JOB: Code = Code {
    name: "job-missing",
    severity: Warning,
    meaning: "No backup job runs on this node.",
    action: "Add one under Datacenter, Backup.",
};
/// A job that does nothing.
pub const JOB_DISABLED: Code = Code {
    name: "job-disabled",
    severity: Warning,
    meaning: "A backup job is disabled.",
    action: "Enable it, or remove it if another one took its place.",
};
/// The last run failed.
pub const JOB_FAILED: Code = Code {
    name: "job-failed",
    severity: Error,
    meaning: "The last run of a backup job failed, for one guest or more.",
    action: "Read the task's log on the node, remove the cause and run the job again.",
};

/// All of them.
pub const ALL: &[&Code] = &[
    &COULD_NOT_CHECK,
    &STORAGE_INACTIVE,
    &STORAGE_DISABLED,
    &STORAGE_NEARLY_FULL,
    &STORAGE_FULL,
    &NO_JOB,
    &JOB_DISABLED,
    &JOB_FAILED,
];
