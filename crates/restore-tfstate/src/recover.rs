//! Runs that were cut off: found by their journals, carried on or taken back.

use restore_common::{
    procedure::{
        Failure, History, Open, Past, Plan, Problem, Recovery, Report, Session, carry_on as engine, history,
        refuse,
    },
    remote::Host,
    ui::sanitize,
};
use serde_json::Value;

use crate::{
    fallback::{self, Fallback},
    home::{self, Home},
    imports::{self, Imports, Writing},
    restore::{self, Restoration},
    site::Site,
    steps,
    work::{Context, Work},
};

/// What earlier runs on the same state left.
pub fn find(site: &Site, session: &Session<'_>) -> anyhow::Result<History> {
    let dir = site.dir.to_string_lossy();
    let concerns = |begun: &restore_common::procedure::Begun| begun.work["dir"].as_str() == Some(&dir);
    Ok(history(&session.journals, &session.journal_name, &concerns)?)
}

/// Why new work does not begin: another run is at it, or was cut off.
pub fn problem(session: &Session<'_>, open: &Open) -> Problem {
    let past = match open {
        Open::Busy(begun) => {
            return Problem::new(format!("another run works on this state: {}", sanitize(&begun.owner)))
                .hint("wait for it, or stop it with Ctrl-C where it runs");
        }
        Open::Cut(past) => past,
    };
    let (again, begun) = (&session.again, past.begun());
    let place = match past.stopped_at() {
        Some((number, title)) => format!("in step {number} of {}: {title}", begun.steps.len()),
        None => "before its first step".to_owned(),
    };
    let owner = sanitize(&begun.owner);
    let title = &begun.title;
    if past.last_end().is_some() {
        let problem = Problem::new(format!(
            "the last run ({title}; {owner}) could not put everything back; it had failed {place}"
        ));
        return problem.hint(format!(
            "`{again} --rollback` tries it again; to begin anew instead, remove `{}`",
            past.path().display()
        ));
    }
    let problem = Problem::new(format!("an earlier run ({title}; {owner}) was cut off {place}"));
    let back = format!("`{again} --rollback` puts things back as they were");
    problem.hint(if past.turned_back() {
        format!("it was on its way back: {back}")
    } else {
        format!("`{again} --resume` goes on there, {back}")
    })
}

/// Goes on with the run that was cut off, or takes it back.
pub fn carry_on(
    site: &Site,
    host: &dyn Host,
    session: &Session<'_>,
    how: Recovery,
    open: Option<Open>,
    title: &str,
) -> anyhow::Result<Report> {
    let past = match open {
        Some(Open::Cut(past)) => past,
        Some(busy) => return Ok(refuse(session, title, vec![problem(session, &busy)], None)),
        None => {
            let problem = Problem::new("no run on this state was cut off, so there is nothing to go on with");
            return Ok(refuse(
                session,
                title,
                vec![problem.hint(format!("`{} --list` shows the state's versions", session.again))],
                None,
            ));
        }
    };
    if how == Recovery::Resume && past.turned_back() {
        let problem = Problem::new("that run was on its way back already, so it cannot go on");
        let hint = format!("`{} --rollback` puts things back as they were", session.again);
        return Ok(refuse(session, title, vec![problem.hint(hint)], None));
    }
    let work = past.begun().work.clone();
    match work["mode"].as_str() {
        Some(Restoration::MODE) => go_on::<Restoration>(site, host, session, &past, how, &work, |what| {
            restore::plan(site, what, None)
        }),
        Some(Fallback::MODE) => {
            go_on::<Fallback>(site, host, session, &past, how, &work, |what| fallback::plan(site, what))
        }
        Some(Home::MODE) => {
            go_on::<Home>(site, host, session, &past, how, &work, |what| home::plan(site, what))
        }
        Some(imports::MODE) => {
            let what: Imports =
                serde_json::from_value(work["what"].clone()).map_err(|error| unreadable(&past, error))?;
            let plan = imports::plan(site, &what);
            Ok(engine(session, &past, how, plan, &mut Writing { host, site, what }))
        }
        _ => Err(unreadable(&past, serde::de::Error::custom("unknown work"))),
    }
}

fn go_on<'a, W: Work + 'a>(
    site: &'a Site,
    host: &'a dyn Host,
    session: &Session<'_>,
    past: &Past,
    how: Recovery,
    work: &Value,
    plan: impl Fn(&W) -> Plan<Context<'a, W>>,
) -> anyhow::Result<Report> {
    let what = W::deserialize(&work["what"]).map_err(|error| unreadable(past, error))?;
    let plan = plan(&what);
    let mut context =
        Context::from_journal(host, site, work, past.found()).map_err(|error| unreadable(past, error))?;
    let report = engine(session, past, how, plan, &mut context);
    let_go(&mut context);
    Ok(report)
}

/// Gives a lock back that is still held at the end of a run: the step that should have done so was not reached, or failed.
pub fn let_go<W: Work>(context: &mut Context<'_, W>) {
    if !context.found.holds_lock {
        return;
    }
    if let Err(error) = steps::give_back_lock(context) {
        log::error!("{error:#}");
    }
}

fn unreadable(past: &Past, error: serde_json::Error) -> anyhow::Error {
    let failure = Failure::new(format!(
        "the journal `{}` was written by another version ({})",
        past.path().display(),
        past.begun().version
    ));
    failure.hint("use that version to go on with it").because(error).into()
}
