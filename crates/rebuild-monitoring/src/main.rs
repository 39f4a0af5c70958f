//! Bring the monitoring stack back, and prove every service of it.

use std::process::ExitCode;

use rebuild_monitoring::{app, args::Cli};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Cli>() {
        Ok(cli) => app::run(&cli),
        Err(exit) => exit,
    }
}
