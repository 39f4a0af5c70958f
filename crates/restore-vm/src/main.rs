//! Restore a Proxmox VM or container from its vzdump backup, and prove it.

use std::process::ExitCode;

use restore_vm::{app, args::Cli};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Cli>() {
        Ok(cli) => app::run(&cli),
        Err(exit) => exit,
    }
}
