//! The program: what is wanted, and who does it.

use std::{process::ExitCode, time::Duration};

use restore_common::{
    cli::{self, Program, complain},
    procedure::{Exit, Report, Session, refuse},
};

use crate::{
    Stack,
    args::{Mode, Options},
    proof, rebuild, recover, restore,
    site::{Site, again},
};

/// Runs the program of a stack to its end and gives its exit code.
pub fn run(stack: &dyn Stack, options: &Options) -> ExitCode {
    if let Some(option) = options.misplaced() {
        complain(&format!("`{option}` makes no sense with this `--mode`"));
        return Exit::Usage.into();
    }
    let about = stack.about();
    let title = match options.mode {
        Mode::Restore => about.restoring(),
        Mode::Rebuild => about.rebuilding(),
    };
    let program = Program { name: about.program, version: about.version, title: &title };
    cli::run(program, &options.common, again(about, options), |session| reported(stack, options, session))
}

fn reported(stack: &dyn Stack, options: &Options, session: &mut Session<'_>) -> anyhow::Result<Report> {
    let about = stack.about();
    let site = match Site::find(stack, options)? {
        Ok(site) => site,
        Err(problem) => return Ok(refuse(session, &format!("The {} stack", about.key), vec![problem], None)),
    };
    if options.check_only {
        let wait = options.wait.map_or(proof::ALONE, Duration::from_secs);
        return proof::alone(session, &site, wait);
    }
    session.journal_name = recover::journal_name(about, site.environment.name());
    // What an earlier run left comes first: it goes on, or back, or it keeps this one from beginning.
    let history = recover::find(session)?;
    session.over = history.over;
    if options.resume || options.rollback {
        return recover::go_on(&site, session, history.open);
    }
    if let Some(open) = history.open {
        let problem = recover::problem(options, session, &open)?;
        return Ok(refuse(session, &about.restoring(), vec![problem], None));
    }
    match options.mode {
        Mode::Restore => restore::run(&site, session),
        Mode::Rebuild => rebuild::run(&site, session),
    }
}
