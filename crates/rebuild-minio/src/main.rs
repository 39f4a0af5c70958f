//! The S3 server that holds Terraform's states, from gone or broken to every backend working.

use std::process::ExitCode;

use rebuild_minio::{app, args::Cli};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Cli>() {
        Ok(cli) => app::run(&cli),
        Err(exit) => exit,
    }
}
