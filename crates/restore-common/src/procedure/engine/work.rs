//! The steps of a run, forwards and back.

use std::time::{Duration, Instant};

use super::{Session, UNTOUCHED};
use crate::{
    procedure::{
        Check, CheckResult, CheckStatus, CutOff, Exit, Failure, Interrupted, Journal, OnFailure, Past, Plan,
        Report, Run, Step, StepStatus, Undo, Workplace, failure::is_out_of_reach, journal::Event,
        past::PastStep, report::ReportedError,
    },
    remote::Effect,
};

/// Whether one of these steps has something to take back.
fn is_touched<C>(steps: &[Step<C>]) -> bool {
    steps.iter().any(|step| step.effect > Effect::Read && !matches!(step.undo, Undo::NotNeeded(_)))
}

pub(super) fn is_interruption(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Interrupted>().is_some()
}

/// The work of one run, step by step.
pub(super) struct Work<'a> {
    pub(super) run: Run<'a>,
    pub(super) journal: &'a Journal,
    pub(super) session: &'a Session<'a>,
    pub(super) report: Report,
    /// The run is not over: the node is out of reach, and what was begun there may go on.
    pub(super) open: bool,
}

impl Work<'_> {
    pub(super) fn carry_out<C: Workplace>(&mut self, plan: Plan<C>, context: &mut C, past: Option<&Past>) {
        let total = plan.steps.len();
        for (index, step) in plan.steps.iter().enumerate() {
            let before = past.and_then(|past| past.step(step.id));
            if let Some(before) = before.filter(|before| before.done) {
                self.skip(index, total, step, before);
                continue;
            }
            self.run.enter(step.id, before.map(|before| before.jobs.as_slice()).unwrap_or_default());
            let Err(error) = self.step(index, total, step, context) else { continue };
            if is_out_of_reach(&error) {
                return self.leave(&error, is_touched(&plan.steps[..=index]));
            }
            // Ctrl-C asks for what was there before, also when the goal is nearly reached.
            if step.on_failure == OnFailure::Keep && !is_interruption(&error) {
                return self.keep(step, &error, &plan.checks);
            }
            return self.roll_back(&plan.steps, index, &error, context, past);
        }
        self.prove(plan.checks, context);
        if self.report.outcome == Exit::Done {
            "done and proven".clone_into(&mut self.report.state);
        }
        self.report.next.extend(plan.next);
        self.report.next.extend(context.next());
    }

    /// The step was done before the run was cut off.
    fn skip<C>(&mut self, index: usize, total: usize, step: &Step<C>, before: &PastStep) {
        let record = &mut self.report.steps[index];
        record.status = StepStatus::Done;
        record.note.clone_from(&before.note);
        self.session.reporter.step(index + 1, total, &step.title);
        self.session.reporter.note("done before it was cut off");
    }

    /// Takes back what a run did that was cut off.
    pub(super) fn take_back<C: Workplace>(&mut self, plan: &Plan<C>, context: &mut C, past: &Past) {
        self.run.turn_back();
        let begun = |step: &Step<C>| past.step(step.id).is_some();
        let Some(last) = plan.steps.iter().rposition(begun) else {
            return self.finish(Exit::NothingChanged, "nothing had been changed");
        };
        let (step, before) = (&plan.steps[last], past.step(plan.steps[last].id));
        let unsettled = before.filter(|before| !before.done && !past.turned_back());
        if let Some(before) = unsettled {
            // How it ends says how far it had come; that it fails is expected.
            self.run.settle(step.id, &before.jobs);
            let settled = (step.run)(context, &self.run);
            let found = context.found();
            let error = settled.err().unwrap_or_else(|| CutOff.into());
            if is_out_of_reach(&error) {
                return self.leave(&error, true);
            }
            let logged =
                self.journal.write(Event::Failed { id: step.id.to_owned(), error: error.to_string(), found });
            if let Err(error) = logged {
                self.report.undo_errors.push(ReportedError::new(&error.into()));
            }
        }
        for (record, step) in self.report.steps.iter_mut().zip(&plan.steps) {
            if let Some(before) = past.step(step.id) {
                record.status = if before.done { StepStatus::Done } else { StepStatus::Failed };
                record.note.clone_from(&before.note);
            }
        }
        let title = &step.title;
        let error = Failure::new(format!("the run was cut off at `{title}`"));
        self.go_back(&plan.steps, last, &error.into(), context, Some(past));
    }

    fn step<C: Workplace>(
        &mut self,
        index: usize,
        total: usize,
        step: &Step<C>,
        context: &mut C,
    ) -> anyhow::Result<()> {
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
                let (id, found) = (step.id.to_owned(), context.found());
                self.journal.write(Event::Done { id, note, found }).map_err(Into::into)
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
        Ok(self.journal.write(Event::Step { id: step.id.to_owned(), commands })?)
    }

    /// The node is out of reach. What was begun there goes on; a later run carries this one on.
    fn leave(&mut self, error: &anyhow::Error, is_touched: bool) {
        self.open = true;
        self.report.error = Some(ReportedError::new(error));
        if is_touched {
            self.finish(
                Exit::ActNeeded,
                "cut off: the node is out of reach, and what was begun there may go on",
            );
        } else {
            self.finish(Exit::NothingChanged, "nothing was changed; the node is out of reach");
        }
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

    pub(super) fn finish(&mut self, outcome: Exit, state: &str) {
        self.report.outcome = outcome;
        self.report.exit = outcome.code();
        state.clone_into(&mut self.report.state);
    }

    /// A step failed: it and those before it are taken back.
    fn roll_back<C: Workplace>(
        &mut self,
        steps: &[Step<C>],
        failed: usize,
        error: &anyhow::Error,
        context: &mut C,
        past: Option<&Past>,
    ) {
        let (id, found) = (steps[failed].id.to_owned(), context.found());
        if let Err(error) = self.journal.write(Event::Failed { id, error: error.to_string(), found }) {
            self.report.undo_errors.push(ReportedError::new(&error.into()));
        }
        self.go_back(steps, failed, error, context, past);
    }

    fn go_back<C: Workplace>(
        &mut self,
        steps: &[Step<C>],
        failed: usize,
        error: &anyhow::Error,
        context: &mut C,
        past: Option<&Past>,
    ) {
        let interrupted = is_interruption(error);
        self.report.error = Some(ReportedError::new(error));
        if !is_touched(&steps[..=failed]) {
            let outcome = if interrupted { Exit::Interrupted } else { Exit::NothingChanged };
            return self.finish(outcome, UNTOUCHED);
        }
        self.session.reporter.rolling_back();
        self.run.turn_back();
        for index in (0..=failed).rev() {
            let before = past.and_then(|past| past.step(steps[index].id));
            if before.is_some_and(|before| before.undone) {
                self.report.steps[index].status = StepStatus::Undone;
                continue;
            }
            let known = before.map(|before| before.jobs.as_slice()).unwrap_or_default();
            self.run.enter(&format!("undo-{}", steps[index].id), known);
            if let Err(error) = self.undo(&steps[index], index, context) {
                if is_out_of_reach(&error) {
                    return self.leave(&error, true);
                }
                self.report.undo_errors.push(ReportedError::new(&error));
            }
        }
        if !self.report.undo_errors.is_empty() {
            return self
                .finish(Exit::ActNeeded, "failed, and not everything could be put back: you must act");
        }
        let outcome = if interrupted { Exit::Interrupted } else { Exit::RolledBack };
        self.finish(outcome, "rolled back: everything is as it was before");
    }

    fn undo<C>(&mut self, step: &Step<C>, index: usize, context: &mut C) -> anyhow::Result<()> {
        let (says, run) = match &step.undo {
            Undo::NotNeeded(_) => return Ok(()),
            Undo::Impossible(reason) => {
                self.report.steps[index].status = StepStatus::UndoFailed;
                return Err(anyhow::anyhow!("`{}` cannot be taken back: {reason}", step.title));
            }
            Undo::By { says, run } => (says, run),
        };
        self.session.reporter.undo(says);
        let started = Instant::now();
        let id = step.id.to_owned();
        let logged = self.journal.write(Event::Undo { id: id.clone() });
        let result = run(context, &self.run).and_then(|note| Ok(logged.map(|()| note)?));
        let (status, event) = match &result {
            Ok(_) => (StepStatus::Undone, Event::Undone { id }),
            Err(error) => (StepStatus::UndoFailed, Event::UndoFailed { id, error: error.to_string() }),
        };
        self.report.steps[index].status = status;
        let result = result.and_then(|note| Ok(self.journal.write(event).map(|()| note)?));
        match &result {
            Ok(note) => self.session.reporter.step_done(note.as_deref(), started.elapsed()),
            Err(error) => self.session.reporter.step_failed(error, started.elapsed()),
        }
        result.map(|_| ())
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
