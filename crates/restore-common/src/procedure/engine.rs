//! The one engine that carries out every plan.

use std::{
    cell::RefCell,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Check, CheckResult, CheckStatus, Exit, Interrupted, Journal, OnFailure, Plan, Problem, Question, Report,
    Reporter, Run, Step, StepRecord, StepStatus, Undo, Workplace,
    journal::Event,
    report::{ReportedError, SCHEMA},
    show,
};
use crate::{
    interrupt::Interrupt,
    remote::Effect,
    ui::{Answer, Prompt},
};

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
    /// Folder of the journals.
    pub journals: PathBuf,
    /// Name of this run's journal: `restore-vm-101`.
    pub journal_name: String,
    /// Ctrl-C.
    pub interrupt: &'a Interrupt,
    /// Who shows what happens.
    pub reporter: &'a dyn Reporter,
    /// Who asks.
    pub prompt: RefCell<Prompt>,
}

impl Session<'_> {
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

/// Shows the plan, asks, does, proves, reports.
pub fn carry_out<C: Workplace>(session: &Session<'_>, plan: Plan<C>, context: &mut C) -> Report {
    session.reporter.plan(&show::plan(&plan, session.dry_run));
    let mut report = Report {
        subject: plan.subject.clone(),
        warnings: plan.warnings.clone(),
        steps: plan.steps.iter().map(planned).collect(),
        ..session.report(&plan.title, Exit::Done, UNTOUCHED)
    };
    if session.dry_run {
        "nothing was changed: this was a dry run".clone_into(&mut report.state);
        return report;
    }
    if let Some(outcome) = declined(session, &plan.question, &mut report) {
        return end(report, outcome, UNTOUCHED);
    }
    let journal = match open_journal(session, &plan) {
        Ok(journal) => journal,
        Err(error) => {
            report.error = Some(ReportedError::new(&error));
            return end(report, Exit::NothingChanged, UNTOUCHED);
        }
    };
    let started = Instant::now();
    let mut work = Work {
        run: Run::new(Some(&journal), session.reporter, session.interrupt),
        journal: &journal,
        session,
        report,
    };
    work.carry_out(plan, context);
    let Work { run, mut report, .. } = work;
    let jobs = run.finished_jobs();
    if !jobs.is_empty()
        && let Err(error) = context.host().remove_jobs(&jobs)
    {
        let folders: Vec<_> = jobs.iter().map(|j| j.dir.as_str()).collect();
        report.next.push(format!(
            "the folders {} are left on {} ({error}); remove them by hand",
            folders.join(", "),
            context.host().name()
        ));
    }
    report.kept = context.kept();
    report.seconds = started.elapsed().as_secs_f64();
    if let Err(error) = journal.write(Event::Ended { outcome: report.outcome }) {
        report.next.push(format!("the journal is not complete: {error}"));
    }
    report
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
    if session.yes {
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

fn open_journal<C>(session: &Session<'_>, plan: &Plan<C>) -> anyhow::Result<Journal> {
    let journal = Journal::create(&session.journals, &session.journal_name)?;
    journal.write(Event::Begun {
        program: session.program,
        version: session.version,
        title: &plan.title,
        subject: &plan.subject,
        pid: std::process::id(),
    })?;
    Ok(journal)
}

fn is_interruption(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Interrupted>().is_some()
}

struct Work<'a> {
    run: Run<'a>,
    journal: &'a Journal,
    session: &'a Session<'a>,
    report: Report,
}

impl Work<'_> {
    fn carry_out<C: Workplace>(&mut self, plan: Plan<C>, context: &mut C) {
        let total = plan.steps.len();
        for (index, step) in plan.steps.iter().enumerate() {
            let Err(error) = self.step(index, total, step, context) else { continue };
            // Ctrl-C asks for what was there before, also when the goal is nearly reached.
            if step.on_failure == OnFailure::Keep && !is_interruption(&error) {
                return self.keep(step, &error, &plan.checks);
            }
            return self.roll_back(&plan.steps, index, &error, context);
        }
        self.prove(plan.checks, context);
        if self.report.outcome == Exit::Done {
            "done and proven".clone_into(&mut self.report.state);
        }
        self.report.next.extend(plan.next);
    }

    fn step<C>(&mut self, index: usize, total: usize, step: &Step<C>, context: &mut C) -> anyhow::Result<()> {
        self.session.reporter.step(index + 1, total, &step.title);
        let started = Instant::now();
        let result = self.begin(step).and_then(|()| (step.run)(context, &self.run));
        let record = &mut self.report.steps[index];
        record.seconds = Some(started.elapsed().as_secs_f64());
        match result {
            Ok(note) => {
                record.status = StepStatus::Done;
                record.note.clone_from(&note);
                self.session.reporter.step_done(note.as_deref(), started.elapsed());
                self.journal.write(Event::Done { id: step.id, note: note.as_deref() }).map_err(Into::into)
            }
            Err(error) => {
                record.status = StepStatus::Failed;
                record.note = Some(error.to_string());
                self.session.reporter.step_failed(&error, started.elapsed());
                Err(error)
            }
        }
    }

    fn begin<C>(&self, step: &Step<C>) -> anyhow::Result<()> {
        self.run.safe_point()?;
        let commands = step.commands.iter().map(ToString::to_string).collect();
        Ok(self.journal.write(Event::Step { id: step.id, commands })?)
    }

    /// The work is done and stays, but a step after it failed.
    fn keep<C>(&mut self, step: &Step<C>, error: &anyhow::Error, checks: &[Check<C>]) {
        let seconds = 0.0;
        self.report.checks.push(CheckResult {
            id: step.id.to_owned(),
            title: step.title.clone(),
            status: CheckStatus::Failed,
            saw: format!("{error:#}"),
            seconds,
        });
        self.report.checks.extend(checks.iter().map(|check| CheckResult {
            id: check.id.to_owned(),
            title: check.title.clone(),
            status: CheckStatus::Skipped,
            saw: "not looked at, because a step before it failed".to_owned(),
            seconds,
        }));
        self.report.error = Some(ReportedError::new(error));
        self.finish(Exit::CheckFailed, "done, but a step afterwards failed; what was restored is kept");
    }

    fn finish(&mut self, outcome: Exit, state: &str) {
        self.report.outcome = outcome;
        self.report.exit = outcome.code();
        state.clone_into(&mut self.report.state);
    }

    fn roll_back<C>(&mut self, steps: &[Step<C>], failed: usize, error: &anyhow::Error, context: &mut C) {
        let interrupted = is_interruption(error);
        self.report.error = Some(ReportedError::new(error));
        let logged = self.journal.write(Event::Failed { id: steps[failed].id, error: error.to_string() });
        let touched =
            steps[..=failed].iter().any(|s| s.effect > Effect::Read && !matches!(s.undo, Undo::NotNeeded(_)));
        if !touched {
            let outcome = if interrupted { Exit::Interrupted } else { Exit::NothingChanged };
            return self.finish(outcome, UNTOUCHED);
        }
        self.session.reporter.rolling_back();
        self.run.turn_back();
        for index in (0..=failed).rev() {
            self.undo(&steps[index], index, context);
        }
        if let Err(error) = logged {
            self.report.undo_errors.push(ReportedError::new(&error.into()));
        }
        if !self.report.undo_errors.is_empty() {
            return self
                .finish(Exit::ActNeeded, "failed, and not everything could be put back: you must act");
        }
        let outcome = if interrupted { Exit::Interrupted } else { Exit::RolledBack };
        self.finish(outcome, "rolled back: the guest is as it was before");
    }

    fn undo<C>(&mut self, step: &Step<C>, index: usize, context: &mut C) {
        let (says, run) = match &step.undo {
            Undo::NotNeeded(_) => return,
            Undo::Impossible(reason) => {
                self.report.steps[index].status = StepStatus::UndoFailed;
                let error = anyhow::anyhow!("`{}` cannot be taken back: {reason}", step.title);
                self.report.undo_errors.push(ReportedError::new(&error));
                return;
            }
            Undo::By { says, run } => (says, run),
        };
        self.session.reporter.undo(says);
        let started = Instant::now();
        let logged = self.journal.write(Event::Undo { id: step.id });
        let result = run(context, &self.run).and_then(|note| Ok(logged.map(|()| note)?));
        let (status, event) = match &result {
            Ok(_) => (StepStatus::Undone, Event::Undone { id: step.id }),
            Err(error) => {
                (StepStatus::UndoFailed, Event::UndoFailed { id: step.id, error: error.to_string() })
            }
        };
        self.report.steps[index].status = status;
        let result = result.and_then(|note| Ok(self.journal.write(event).map(|()| note)?));
        match result {
            Ok(note) => self.session.reporter.step_done(note.as_deref(), started.elapsed()),
            Err(error) => {
                self.session.reporter.step_failed(&error, started.elapsed());
                self.report.undo_errors.push(ReportedError::new(&error));
            }
        }
    }

    fn prove<C>(&mut self, checks: Vec<Check<C>>, context: &mut C) {
        for check in checks {
            let result = self.check(&check, context);
            self.session.reporter.check(&result);
            self.report.checks.push(result);
        }
        let failed = |c: &CheckResult| c.status == CheckStatus::Failed;
        if self.report.checks.iter().any(failed) {
            self.finish(Exit::CheckFailed, "done, but a check afterwards failed; what was restored is kept");
        }
    }

    fn check<C>(&self, check: &Check<C>, context: &mut C) -> CheckResult {
        self.session.reporter.checking(&check.title);
        let started = Instant::now();
        let (status, saw) = match self.run.safe_point() {
            Err(Interrupted) => (CheckStatus::Failed, "interrupted before it was looked at".to_owned()),
            Ok(()) => {
                (check.run)(context, &self.run).unwrap_or_else(|e| (CheckStatus::Failed, format!("{e:#}")))
            }
        };
        let seconds = rounded(started.elapsed());
        CheckResult { id: check.id.to_owned(), title: check.title.clone(), status, saw, seconds }
    }
}

fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
