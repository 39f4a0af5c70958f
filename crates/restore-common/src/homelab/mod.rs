//! What we know of the operator's infrastructure, from the files of the Terraform project.
//!
//! A [`Project`] has [`Environment`]s: the folders below `infrastructure/proxmox/environments`. Each is read from its
//! `terraform.tfvars` and then its `*.auto.tfvars`, with a parser of the language; the later file wins, as in
//! Terraform. Values are data: they come out as they stand in the files, and whoever shows one makes it harmless first.
//!
//! # `restore.toml`
//!
//! An optional file at the project's root says what the tfvars do not, or says it otherwise. All keys are optional:
//!
//! ```toml
//! # One table an environment: the folder's name, or a new name for an environment without a folder.
//! [environments.prod]
//! address = "192.168.1.100"    # where to reach the node; instead of `proxmox_endpoint`
//! node = "pve-prod"            # its name; instead of `default_node`
//! ssh_user = "root"
//! ssh_port = 22
//! storage = "local"            # where its backups are; instead of `backup.storage`
//! tfvars_dir = "terraform/prod"  # where its tfvars are, from the project's root
//! bucket = "tfstate-prod"      # where its state is; instead of `bucket` of the backend block
//!
//! # One table a guest, by VMID.
//! [guests.101]
//! address = "192.168.1.20"     # where it answers
//! ports = [22, 443]            # what must answer for it to count as restored; [] asks nothing
//! ssh_port = 22                # which of them has to introduce itself as SSH
//! ping = true                  # whether it answers to ping
//! wait = 120                   # seconds that it may take to come up
//!
//! # Checks of the operator's own: one of `port`, `http` and `command` each.
//! [[guests.101.checks]]
//! name = "the shop answers"
//! http = "https://{address}/health"  # {address} stands for the guest's address
//! status = 200                 # without it, any status below 400
//! text = "ok"                  # must be in the body
//! insecure = true              # any certificate will do
//! within = 60                  # seconds; without it, as long as the guest may take to come up
//!
//! # For all guests without a word of their own.
//! [prove]
//! ports = [22]
//! ssh_port = 22
//! ping = true
//! wait = 120
//!
//! # The server that holds Terraform's states.
//! [s3]
//! endpoint = "https://s3.lan:9000"  # instead of that of the backend block
//! ca = "ca.pem"                # certificates to trust in place of the system's; from the project's root
//! ```

mod backend;
mod check;
mod environment;
mod error;
mod overrides;
mod project;
mod store;
#[cfg(test)]
mod tests;
mod tfvars;

pub use backend::{Backend, OVERRIDE, S3Backend};
pub use check::{ADDRESS, Asks, AsksHttp, OwnCheck};
pub use environment::{DeclaredGuest, Environment, Minio, NodeRef};
pub use error::HomelabError;
pub use overrides::{GuestOverride, Prove};
pub use project::{GuestChecks, Project};
pub use store::{StateStore, Variables};

/// Where a project keeps its environments.
const ENVIRONMENTS: &str = "infrastructure/proxmox/environments";

/// The file that overrides the tfvars.
const OVERRIDES: &str = "restore.toml";
