//! Findings about what runs: guests that do not answer, services that are not healthy.

use crate::finding::{
    Code,
    Severity::{Error, Note, Warning},
};

/// It runs and does not answer.
pub const UNREACHABLE: Code = Code {
    name: "guest-unreachable",
    severity: Error,
    meaning: "The guest runs, and does not answer where the project says it should.",
    action: "Look at its console; `restore-vm VMID` brings it back from its backup.",
};
/// It should run.
pub const STOPPED: Code = Code {
    name: "guest-stopped",
    severity: Warning,
    meaning: "The guest is to start with its node, and does not run.",
    action: "Start it, or take `onboot` out of its configuration.",
};
/// Nothing to ask.
pub const NOT_ASKED: Code = Code {
    name: "guest-not-asked",
    severity: Note,
    meaning: "The guest runs, and nothing is known that could be asked: no address, or no port and no ping.",
    action: "Give its address to the project, in the tfvars or under `[guests.VMID]` in restore.toml.",
};

/// A service that does not do what it should.
pub const SERVICE_FAILED: Code = Code {
    name: "service-failed",
    severity: Error,
    meaning: "A service of the homelab is not as it should be.",
    action: "See what it shows; `rebuild-minio` and `rebuild-monitoring` repair or rebuild their service.",
};
/// A part of a service that nobody could look at.
pub const SERVICE_NOT_ASKED: Code = Code {
    name: "service-not-asked",
    severity: Warning,
    meaning: "A part of a service could not be asked, so nothing is known about it.",
    action: "See why; often a password or an address is missing in the tfvars.",
};

/// All of them.
pub const ALL: &[&Code] = &[&UNREACHABLE, &STOPPED, &NOT_ASKED, &SERVICE_FAILED, &SERVICE_NOT_ASKED];
