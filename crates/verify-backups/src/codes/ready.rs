//! What would be missing in a disaster.

use crate::finding::{
    Code,
    Severity::{Error, Warning},
};

/// All of them.
pub const ALL: &[&Code] = &[
    &TFVARS,
    &SSH_KEY,
    &KNOWN_HOST,
    &STORAGE,
    &STATE_COPY,
    &STATE_OLD,
    &TERRAFORM,
    &PROVIDER,
    &MINIO,
    &PROGRAM,
    &NOT_ASKED,
];

/// A file that does not parse.
pub const TFVARS: Code = Code {
    name: "ready-tfvars",
    severity: Error,
    meaning: "A file of the project cannot be read, so no program knows what stands in it.",
    action: "Correct it at the place that the words name.",
};

/// No key.
pub const SSH_KEY: Code = Code {
    name: "ready-ssh-key",
    severity: Error,
    meaning: "No SSH key that the node accepts is at hand.",
    action: "Name one with `--identity`, give it to the agent, or add yours to root's authorized_keys on the node.",
};

/// No host key.
pub const KNOWN_HOST: Code = Code {
    name: "ready-known-host",
    severity: Error,
    meaning: "The node's host key is not the known one, or none is known: no program will connect to it.",
    action: "Compare the fingerprint on the node's console, then run once with `--accept-new-host-key`.",
};

/// No backups.
pub const STORAGE: Code = Code {
    name: "ready-storage",
    severity: Error,
    meaning: "A storage with the guests' backups cannot be read by its node, or there is none.",
    action: "Bring its server, disk or mount back, or enable it.",
};

/// No copy.
pub const STATE_COPY: Code = Code {
    name: "ready-state-copy",
    severity: Error,
    meaning: "This machine has no copy of a Terraform state: without its server nothing can be planned.",
    action: "Run `restore-tfstate --pull --all` while the server answers.",
};

/// An old copy.
pub const STATE_OLD: Code = Code {
    name: "ready-state-old",
    severity: Warning,
    meaning: "The copy of a Terraform state on this machine is not the current state.",
    action: "Run `restore-tfstate --pull --all`, and let `verify-backups` run every day: it keeps the copies fresh.",
};

/// No Terraform.
pub const TERRAFORM: Code = Code {
    name: "ready-terraform",
    severity: Error,
    meaning: "There is no Terraform or OpenTofu here of a version that the configuration accepts.",
    action: "Install one, or name it with `TF_BIN`.",
};

/// A provider would have to be fetched.
pub const PROVIDER: Code = Code {
    name: "ready-provider",
    severity: Warning,
    meaning: "A provider that the configuration needs is not kept here: `terraform init` would have to fetch it.",
    action: "Run `terraform init` now, or keep it with `terraform providers mirror`.",
};

/// Nothing to install from.
pub const MINIO: Code = Code {
    name: "ready-minio-source",
    severity: Warning,
    meaning: "What the module installs the S3 server from is gone, so it cannot be made anew.",
    action: "Keep a backup of its container, which has the program in it, and let the module install from a copy of your own.",
};

/// A program is missing.
pub const PROGRAM: Code = Code {
    name: "ready-program",
    severity: Warning,
    meaning: "A program of this collection is not here, or of another version.",
    action: "Install all of them from one release.",
};

/// Nobody answered.
pub const NOT_ASKED: Code = Code {
    name: "ready-not-asked",
    severity: Error,
    meaning: "It could not be asked now, so it is not known whether it is ready.",
    action: "Run it again when it can be reached.",
};
