//! Findings about Terraform's states.

use crate::finding::{
    Code,
    Severity::{Error, Note, Warning},
};

/// All of them.
pub const ALL: &[&Code] = &[
    &COULD_NOT_CHECK,
    &NOT_IN_S3,
    &NONE,
    &DELETED,
    &UNUSABLE,
    &EMPTY,
    &NOT_JSON,
    &NOT_A_STATE,
    &FORMAT,
    &TAG,
    &LINEAGE,
    &SERIAL,
    &UNREAD,
    &UNVERSIONED,
    &LOCKED,
    &NOT_KEPT,
];

/// The server did not answer as it should.
pub const COULD_NOT_CHECK: Code = Code {
    name: "state-could-not-check",
    severity: Error,
    meaning: "Whether the state is there could not be asked.",
    action: "Do what the words say and run it again; `restore-tfstate --fallback` works without the server.",
};

/// No S3 backend.
pub const NOT_IN_S3: Code = Code {
    name: "state-elsewhere",
    severity: Note,
    meaning: "The environment keeps its state elsewhere, so no version of it was checked.",
    action: "Put the state into a bucket with versions if it is to be restorable.",
};

/// A bucket without the state.
pub const NONE: Code = Code {
    name: "state-none",
    severity: Warning,
    meaning: "There is no state in the bucket.",
    action: "Fine when nothing was ever applied; else put a copy back with `restore-tfstate --return` or from the cache.",
};

/// The current version is a delete marker.
pub const DELETED: Code = Code {
    name: "state-deleted",
    severity: Error,
    meaning: "The state was deleted; earlier versions of it are still there.",
    action: "`restore-tfstate --env ENV --restore previous` makes the last one current again.",
};

/// The current version is none that Terraform could use.
pub const UNUSABLE: Code = Code {
    name: "state-unusable",
    severity: Error,
    meaning: "The current version is no state that Terraform can read.",
    action: "`restore-tfstate --env ENV --list` shows the good ones, `--restore` makes one of them current.",
};

/// A version without content.
pub const EMPTY: Code = Code {
    name: "state-empty",
    severity: Warning,
    meaning: "A version has no content.",
    action: "It cannot be restored; take the one before or after it.",
};

/// A version that is not JSON.
pub const NOT_JSON: Code = Code {
    name: "state-not-json",
    severity: Warning,
    meaning: "A version is not JSON.",
    action: "It cannot be restored; take the one before or after it, and look at what else writes to the bucket.",
};

/// JSON, but no state.
pub const NOT_A_STATE: Code = Code {
    name: "state-not-a-state",
    severity: Warning,
    meaning: "A version is JSON but not a Terraform state.",
    action: "It cannot be restored; take the one before or after it, and look at what else writes to the bucket.",
};

/// An old or unknown format.
pub const FORMAT: Code = Code {
    name: "state-format",
    severity: Warning,
    meaning: "A version has another format than Terraform writes since 0.12.",
    action: "It cannot be restored by these tools; an old Terraform may still read it.",
};

/// Content and entity tag differ.
pub const TAG: Code = Code {
    name: "state-damaged",
    severity: Error,
    meaning: "The server gives other bytes than were written: they do not fit their checksum.",
    action: "Look at the server's disk, and take a sound version with `restore-tfstate --restore`.",
};

/// A version of another state.
pub const LINEAGE: Code = Code {
    name: "state-lineage",
    severity: Warning,
    meaning: "A version has another lineage than the current one: it is the history of another state.",
    action: "Find out which of the two describes what is really there before restoring either.",
};

/// A serial that does not rise.
pub const SERIAL: Code = Code {
    name: "state-serial",
    severity: Warning,
    meaning: "A version has no higher serial than the one before it: somebody wrote past Terraform.",
    action: "Compare both with `restore-tfstate --env ENV --diff V W`.",
};

/// A version that is listed and cannot be read.
pub const UNREAD: Code = Code {
    name: "state-unread",
    severity: Error,
    meaning: "A version is listed but cannot be read.",
    action: "Run it again; if it stays, the server's log and disk say more.",
};

/// No versioning.
pub const UNVERSIONED: Code = Code {
    name: "state-unversioned",
    severity: Error,
    meaning: "The bucket keeps no versions: the next write replaces the only state there is.",
    action: "Switch versioning on (`mc version enable`, or the server's console).",
};

/// A lock that nobody holds that long.
pub const LOCKED: Code = Code {
    name: "state-locked",
    severity: Warning,
    meaning: "The state has been locked for longer than any apply takes.",
    action: "Look whether that program still runs; else `terraform force-unlock` with the id in the words.",
};

/// The copy here could not be written.
pub const NOT_KEPT: Code = Code {
    name: "state-not-kept",
    severity: Warning,
    meaning: "The copy of the current state on this machine could not be refreshed.",
    action: "Look at the folder in the words: without that copy nothing works while the server is down.",
};
