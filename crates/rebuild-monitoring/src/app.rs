//! The program: what is wanted, and who does it.

use std::{process::ExitCode, time::Duration};

use restore_common::{
    cli::{self, Program, complain},
    procedure::{Exit, Report, Session, refuse},
};

use crate::{
    args::{Cli, Mode},
    proof, rebuild, recover, restore,
    site::{Site, again},
};

/// Name of the program.
pub const PROGRAM: &str = "rebuild-monitoring";
/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the program to its end and gives its exit code.
pub fn run(cli: &Cli) -> ExitCode {
    if let Some(option) = cli.misplaced() {
        complain(&format!("`{option}` makes no sense with this `--mode`"));
        return Exit::Usage.into();
    }
    let title = if cli.mode == Mode::Rebuild { rebuild::TITLE } else { restore::TITLE };
    let program = Program { name: PROGRAM, version: VERSION, title };
    cli::run(program, &cli.common, again(cli), |session| reported(cli, session))
}

fn reported(cli: &Cli, session: &mut Session<'_>) -> anyhow::Result<Report> {
    let site = match Site::find(cli)? {
        Ok(site) => site,
        Err(problem) => return Ok(refuse(session, "The monitoring stack", vec![problem], None)),
    };
    if cli.check_only {
        let stack = site.stack(cli, None)?;
        let wait = cli.wait.map_or(proof::ALONE, Duration::from_secs);
        return Ok(proof::alone(session, &stack, wait));
    }
    session.journal_name = recover::journal_name(site.environment.name());
    // What an earlier run left comes first: it goes on, or back, or it keeps this one from beginning.
    let history = recover::find(session)?;
    session.over = history.over;
    if cli.resume || cli.rollback {
        return recover::go_on(cli, &site, session, history.open);
    }
    if let Some(open) = history.open {
        let problem = recover::problem(cli, session, &open)?;
        return Ok(refuse(session, restore::TITLE, vec![problem], None));
    }
    match cli.mode {
        Mode::Restore => restore::run(cli, &site, session),
        Mode::Rebuild => rebuild::run(cli, &site, session),
    }
}
