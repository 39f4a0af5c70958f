//! The plan of another program as a part of this one: its steps as they are, in one journal, with one way back.

use restore_common::procedure::{Check, Failure, OnFailure, Plan, Run, Step, Undo};

use crate::work::Ctx;

/// The steps and checks of another program, and what they work on.
pub struct Part<W> {
    /// What they work on.
    pub work: W,
    steps: Vec<Step<W>>,
    checks: Vec<Check<W>>,
}

type Said = anyhow::Result<Option<String>>;

impl<W> Part<W> {
    /// Of a plan.
    pub fn new(plan: Plan<W>, work: W) -> Self {
        Self { work, steps: plan.steps, checks: plan.checks }
    }

    /// Its steps, as those of this program: `run` and `undo` find the part, and call [`Part::run`] and [`Part::undo`].
    pub fn steps<'a>(
        &self,
        run: fn(&mut Ctx<'a>, &Run<'_>) -> Said,
        undo: fn(&mut Ctx<'a>, &Run<'_>) -> Said,
    ) -> Vec<Step<Ctx<'a>>> {
        let taken = |step: &Step<W>| Step {
            id: step.id,
            title: step.title.clone(),
            effect: step.effect,
            commands: step.commands.clone(),
            expected: step.expected.clone(),
            run,
            undo: match &step.undo {
                Undo::By { says, .. } => Undo::By { says: says.clone(), run: undo },
                Undo::NotNeeded(why) => Undo::NotNeeded(why),
                Undo::Impossible(why) => Undo::Impossible(why.clone()),
            },
            // Its goal is not that of the whole.
            on_failure: OnFailure::RollBack,
        };
        self.steps.iter().map(taken).collect()
    }

    /// Ids and titles of its checks.
    pub fn checks(&self) -> Vec<(&'static str, String)> {
        self.checks.iter().map(|check| (check.id, check.title.clone())).collect()
    }

    /// Does the check at this place.
    pub fn check(
        &mut self,
        at: usize,
        run: &Run<'_>,
    ) -> anyhow::Result<(restore_common::procedure::CheckStatus, String)> {
        (self.checks[at].run)(&mut self.work, run)
    }

    /// Does the step that runs.
    pub fn run(&mut self, run: &Run<'_>) -> Said {
        let Self { work, steps, .. } = self;
        (current(steps, run)?.run)(work, run)
    }

    /// Takes back the step whose way back runs.
    pub fn undo(&mut self, run: &Run<'_>) -> Said {
        let Self { work, steps, .. } = self;
        match &current(steps, run)?.undo {
            Undo::By { run: undo, .. } => undo(work, run),
            Undo::NotNeeded(_) | Undo::Impossible(_) => Ok(None),
        }
    }
}

fn current<'s, W>(steps: &'s [Step<W>], run: &Run<'_>) -> anyhow::Result<&'s Step<W>> {
    let id = run.step();
    let found = steps.iter().find(|step| step.id == id);
    found.ok_or_else(|| Failure::new(format!("there is no step `{id}`")).into())
}
