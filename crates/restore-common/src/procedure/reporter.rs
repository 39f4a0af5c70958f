//! One reporter draws what happens; everything goes to standard error.

use std::{
    cell::RefCell,
    io::{self, Write as _},
    time::Duration,
};

use console::style;

use super::{CheckResult, CheckStatus, show};
use crate::ui::{Progress, ProgressMode, format, sanitize, sanitize_styled, suspended};

/// Told what happens while a plan is carried out.
pub trait Reporter {
    /// The summary, before the question.
    fn plan(&self, text: &str);
    /// A step begins.
    fn step(&self, number: usize, of: usize, title: &str);
    /// Something worth knowing happens in it.
    fn note(&self, text: &str);
    /// So many of so many bytes are done.
    fn progress(&self, done: u64, total: u64);
    /// It did its work.
    fn step_done(&self, note: Option<&str>, took: Duration);
    /// It failed.
    fn step_failed(&self, error: &anyhow::Error, took: Duration);
    /// The way back begins.
    fn rolling_back(&self);
    /// A part of the way back begins.
    fn undo(&self, says: &str);
    /// A check begins.
    fn checking(&self, title: &str);
    /// A check ended.
    fn check(&self, result: &CheckResult);
}

/// Draws on standard error.
pub struct TerminalReporter {
    mode: ProgressMode,
    silent: bool,
    /// What each line begins with: the guest, where several are worked on at once.
    lead: String,
    bar: RefCell<Option<Progress>>,
    title: RefCell<String>,
}

impl TerminalReporter {
    /// A reporter; `silent` says nothing but what is needed to answer the question.
    pub fn new(mode: ProgressMode, silent: bool) -> Self {
        Self { mode, silent, lead: String::new(), bar: RefCell::default(), title: RefCell::default() }
    }

    /// Begins every line with these words, to tell the lines of several reporters apart.
    #[must_use]
    pub fn lead(mut self, words: impl Into<String>) -> Self {
        self.lead = words.into();
        self
    }

    fn line(&self, text: &str) {
        if !self.silent {
            // A terminal that is gone must not end the run in its middle.
            let _ = suspended(|| writeln!(io::stderr(), "{}{}", self.lead, sanitize_styled(text)));
        }
    }

    /// What came of a step or a check, below its title and never wider than the terminal where words allow.
    fn result(&self, words: &str) {
        let mut text = String::new();
        show::wrapped(&mut text, "      ", 8, words);
        text.lines().for_each(|line| self.line(line));
    }

    fn begin(&self, lead: &str, title: &str) {
        self.line(&format!("{lead}{}", sanitize(title)));
        title.clone_into(&mut self.title.borrow_mut());
    }

    fn end(&self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}

impl Reporter for TerminalReporter {
    fn plan(&self, text: &str) {
        self.line(text.trim_end_matches('\n'));
        self.line("");
    }

    fn step(&self, number: usize, of: usize, title: &str) {
        self.begin(&format!("[{number}/{of}] "), title);
    }

    fn note(&self, text: &str) {
        match self.bar.borrow_mut().as_mut() {
            Some(bar) => bar.message(text),
            None => self.result(&sanitize(text)),
        }
    }

    fn progress(&self, done: u64, total: u64) {
        let mut bar = self.bar.borrow_mut();
        let title = || if self.lead.is_empty() { "     " } else { self.lead.as_str() };
        bar.get_or_insert_with(|| Progress::start(self.mode, title(), Some(total))).set(done);
    }

    fn step_done(&self, note: Option<&str>, took: Duration) {
        self.end();
        let note = note.map(|n| format!(": {}", sanitize(n))).unwrap_or_default();
        self.result(&format!("{} in {}{note}", style("done").for_stderr().green(), format::duration(took)));
    }

    fn step_failed(&self, error: &anyhow::Error, took: Duration) {
        self.end();
        let mark = style("failed").for_stderr().red().bold();
        let text = format!("{error:#}");
        self.result(&format!("{mark} after {}: {}", format::duration(took), sanitize(&text)));
    }

    fn rolling_back(&self) {
        self.line(&style("Putting things back as they were").for_stderr().yellow().bold().to_string());
    }

    fn undo(&self, says: &str) {
        self.begin("    - ", says);
    }

    fn checking(&self, title: &str) {
        self.begin("  ?   ", title);
    }

    fn check(&self, result: &CheckResult) {
        self.end();
        let mark = match result.status {
            CheckStatus::Passed => style("passed").for_stderr().green(),
            CheckStatus::Failed => style("FAILED").for_stderr().red().bold(),
            CheckStatus::Skipped => style("skipped").for_stderr().yellow(),
        };
        self.result(&format!("{mark}: {}", sanitize(&result.saw)));
    }
}
