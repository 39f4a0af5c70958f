//! look → plan → confirm → do → prove → report, written once.
//!
//! A program looks (through a [`ReadOnly`](crate::remote::ReadOnly) host), builds a [`Plan`] from what it saw, and hands
//! both to [`carry_out`]. From the plan come the summary, the dry run, the question, the journal, the progress display,
//! the way back after a failure, Ctrl-C, the report and the exit code. No program prints a step or asks a question by
//! itself.
//!
//! Work on the node is begun under names that the journal holds before. A run that was killed or cut off leaves its
//! journal open: [`history`] finds it, and [`carry_on`] builds the same plan from it and goes on, or back.
//!
//! What was shown is what runs: the plan is taken by value and its steps hold the very functions that do the work.

mod engine;
mod exit;
mod failure;
mod journal;
mod owner;
mod past;
mod plan;
mod report;
mod reporter;
mod run;
mod show;

pub use engine::{Session, carry_on, carry_out, checked, refuse, settled};
pub use exit::Exit;
pub use failure::{CutOff, Failure, Interrupted, hint_of, is_out_of_reach};
pub use journal::{Begun, Journal, JournalError, Recovery};
pub use owner::has_ended;
pub use past::{History, Open, Past, history};
pub use plan::{Action, Check, Inspect, OnFailure, Plan, Question, Step, Undo, Workplace};
pub use report::{CheckResult, CheckStatus, Kept, Problem, Report, StepRecord, StepStatus};
pub use reporter::{Reporter, TerminalReporter};
pub use run::Run;
pub use show::{facts_text, one_line, plan_text, problems_text};
