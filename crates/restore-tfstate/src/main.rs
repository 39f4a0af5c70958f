//! Terraform state from a versioned bucket: earlier versions, work without the server, and the way back.

use std::process::ExitCode;

use restore_tfstate::{app, args::Cli};

fn main() -> ExitCode {
    match restore_common::cli::parse::<Cli>() {
        Ok(cli) => app::run(&cli),
        Err(exit) => exit,
    }
}
