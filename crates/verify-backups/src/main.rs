//! Know that every backup of a Proxmox VE homelab can be restored.

use std::process::ExitCode;

use verify_backups::{app, args::Cli};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Cli>() {
        Ok(cli) => app::run(&cli),
        Err(exit) => exit,
    }
}
