//! The one engine that carries out every plan.

mod work;

use std::{cell::RefCell, ops::ControlFlow, path::PathBuf, time::Instant};

use super::{
    Begun, CheckResult, CheckStatus, Exit, Failure, Journal, Past, Plan, Problem, Question, Recovery, Report,
    Reporter, Run, Step, StepRecord, StepStatus, Workplace,
    journal::Event,
    owner::owner,
    report::{ReportedError, SCHEMA},
    show,
};
use crate::{
    interrupt::Interrupt,
    remote::{Ending, HELD, Host, Job, JobEnd, RunId, claim_command, claim_path},
    ui::{Answer, Prompt},
};
use work::{Work, is_interruption};

/// Everything about a run that is not the plan: who runs it, how it may ask, where it keeps its journal.
pub struct Session<'a> {
    /// Name of the program.
    pub program: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Show the plan and stop.
    pub dry_run: bool,
    /// Do not ask.
    pub yes: bool,
    /// The plan was shown and agreed to before, together with others.
    pub agreed: bool,
    /// Folder of the journals.
    pub journals: PathBuf,
    /// Name of this run's journal: `restore-vm-101`.
    pub journal_name: String,
    /// How the operator calls the program for the same work again: `restore-vm 101`.
    pub again: String,
    /// Earlier runs that are known to be over: what they claimed on a node is free.
    pub over: Vec<RunId>,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// Who shows what happens.
    pub reporter: &'a dyn Reporter,
    /// Who asks.
    pub prompt: RefCell<Prompt>,
}

impl Session<'_> {
    /// Who runs the program, for others who want to work on the same thing.
    fn owner(&self) -> String {
        owner(self.program)
    }

    fn report(&self, title: &str, outcome: Exit, state: &str) -> Report {
        Report {
            schema: SCHEMA,
            program: self.program.to_owned(),
            version: self.version.to_owned(),
            title: title.to_owned(),
            outcome,
            exit: outcome.code(),
            dry_run: self.dry_run,
            state: state.to_owned(),
            subject: serde_json::Value::Null,
            warnings: Vec::new(),
            problems: Vec::new(),
            steps: Vec::new(),
            checks: Vec::new(),
            error: None,
            undo_errors: Vec::new(),
            kept: Vec::new(),
            next: Vec::new(),
            seconds: 0.0,
        }
    }
}

const UNTOUCHED: &str = "nothing was changed";

/// The report of a run that ended while it looked: an error, or everything that speaks against the work.
pub fn refuse(
    session: &Session<'_>,
    title: &str,
    problems: Vec<Problem>,
    error: Option<&anyhow::Error>,
) -> Report {
    let interrupted = error.is_some_and(is_interruption);
    let outcome = if interrupted { Exit::Interrupted } else { Exit::NothingChanged };
    let error = error.filter(|_| !interrupted).map(ReportedError::new);
    Report { problems, error, ..session.report(title, outcome, UNTOUCHED) }
}

/// The report of a run that found everything as it was asked for; `words` say so.
pub fn settled(session: &Session<'_>, title: &str, words: &str) -> Report {
    session.report(title, Exit::Done, words)
}

/// The report of a run that only looked whether something is as it should be.
pub fn checked(
    session: &Session<'_>,
    title: &str,
    subject: serde_json::Value,
    checks: Vec<CheckResult>,
) -> Report {
    let is_bad = checks.iter().any(|check| check.status == CheckStatus::Failed);
    let (outcome, state) = match is_bad {
        _ if session.interrupt.requested() => (Exit::Interrupted, UNTOUCHED),
        true => (Exit::CheckFailed, "not everything is as it should be; nothing was changed"),
        false => (Exit::Done, "everything is as it should be; nothing was changed"),
    };
    let seconds = checks.iter().map(|check| check.seconds).fold(0.0, f64::max);
    Report { subject, checks, seconds, ..session.report(title, outcome, state) }
}

/// Shows the plan, asks, does, proves, reports.
pub fn carry_out<C: Workplace>(session: &Session<'_>, plan: Plan<C>, context: &mut C) -> Report {
    if !session.agreed {
        session.reporter.plan(&show::plan(&plan, session.dry_run));
    }
    let mut report = first_report(session, &plan);
    if session.dry_run {
        "nothing was changed: this was a dry run".clone_into(&mut report.state);
        return report;
    }
    if let Some(outcome) = declined(session, &plan.question, &mut report) {
        return end(report, outcome, UNTOUCHED);
    }
    let journal = match open_journal(session, &plan, context) {
        Ok(journal) => journal,
        Err(error) => {
            report.error = Some(ReportedError::new(&error));
            return end(report, Exit::NothingChanged, UNTOUCHED);
        }
    };
    let run = Run::new(&journal, session.reporter, session.interrupt, 1);
    work(
        session,
        &journal,
        context,
        Work { run, journal: &journal, session, report, open: false },
        false,
        |work, context| {
            work.carry_out(plan, context, None);
        },
    )
}

/// Goes on with a run that was cut off, or takes back what it did. `plan` is built from its work, `context` knows what it
/// had found out.
pub fn carry_on<C: Workplace>(
    session: &Session<'_>,
    past: &Past,
    how: Recovery,
    plan: Plan<C>,
    context: &mut C,
) -> Report {
    session.reporter.plan(&show::recovery(&plan, past, how, session.dry_run));
    let mut report = first_report(session, &plan);
    if session.dry_run {
        "nothing was changed: this was a dry run".clone_into(&mut report.state);
        return report;
    }
    let question = match how {
        Recovery::Resume => plan.question.clone(),
        Recovery::RollBack => Question::YesNo("Put things back as they were?".to_owned()),
    };
    if let Some(outcome) = declined(session, &question, &mut report) {
        return end(report, outcome, "nothing was changed since it was cut off");
    }
    let journal = &past.journal;
    if let Err(error) = journal.write(Event::CarriedOn { owner: session.owner(), how }) {
        report.error = Some(ReportedError::new(&error.into()));
        return end(report, Exit::NothingChanged, "nothing was changed since it was cut off");
    }
    let run = Run::new(journal, session.reporter, session.interrupt, past.attempt());
    work(
        session,
        journal,
        context,
        Work { run, journal, session, report, open: false },
        true,
        |work, context| match how {
            Recovery::Resume => work.carry_out(plan, context, Some(past)),
            Recovery::RollBack => work.take_back(&plan, context, past),
        },
    )
}

/// Does the work between the claim and its release.
fn work<'a, C: Workplace>(
    session: &Session<'_>,
    journal: &Journal,
    context: &mut C,
    mut work: Work<'a>,
    carried_on: bool,
    act: impl FnOnce(&mut Work<'a>, &mut C),
) -> Report {
    let started = Instant::now();
    let claimed = places(context).iter().try_for_each(|(host, what)| claim(session, journal, *host, what));
    match &claimed {
        Ok(()) => act(&mut work, context),
        Err(error) => {
            // A run that was to be carried on still can be.
            work.open = carried_on;
            work.report.error = Some(ReportedError::new(error));
            work.finish(Exit::NothingChanged, UNTOUCHED);
        }
    }
    let Work { mut report, open, .. } = work;
    report.kept = context.kept();
    report.seconds = started.elapsed().as_secs_f64();
    if open {
        report.next.push(format!("`{} --resume` goes on where it stopped", session.again));
        report.next.push(format!("`{} --rollback` puts things back as they were", session.again));
        return report;
    }
    let run = journal.run();
    for (host, claimed) in places(context) {
        if let Err(error) = host.clear(run) {
            let root = host.root();
            // What the run keeps is in the same folder, and stays.
            report.next.push(format!(
                "what this run noted is left on {}: {error}; remove it with `rm -rf {} {} {}`",
                host.name(),
                run.folder(root, "jobs"),
                run.folder(root, "owner"),
                claim_path(root, &claimed)
            ));
        }
    }
    if report.outcome == Exit::ActNeeded {
        report.next.push(format!("when that is mended, `{} --rollback` tries it again", session.again));
    }
    if let Err(error) = journal.write(Event::Ended { outcome: report.outcome }) {
        report.next.push(format!("the journal is not complete: {error}"));
    }
    report
}

/// Every host that the work happens on, with what is claimed there.
fn places<C: Workplace>(context: &C) -> Vec<(&dyn Host, String)> {
    std::iter::once((context.host(), context.claim())).chain(context.elsewhere()).collect()
}

/// From here on no other program works on the same thing.
fn claim(session: &Session<'_>, journal: &Journal, host: &dyn Host, what: &str) -> anyhow::Result<()> {
    let command = claim_command(host.root(), journal.run(), what, &session.owner(), &session.over);
    // A name of its own each time: an old answer says nothing about who holds the claim by now.
    let name = format!("claim-{}", jiff::Timestamp::now().as_microsecond());
    let job = Job::new(host.root(), journal.run(), &name, &command);
    let end = host.run_job(&job, &command, &mut |_| ControlFlow::Continue(()))?;
    let JobEnd::Finished(output) = end else {
        return Err(Failure::new(format!("cannot claim `{what}` on {}", host.name())).into());
    };
    if output.ending == Ending::Exit(HELD) {
        let holder = crate::ui::sanitize(output.stdout.trim()).into_owned();
        let taken = Failure::new(format!("{what} on {} is being worked on by {holder}", host.name()));
        return Err(taken.hint(format!(
            "wait for it, or go on with it where it was begun; if it will never come back: `rm {}` on the node",
            claim_path(host.root(), what)
        )).into());
    }
    output.stdout_of(host, &command)?;
    Ok(())
}

fn first_report<C>(session: &Session<'_>, plan: &Plan<C>) -> Report {
    Report {
        subject: plan.subject.clone(),
        warnings: plan.warnings.clone(),
        steps: plan.steps.iter().map(planned).collect(),
        ..session.report(&plan.title, Exit::Done, UNTOUCHED)
    }
}

fn end(mut report: Report, outcome: Exit, state: &str) -> Report {
    report.outcome = outcome;
    report.exit = outcome.code();
    state.clone_into(&mut report.state);
    report
}

fn planned<C>(step: &Step<C>) -> StepRecord {
    StepRecord {
        id: step.id,
        title: step.title.clone(),
        effect: step.effect,
        commands: step.commands.iter().map(ToString::to_string).collect(),
        status: StepStatus::Planned,
        seconds: None,
        note: None,
    }
}

/// Asks. `None` is a yes; anything else is how the run ends.
fn declined(session: &Session<'_>, question: &Question, report: &mut Report) -> Option<Exit> {
    if session.yes || session.agreed {
        return None;
    }
    let mut prompt = session.prompt.borrow_mut();
    let answer = match question {
        Question::YesNo(says) => prompt.confirm(says),
        Question::Type { says, word } => prompt.type_word(says, word),
    };
    match answer {
        Answer::Yes => None,
        Answer::Interrupted => Some(Exit::Interrupted),
        Answer::No => {
            report.next.push("declined: run it again when you are ready".to_owned());
            Some(Exit::NothingChanged)
        }
        Answer::Refused => {
            report.problems.push(
                Problem::new("this needs an answer, and standard input is no terminal")
                    .hint("run it on a terminal, or say `--yes` to go ahead without a question"),
            );
            Some(Exit::NothingChanged)
        }
    }
}

fn open_journal<C: Workplace>(session: &Session<'_>, plan: &Plan<C>, context: &C) -> anyhow::Result<Journal> {
    let journal = Journal::create(&session.journals, &session.journal_name)?;
    let begun = journal.write(Event::Begun(Begun {
        program: session.program.to_owned(),
        version: session.version.to_owned(),
        owner: session.owner(),
        title: plan.title.clone(),
        subject: plan.subject.clone(),
        work: context.work(),
        steps: plan.steps.iter().map(|step| (step.id.to_owned(), step.title.clone())).collect(),
    }));
    match begun {
        Ok(()) => Ok(journal),
        Err(error) => {
            journal.discard();
            Err(error.into())
        }
    }
}
