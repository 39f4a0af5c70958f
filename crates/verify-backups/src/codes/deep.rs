//! What reading an archive to its end finds.

use crate::finding::{
    Code,
    Severity::{Error, Note},
};

/// All of them.
pub const ALL: &[&Code] = &[
    &TRUNCATED,
    &DAMAGED,
    &INCOMPLETE,
    &CHANGED,
    &KNOWN_BAD,
    &UNSTABLE,
    &NOT_CHECKED,
    &NOT_RECORDED,
    &NOT_READ,
];

/// It ends too early.
pub const TRUNCATED: Code = Code {
    name: "archive-truncated",
    severity: Error,
    meaning: "The archive ends too early: its last part was never written or is lost.",
    action: "Make a new backup now; restore from an older one or from another copy until then.",
};

/// A checksum or the structure is wrong.
pub const DAMAGED: Code = Code {
    name: "archive-damaged",
    severity: Error,
    meaning: "A checksum or the structure inside the archive is wrong, twice.",
    action: "Make a new backup now, restore from another one, and look at the disk that holds it (`smartctl -a`).",
};

/// Clusters are missing.
pub const INCOMPLETE: Code = Code {
    name: "archive-incomplete",
    severity: Error,
    meaning: "The archive is well formed but does not hold all of the disks it names; `vma verify` accepts that.",
    action: "Make a new backup now and read the log of the one that made this archive.",
};

/// Not the recorded bytes.
pub const CHANGED: Code = Code {
    name: "archive-changed",
    severity: Error,
    meaning: "The archive's bytes are not those that an earlier verification recorded; archives never change by themselves.",
    action: "Do not restore from it; put another copy in its place, or remove it and make a new backup.",
};

/// It was bad the last time.
pub const KNOWN_BAD: Code = Code {
    name: "archive-known-bad",
    severity: Error,
    meaning: "The archive was bad the last time it was read to its end; this run did not read it.",
    action: "Make a new backup now and restore from another one; `--deep` reads it again and says what is wrong with it.",
};

/// Twice read, once bad.
pub const UNSTABLE: Code = Code {
    name: "node-unstable",
    severity: Error,
    meaning: "An archive could not be read correctly once and could the second time: memory, cable, controller or disk is failing.",
    action: "Test the memory, look at `dmesg` and `smartctl -a`, and verify again before you rely on this node.",
};

/// Nothing is known about it.
pub const NOT_CHECKED: Code = Code {
    name: "archive-not-checked",
    severity: Error,
    meaning: "The archive was to be read and could not be: nothing is known about it.",
    action: "Do what the message says, then verify again.",
};

/// Nobody will know of this reading.
pub const NOT_RECORDED: Code = Code {
    name: "ledger-not-written",
    severity: Error,
    meaning: "What was just found could not be recorded, so a later run knows nothing of it.",
    action: "See what the message says about the state folder on this machine (space, permissions), then verify again.",
};

/// It was not its turn.
pub const NOT_READ: Code = Code {
    name: "archive-not-read",
    severity: Note,
    meaning: "The archive was not read this time: the time was over, or it was removed meanwhile.",
    action: "Nothing; the next run begins with what was verified longest ago.",
};
