//! Findings about a guest and its jobs.

use crate::finding::{
    Code,
    Severity::{Error, Note, Warning},
};

/// Nothing to restore.
pub const NO_BACKUP: Code = Code {
    name: "guest-no-backup",
    severity: Error,
    meaning: "There is no backup of this guest at all.",
    action: "Back it up now with `vzdump VMID`, and put it into a backup job.",
};
/// The newest one is too old.
pub const STALE: Code = Code {
    name: "backup-stale",
    severity: Warning,
    meaning: "The newest backup is older than it may be.",
    action: "See why its job did not run or failed, and back the guest up now.",
};
/// Nobody backs it up.
pub const NO_JOB: Code = Code {
    name: "guest-in-no-job",
    severity: Warning,
    meaning: "The guest is in no enabled backup job; PVE's own list counts disabled jobs as well.",
    action: "Put it into a job, or enable the job that names it.",
};
/// Left out by default.
pub const DISK_LEFT_OUT: Code = Code {
    name: "disk-not-backed-up",
    severity: Warning,
    meaning: "A mount point is in no backup, which is what Proxmox does unless told otherwise.",
    action: "Set backup=1 on it, or backup=0 to say that it is meant to be left out.",
};
/// Left out on purpose.
pub const DISK_EXCLUDED: Code = Code {
    name: "disk-excluded",
    severity: Note,
    meaning: "A disk is in no backup because it is marked so, or because it is a folder of the node.",
    action: "Nothing, if its content can be lost or is kept elsewhere.",
};
/// Not a guest any more.
pub const BROKEN: Code = Code {
    name: "guest-left-by-restore",
    severity: Error,
    meaning: "Its configuration is what a failed restore leaves: nothing of the guest is in it.",
    action: "Restore it with `restore-vm VMID`.",
};
/// The last try failed.
pub const RUN_FAILED: Code = Code {
    name: "backup-failed",
    severity: Error,
    meaning: "The last backup of this guest failed.",
    action: "Read the task's log, remove the cause and back the guest up now.",
};

/// It has moved since.
pub const BACKUP_ELSEWHERE: Code = Code {
    name: "guest-backup-elsewhere",
    severity: Note,
    meaning: "The guest's newest backup is on another node of its cluster, which it has moved away from.",
    action: "Nothing: its next backup is made here; until then the other node is needed to restore it.",
};

/// All of them.
pub const ALL: &[&Code] =
    &[&NO_BACKUP, &BACKUP_ELSEWHERE, &STALE, &NO_JOB, &DISK_LEFT_OUT, &DISK_EXCLUDED, &BROKEN, &RUN_FAILED];
