//! Runs that were cut off: found by their journals, carried on or taken back.

use restore_common::{
    procedure::{
        Exit, Failure, History, JournalError, Open, Past, Problem, Recovery, Report, Session, carry_on,
        history, refuse,
    },
    pve::Vmid,
    remote::{Host, ReadOnly},
    ui::sanitize,
};
use restore_vm::recover as of_restore;
use serde::Deserialize as _;

use crate::{
    About,
    args::Options,
    rebuild::{self, Rebuild, find_module},
    restore,
    site::Site,
    steps::{Context, FoundOut, MODE},
};

/// The journal's name of a run on the stack of an environment.
pub fn journal_name(about: &About, environment: &str) -> String {
    format!("{}-{}", about.program, restore_common::state::file_name(environment))
}

/// What earlier runs on the same stack left. A rebuild that could not be taken back holds nobody up: the next one goes on
/// from what it has left.
pub fn find(session: &Session<'_>) -> Result<History, JournalError> {
    let mut history = history(&session.journals, &session.journal_name, &|_| true)?;
    let is_spent = |past: &Past| is_rebuild(past) && past.last_end() == Some(Exit::ActNeeded);
    if matches!(&history.open, Some(Open::Cut(past)) if is_spent(past)) {
        history.open = None;
    }
    Ok(history)
}

fn is_rebuild(past: &Past) -> bool {
    past.begun().work["mode"].as_str() == Some(MODE)
}

/// Why a new run does not begin: another one is at work, or was cut off.
pub fn problem(options: &Options, session: &Session<'_>, open: &Open) -> anyhow::Result<Problem> {
    match open {
        Open::Cut(past) if is_rebuild(past) => Ok(cut_off(session, past)),
        _ => of_restore::problem(&options.restore(Vmid::LOWEST), session, open),
    }
}

fn cut_off(session: &Session<'_>, past: &Past) -> Problem {
    let place = match past.stopped_at() {
        Some((number, title)) => format!("in step {number} of {}: {title}", past.begun().steps.len()),
        None => "before its first step".to_owned(),
    };
    let owner = sanitize(&past.begun().owner);
    let problem = Problem::new(format!("an earlier rebuild, {owner}, was cut off {place}"));
    problem.hint(format!(
        "`{again} --resume` goes on there; `{again} --rollback` ends it and says what it has done",
        again = session.again
    ))
}

/// Goes on with the run that was cut off, or takes it back.
pub fn go_on(site: &Site<'_>, session: &Session<'_>, open: Option<Open>) -> anyhow::Result<Report> {
    let (options, about) = (site.options, site.about());
    let past = match open {
        Some(Open::Cut(past)) if is_rebuild(&past) => past,
        None => {
            let problem = Problem::new("no run on this stack was cut off, so there is nothing to go on with");
            let hint = format!("`{} --check-only` looks at its services", session.again);
            return Ok(refuse(session, &about.restoring(), vec![problem.hint(hint)], None));
        }
        other => {
            let args = options.restore(Vmid::LOWEST);
            return of_restore::carry_on_and(&args, session, other, &about.restoring(), &|begun, plan| {
                restore::prove_after_recovery(site, begun, plan)
            });
        }
    };
    let how = if options.resume { Recovery::Resume } else { Recovery::RollBack };
    if how == Recovery::Resume && past.turned_back() {
        let problem = Problem::new("that run was on its way back already, so it cannot go on");
        let hint = format!("`{} --rollback` ends it and says what it has done", session.again);
        return Ok(refuse(session, &about.rebuilding(), vec![problem.hint(hint)], None));
    }
    let unreadable = |error: serde_json::Error| {
        let failure = Failure::new(format!(
            "the journal `{}` was written by another version ({})",
            past.path().display(),
            past.begun().version
        ));
        anyhow::Error::from(failure.hint("use that version to go on with it").because(error))
    };
    let what = Rebuild::deserialize(&past.begun().work["what"]).map_err(unreadable)?;
    let found = if past.found().is_null() {
        FoundOut::default()
    } else {
        FoundOut::deserialize(past.found()).map_err(unreadable)?
    };
    let module = match find_module(site, Some(&what.module))? {
        Ok(module) => module,
        Err(problem) => return Ok(refuse(session, &about.rebuilding(), vec![problem], None)),
    };
    let local = site.local_host()?;
    let read_only = ReadOnly(&local);
    let host: &dyn Host = if session.dry_run { &read_only } else { &local };
    let plan = rebuild::plan(site, &what)?;
    let address = site.services(None)?.address().to_owned();
    let mut context = Context { found, ..Context::new(host, module, address, what) };
    Ok(carry_on(session, &past, how, plan, &mut context))
}
