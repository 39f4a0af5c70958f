//! A plan: what will be done, in which order, and how each part of it is taken back.

use crate::{
    procedure::{CheckStatus, Kept, Run},
    remote::{Command, Effect, Host},
};

/// What steps and checks work on: the facts of the run and what earlier steps found out.
pub trait Workplace {
    /// The node that the work happens on.
    fn host(&self) -> &dyn Host;

    /// What the run left on the node on purpose, for the report.
    fn kept(&self) -> Vec<Kept>;

    /// What to tell the operator when all went well and only the work itself could find out.
    fn next(&self) -> Vec<String> {
        Vec::new()
    }

    /// Other hosts that the work happens on as well, each with what only one program at a time may work on there. They are
    /// claimed before the work, and cleared after it, as [`Workplace::host`] is.
    fn elsewhere(&self) -> Vec<(&dyn Host, String)> {
        Vec::new()
    }

    /// What only one program at a time may work on there: `guest-101`.
    fn claim(&self) -> String;

    /// All that the plan was built from, for a later run that carries this one on. Without secrets.
    fn work(&self) -> serde_json::Value;

    /// What the steps found out so far, for the same purpose.
    fn found(&self) -> serde_json::Value;
}

/// Does a step's work, or takes it back. On success it may say in a few words what came of it.
pub type Action<C> = fn(&mut C, &Run<'_>) -> anyhow::Result<Option<String>>;

/// How a step is taken back when it, or a later one, fails.
pub enum Undo<C> {
    /// By doing this. It is called for the failed step as well, so it looks first at what there is.
    By {
        /// What it does, for the plan: `restore the safety backup`.
        says: String,
        /// Does it.
        run: Action<C>,
    },
    /// There is nothing to take back, for this reason.
    NotNeeded(&'static str),
    /// It cannot be taken back, for this reason; the plan says so before the question.
    Impossible(String),
}

/// What a failure of a step means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// This step and those before it are undone.
    RollBack,
    /// What was done stays; the failure counts as a failed check. For steps after the goal is reached.
    Keep,
}

/// One step of a plan.
pub struct Step<C> {
    /// Stable name, for the journal and `--json`.
    pub id: &'static str,
    /// Imperative, naming the object: ``Restore VM 101 from `…` ``.
    pub title: String,
    /// What it does to the node.
    pub effect: Effect,
    /// The very commands, as far as they are known before.
    pub commands: Vec<Command>,
    /// A word on size or time, where known: `about 12 GiB to read`.
    pub expected: Option<String>,
    /// Does it.
    pub run: Action<C>,
    /// Takes it back.
    pub undo: Undo<C>,
    /// What its failure means.
    pub on_failure: OnFailure,
}

impl<C> Step<C> {
    /// A step that only reads.
    pub fn read(id: &'static str, title: impl Into<String>, run: Action<C>) -> Self {
        Self::new(id, title.into(), Effect::Read, run, Undo::NotNeeded("it only reads"))
    }

    /// A step that creates or changes something.
    pub fn write(id: &'static str, title: impl Into<String>, run: Action<C>, undo: Undo<C>) -> Self {
        Self::new(id, title.into(), Effect::Write, run, undo)
    }

    /// A step after which something is gone.
    pub fn destroy(id: &'static str, title: impl Into<String>, run: Action<C>, undo: Undo<C>) -> Self {
        Self::new(id, title.into(), Effect::Destroy, run, undo)
    }

    fn new(id: &'static str, title: String, effect: Effect, run: Action<C>, undo: Undo<C>) -> Self {
        let on_failure = OnFailure::RollBack;
        Self { id, title, effect, commands: Vec::new(), expected: None, run, undo, on_failure }
    }

    /// Shows these commands in the plan.
    #[must_use]
    pub fn commands(mut self, commands: impl IntoIterator<Item = Command>) -> Self {
        self.commands.extend(commands);
        self
    }

    /// Says how much there is to do.
    #[must_use]
    pub fn expected(mut self, words: Option<String>) -> Self {
        self.expected = words;
        self
    }

    /// Keeps what was done when this step fails.
    #[must_use]
    pub fn keep_on_failure(mut self) -> Self {
        self.on_failure = OnFailure::Keep;
        self
    }
}

/// Looks whether something is as it should be: what came out, and what was seen. A closure, since one function may look
/// at many things: each port, each check that the operator wrote.
pub type Inspect<C> = Box<dyn Fn(&mut C, &Run<'_>) -> anyhow::Result<(CheckStatus, String)> + Send + Sync>;

/// A proof after the work.
pub struct Check<C> {
    /// Stable name, for `--json`.
    pub id: &'static str,
    /// What is looked at: `TCP port 22 of 192.168.1.101 answers`.
    pub title: String,
    /// Looks.
    pub run: Inspect<C>,
}

/// The question before the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// `[y/N]`.
    YesNo(String),
    /// Something will be destroyed: these very characters have to be typed.
    Type {
        /// The question.
        says: String,
        /// What has to be typed.
        word: String,
    },
}

/// All that will happen, before it happens.
pub struct Plan<C> {
    /// What it is about: `Restore VM 101 on pve-prod`.
    pub title: String,
    /// Label and value pairs on top of the summary.
    pub facts: Vec<(String, String)>,
    /// Tables and paragraphs below the facts, ready to print (already safe for a terminal).
    pub details: Vec<String>,
    /// What the operator should know before saying yes.
    pub warnings: Vec<String>,
    /// The work.
    pub steps: Vec<Step<C>>,
    /// The proof.
    pub checks: Vec<Check<C>>,
    /// The question.
    pub question: Question,
    /// What the report is about, for `--json`.
    pub subject: serde_json::Value,
    /// What to tell the operator in the report when all went well.
    pub next: Vec<String>,
}
