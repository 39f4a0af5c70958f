//! Runs that were cut off: found by their journals, carried on or taken back.

use std::env;

use restore_common::{
    homelab::Project,
    procedure::{
        Begun, Failure, History, JournalError, Open, Past, Plan, Problem, Recovery, Report, Session,
        carry_on as engine,
    },
    remote::{Ending, Host, JobState, ReadOnly, SshHost},
    ui,
};

use crate::{
    args::Args,
    assignment::{Assignment, Restore},
    plan,
};

/// What earlier runs on the same guest left, as far as it is on a node that this one is about.
pub fn history(args: &Args, session: &Session<'_>) -> Result<History, JournalError> {
    let same = |option: Option<&str>, begun: &Begun, key: &str| {
        option.is_none_or(|wanted| begun.subject[key].as_str().is_none_or(|there| there == wanted))
    };
    let concerns = |begun: &Begun| {
        let env = args.common.env.as_deref();
        (same(env, begun, "environment") || begun.work["reached_by"].as_str() == env)
            && same(args.node.as_ref().map(|node| node.as_str()), begun, "node")
    };
    restore_common::procedure::history(&session.journals, &session.journal_name, &concerns)
}

/// Why a new restore does not begin: another one is at work, or was cut off.
pub fn problem(args: &Args, session: &Session<'_>, open: &Open) -> anyhow::Result<Problem> {
    let past = match open {
        Open::Busy(begun) => return Ok(busy(begun)),
        Open::Cut(past) => past,
    };
    let state = match host_of(args, past).and_then(|(host, _)| working_state(&host, past)) {
        Ok(state) => state,
        Err(error) => format!("; what its work on the node does could not be asked: {error:#}"),
    };
    let (again, begun) = (&session.again, past.begun());
    let place = match past.stopped_at() {
        Some((number, title)) => {
            format!("in step {number} of {}: {title}", begun.steps.len())
        }
        None => "before its first step".to_owned(),
    };
    if past.last_end().is_some() {
        let problem = Problem::new(format!(
            "the last run, {}, could not put everything back; it had failed {place}",
            begun.owner
        ));
        return Ok(problem.hint(format!(
            "`{again} --rollback` tries it again; to begin anew instead, remove `{}`",
            past.path().display()
        )));
    }
    let problem = Problem::new(format!("an earlier run, {}, was cut off {place}{state}", begun.owner));
    let back = format!("`{again} --rollback` puts things back as they were");
    Ok(problem.hint(if past.turned_back() {
        format!("it was on its way back: {back}")
    } else {
        format!("`{again} --resume` goes on there, {back}")
    }))
}

fn busy(begun: &Begun) -> Problem {
    let hint = "wait for it, or stop it with Ctrl-C where it runs";
    Problem::new(format!("another run works on this guest: {}", begun.owner)).hint(hint)
}

/// What the work does that the run had begun last, in words.
fn working_state(host: &dyn Host, past: &Past) -> anyhow::Result<String> {
    let Some(job) = past.last_job() else { return Ok(String::new()) };
    let states = host.job_states(std::slice::from_ref(job))?;
    let program = job.command.split(' ').next().unwrap_or_default();
    Ok(match &states[..] {
        [JobState::Running] => format!("; its `{program}` is still at work on the node"),
        [JobState::Ended(Ending::Exit(0))] => format!("; its `{program}` has ended well on the node"),
        [JobState::Ended(ending)] => format!("; its `{program}` has failed on the node ({ending})"),
        _ => String::new(),
    })
}

/// Goes on with the run that was cut off, or takes it back.
pub fn carry_on(
    args: &Args,
    session: &Session<'_>,
    open: Option<Open>,
    title: &str,
) -> anyhow::Result<Report> {
    carry_on_and(args, session, open, title, &|_, _| Ok(()))
}

/// What another program wants in the plan besides, for a run that had begun with this.
pub type More<'m> = &'m dyn for<'a> Fn(&Begun, &mut Plan<Restore<'a>>) -> anyhow::Result<()>;

/// The same for a program that had more in its plan than the restore.
pub fn carry_on_and(
    args: &Args,
    session: &Session<'_>,
    open: Option<Open>,
    title: &str,
    more: More<'_>,
) -> anyhow::Result<Report> {
    let how = if args.resume { Recovery::Resume } else { Recovery::RollBack };
    let refused = |problem| Ok(restore_common::procedure::refuse(session, title, vec![problem], None));
    let past = match open {
        Some(Open::Cut(past)) => past,
        Some(Open::Busy(begun)) => return refused(busy(&begun)),
        None => {
            let problem = Problem::new("no run of this guest was cut off, so there is nothing to go on with");
            return refused(problem.hint(format!("`{} --list` shows the backups there are", session.again)));
        }
    };
    if how == Recovery::Resume && past.turned_back() {
        let problem = Problem::new("that run was on its way back already, so it cannot go on");
        return refused(
            problem.hint(format!("`{} --rollback` puts things back as they were", session.again)),
        );
    }
    let (host, assignment) = host_of(args, &past)?;
    let read_only = ReadOnly(&host);
    let host: &dyn Host = if session.dry_run { &read_only } else { &host };
    let mut restore =
        Restore::from_journal(host, &past.begun().work, past.found()).map_err(|e| unreadable(&past, e))?;
    let mut plan = plan::build(&assignment, jiff::Timestamp::now().as_second());
    more(past.begun(), &mut plan)?;
    Ok(engine(session, &past, how, plan, &mut restore))
}

/// The node that the run worked on, and what it was to do there.
fn host_of(args: &Args, past: &Past) -> anyhow::Result<(SshHost, Assignment)> {
    let work = past.begun().work.clone();
    let mut assignment: Assignment = serde_json::from_value(work).map_err(|e| unreadable(past, e))?;
    let project =
        Project::find(args.common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
    // The journal leaves them out, since they may hold secrets.
    assignment.proof.own = project.checks(assignment.source).own;
    let environments = project.selected(Some(&assignment.reached_by))?;
    let node = environments.first().ok_or_else(|| {
        Failure::new(format!(
            "the project has no environment `{}` any more",
            ui::sanitize(&assignment.reached_by)
        ))
    })?;
    Ok((args.common.connect(node.node()?)?, assignment))
}

fn unreadable(past: &Past, error: serde_json::Error) -> anyhow::Error {
    let failure = Failure::new(format!(
        "the journal `{}` was written by another version ({})",
        past.path().display(),
        past.begun().version
    ));
    failure.hint("use that version to go on with it").because(error).into()
}
