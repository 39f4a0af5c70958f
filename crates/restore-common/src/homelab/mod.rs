//! What we know of the operator's infrastructure, from the files of the Terraform project.
//!
//! A [`Project`] has [`Environment`]s: the folders below `infrastructure/proxmox/environments`. Each is read from its
//! `terraform.tfvars` and then its `*.auto.tfvars`, with a parser of the language; the later file wins, as in
//! Terraform. Values are data: they come out as they stand in the files, and whoever shows one makes it harmless first.
//!
//! # `restore.toml`
//!
//! An optional file at the project's root says what the tfvars do not, or says it otherwise. All keys are optional. What they
//! mean stands at their fields in `overrides.rs` and `check.rs`; the reference in `docs/BACKUP-RESTORE.md` is made from there.

mod backend;
mod check;
mod environment;
mod error;
mod modules;
mod overrides;
mod project;
mod requirements;
mod store;
#[cfg(test)]
mod tests;
mod tfvars;
mod value;

pub use backend::{Backend, OVERRIDE, S3Backend};
pub use check::{ADDRESS, Asks, AsksHttp, OwnCheck};
pub use environment::{DeclaredGuest, DeclaredStack, Environment, MONITORING_VM, Minio, Monitoring, NodeRef};
pub use error::HomelabError;
pub use modules::{Module, ModuleCall, module_calls, provisioned};
#[cfg(feature = "schema")]
pub use overrides::schema;
pub use overrides::{Drill, GuestOverride, MonitoringOverride, Prove};
pub use project::{GuestChecks, Project};
pub use requirements::Requirements;
pub use store::{StateStore, Variables};

/// Where a project keeps its environments.
const ENVIRONMENTS: &str = "infrastructure/proxmox/environments";

/// The file that overrides the tfvars.
const OVERRIDES: &str = "restore.toml";
