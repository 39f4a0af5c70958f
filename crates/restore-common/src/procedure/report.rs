//! What came of a run: one document, for people and for programs.

use serde::Serialize;

use super::Exit;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It was planned and not reached, or this is a dry run.
    Planned,
    /// It did its work.
    Done,
    /// It failed.
    Failed,
    /// Its work was taken back.
    Undone,
    /// Its work could not be taken back.
    UndoFailed,
}

/// A step in the report.
#[derive(Clone, Debug, Serialize)]
pub struct StepRecord {
    /// Stable name.
    pub id: &'static str,
    /// What it was.
    pub title: String,
    /// What it does to the node.
    pub effect: crate::remote::Effect,
    /// The commands shown in the plan.
    pub commands: Vec<String>,
    /// How it ended.
    pub status: StepStatus,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
    /// Could not be asked, or does not apply; what was seen says why.
    Skipped,
}

/// A check in the report.
#[derive(Clone, Debug, Serialize)]
pub struct CheckResult {
    /// Stable name.
    pub id: String,
    /// What was looked at.
    pub title: String,
    /// What came out.
    pub status: CheckStatus,
    /// What was seen.
    pub saw: String,
    /// How long it took.
    pub seconds: f64,
}

/// Something wrong that was found while looking. All of them are listed, not just the first.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Problem {
    /// A problem in words.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Something that the run left on purpose, with the command that removes it.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Kept {
    /// What it is: `safety backup`.
    pub what: String,
    /// Where it is: a volume id or a path, with the node.
    pub place: String,
    /// How to go back to it, where that makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_back: Option<String>,
    /// How to remove it.
    pub remove: String,
}

/// The error that ended a run.
#[derive(Clone, Debug, Serialize)]
pub struct ReportedError {
    /// What failed.
    pub message: String,
    /// What lies behind it, outermost first.
    pub causes: Vec<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ReportedError {
    /// From an error with its causes.
    pub fn new(error: &anyhow::Error) -> Self {
        let mut parts = error.chain().map(ToString::to_string);
        let message = parts.next().unwrap_or_default();
        Self { message, causes: parts.collect(), hint: super::hint_of(error) }
    }
}

/// Version of the JSON document; it grows when a field changes its meaning or goes away.
pub(super) const SCHEMA: u32 = 1;

/// The report of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this document's form.
    pub schema: u32,
    /// The program.
    pub program: String,
    /// Its version.
    pub version: String,
    /// What the run was about: `Restore VM 101 on pve-prod`.
    pub title: String,
    /// How it ended.
    pub outcome: Exit,
    /// The exit code.
    pub exit: u8,
    /// Nothing was done, only planned.
    pub dry_run: bool,
    /// What state things are in, in a sentence.
    pub state: String,
    /// What was restored from what; its form depends on the program.
    pub subject: serde_json::Value,
    /// What the operator was told before the question.
    pub warnings: Vec<String>,
    /// Everything that spoke against the work.
    pub problems: Vec<Problem>,
    /// Step by step.
    pub steps: Vec<StepRecord>,
    /// The proof.
    pub checks: Vec<CheckResult>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ReportedError>,
    /// Failures on the way back.
    pub undo_errors: Vec<ReportedError>,
    /// What was left on purpose.
    pub kept: Vec<Kept>,
    /// What to do next.
    pub next: Vec<String>,
    /// Seconds from the first step to the end.
    pub seconds: f64,
}
