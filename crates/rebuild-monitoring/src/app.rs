//! The program: what is wanted, and who does it.

use std::{cell::RefCell, process::ExitCode, time::Duration};

use restore_common::{
    cli::{complain, journals, print_report},
    interrupt::Interrupt,
    procedure::{Exit, Report, Reporter, Session, TerminalReporter, refuse},
    ui::{self, ProgressMode, Prompt},
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
    let common = &cli.common;
    common.color.apply();
    ui::init_log(ui::level(common.verbose, common.quiet));
    if let Some(option) = cli.misplaced() {
        complain(&format!("`{option}` makes no sense with this `--mode`"));
        return Exit::Usage.into();
    }
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            complain(&format!("cannot listen for Ctrl-C: {error}"));
            return Exit::NothingChanged.into();
        }
    };
    let mode = ProgressMode::choose(common.json, common.quiet);
    let reporter = TerminalReporter::new(mode, common.json || (common.quiet && common.force));
    let mut session = session(cli, &interrupt, &reporter);
    let report = reported(cli, &mut session).unwrap_or_else(|error| {
        let title = if cli.mode == Mode::Rebuild { rebuild::TITLE } else { restore::TITLE };
        refuse(&session, title, Vec::new(), Some(&error))
    });
    print_report(&report, common.json)
}

fn session<'s>(cli: &Cli, interrupt: &'s Interrupt, reporter: &'s dyn Reporter) -> Session<'s> {
    Session {
        program: PROGRAM,
        version: VERSION,
        dry_run: cli.common.dry_run,
        yes: cli.common.force,
        agreed: false,
        journals: journals(),
        journal_name: PROGRAM.to_owned(),
        again: again(cli),
        over: Vec::new(),
        interrupt,
        reporter,
        prompt: RefCell::new(Prompt::new(interrupt.clone())),
    }
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
