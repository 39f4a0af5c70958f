//! What a drill finds.

use crate::finding::{
    Code,
    Severity::{Error, Note, Warning},
};

/// All of them.
pub const ALL: &[&Code] =
    &[&RESTORE_FAILED, &NOT_BOOTED, &CHECK_FAILED, &BOOT_UNKNOWN, &NOT_DONE, &SKIPPED, &LEFT, &NOT_REMOVED];

/// The node could not make a guest of it.
pub const RESTORE_FAILED: Code = Code {
    name: "drill-restore-failed",
    severity: Error,
    meaning: "The newest backup could not be restored into a throw-away guest.",
    action: "Read the message; drill an older backup by hand (`restore-vm VMID --archive VOLID --target-id ID`) and make a new one now.",
};
/// It did not come up.
pub const NOT_BOOTED: Code = Code {
    name: "drill-not-booted",
    severity: Error,
    meaning: "The newest backup was restored, and the system in it did not come up.",
    action: "Restore it beside the original (`restore-vm VMID --target-id ID --link-down`), look at its console, and make a new backup.",
};
/// It came up without what it is for.
pub const CHECK_FAILED: Code = Code {
    name: "drill-check-failed",
    severity: Error,
    meaning: "The restored guest came up, and a check of `restore.toml` failed in it.",
    action: "Restore it beside the original (`restore-vm VMID --target-id ID --link-down`) and see why.",
};
/// Nobody in it can be asked.
pub const BOOT_UNKNOWN: Code = Code {
    name: "drill-boot-unknown",
    severity: Warning,
    meaning: "The restored guest runs, and nothing in it can say whether its system came up.",
    action: "Install the QEMU guest agent in the VM and set `agent: 1`, so that the next backup can be proven.",
};
/// Nothing is known.
pub const NOT_DONE: Code = Code {
    name: "drill-not-done",
    severity: Error,
    meaning: "The guest was to be drilled and could not be: nothing is known about its backup.",
    action: "Do what the message says, then drill again.",
};
/// There is nothing to start.
pub const SKIPPED: Code = Code {
    name: "drill-skipped",
    severity: Note,
    meaning: "The guest was not drilled, because it is none that is started.",
    action: "Nothing.",
};
/// Somebody's drill is at work, or was killed.
pub const LEFT: Code = Code {
    name: "drill-left",
    severity: Warning,
    meaning: "A throw-away guest of a drill is there: the drill is at work, or was cut off.",
    action: "Run `verify-backups --drill`, which offers to remove what is left.",
};
/// It is still there.
pub const NOT_REMOVED: Code = Code {
    name: "drill-not-removed",
    severity: Error,
    meaning: "A throw-away guest could not be removed again.",
    action: "Do what the message says, then run `verify-backups --drill`, which tries it again.",
};
