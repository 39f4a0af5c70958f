//! Restore a Proxmox VM or container from its vzdump backup, and prove it.

use std::process::ExitCode;

use restore_vm::{app, args::Args};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Args>() {
        Ok(args) => app::run(&args),
        Err(exit) => exit,
    }
}
