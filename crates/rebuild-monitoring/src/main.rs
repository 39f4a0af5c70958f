//! Bring the monitoring stack back, and prove every service of it.

use std::process::ExitCode;

use rebuild_monitoring::{args::Cli, stack::Monitoring};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Cli>() {
        Ok(cli) => rebuild_stack::run(&Monitoring, &cli.options),
        Err(exit) => exit,
    }
}
