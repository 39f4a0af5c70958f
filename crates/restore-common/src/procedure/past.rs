//! Earlier runs, from their journals: which one works at this moment, which one was cut off and where.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Exit, Journal, JournalError, Recovery,
    journal::{Begun, Event, Line},
};
use crate::{
    private,
    remote::{Job, RunId},
};

/// What the journals of one name say.
#[derive(Debug, Default)]
pub struct History {
    /// The newest run that needs somebody: one that is kept at this moment, was cut off, or could not be taken back.
    pub open: Option<Open>,
    /// Runs that are over: their claims on nodes hold nobody up.
    pub over: Vec<RunId>,
}

/// A run that is not over.
#[derive(Debug)]
pub enum Open {
    /// A program works on it now.
    Busy(Begun),
    /// Nobody works on it any more.
    Cut(Box<Past>),
}

/// A run that was cut off, or whose way back failed.
#[derive(Debug)]
pub struct Past {
    pub(super) journal: Journal,
    begun: Begun,
    at: jiff::Timestamp,
    steps: Vec<PastStep>,
    found: Value,
    /// How often the run came to an end so far, and had to be carried on.
    ends: usize,
    last_end: Option<Exit>,
    turned_back: bool,
    /// The step whose work, or way back, was begun last.
    current: String,
}

/// What is known of a step that was begun.
#[derive(Clone, Debug, Default)]
pub(super) struct PastStep {
    pub(super) id: String,
    pub(super) note: Option<String>,
    pub(super) done: bool,
    pub(super) undone: bool,
    /// Its work on the node, and that of its way back.
    pub(super) jobs: Vec<Job>,
}

impl Past {
    /// What was agreed to.
    pub fn begun(&self) -> &Begun {
        &self.begun
    }

    /// When it was begun.
    pub fn at(&self) -> jiff::Timestamp {
        self.at
    }

    /// Its name.
    pub fn run(&self) -> &RunId {
        self.journal.run()
    }

    /// Its journal.
    pub fn path(&self) -> &Path {
        self.journal.path()
    }

    /// What its steps had found out.
    pub fn found(&self) -> &Value {
        &self.found
    }

    /// Whether it was on its way back already: then it can only be rolled back.
    pub fn turned_back(&self) -> bool {
        self.turned_back
    }

    /// How it ended, when it ended at all: then it could not be taken back.
    pub fn last_end(&self) -> Option<Exit> {
        self.last_end
    }

    /// The step that it stopped in, or after: its number from 1, and its title. `None` before the first one.
    pub fn stopped_at(&self) -> Option<(usize, &str)> {
        let id = &self.steps.last()?.id;
        let (index, (_, title)) = self.begun.steps.iter().enumerate().find(|(_, (step, _))| step == id)?;
        Some((index + 1, title))
    }

    /// The work on the node that was begun last, and that may still go on.
    pub fn last_job(&self) -> Option<&Job> {
        self.step(&self.current).filter(|step| !step.done || self.turned_back)?.jobs.last()
    }

    pub(super) fn step(&self, id: &str) -> Option<&PastStep> {
        self.steps.iter().find(|step| step.id == id)
    }

    pub(super) fn attempt(&self) -> usize {
        self.ends + 1
    }

    /// `None` when nothing was agreed to.
    fn read(journal: Journal, lines: Vec<Line>) -> Option<Self> {
        let mut lines = lines.into_iter();
        let Line { at, event: Event::Begun(begun) } = lines.next()? else { return None };
        let mut past = Self {
            journal,
            begun,
            at,
            steps: Vec::new(),
            found: Value::Null,
            ends: 0,
            last_end: None,
            turned_back: false,
            current: String::new(),
        };
        lines.for_each(|line| past.take(line.event));
        Some(past)
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Begun(_) => {}
            Event::CarriedOn { how, .. } => {
                self.last_end = None;
                self.turned_back |= how == Recovery::RollBack;
            }
            Event::Step { id, .. } => {
                // A step that was carried on is named again.
                if self.step(&id).is_none() {
                    self.steps.push(PastStep { id: id.clone(), ..PastStep::default() });
                }
                self.current = id;
            }
            Event::Job { job } => {
                let current = self.current.clone();
                self.with(&current, |step| step.jobs.push(job));
            }
            Event::Done { id, note, found } => {
                self.found = found;
                self.with(&id, |step| (step.done, step.note) = (true, note));
            }
            Event::Failed { found, .. } => {
                self.found = found;
                self.turned_back = true;
            }
            Event::Undo { id } => (self.turned_back, self.current) = (true, id),
            Event::UndoFailed { .. } => self.turned_back = true,
            Event::Undone { id } => self.with(&id, |step| step.undone = true),
            Event::Ended { outcome } => {
                self.ends += 1;
                self.last_end = Some(outcome);
            }
        }
    }

    fn with(&mut self, id: &str, change: impl FnOnce(&mut PastStep)) {
        if let Some(step) = self.steps.iter_mut().find(|step| step.id == id) {
            change(step);
        }
    }

    fn is_over(&self) -> bool {
        self.last_end.is_some_and(|outcome| outcome != Exit::ActNeeded)
    }
}

/// Reads all journals `TIME-NAME.json` in `folder` whose run `concerns` the caller.
///
/// A run is open when it did not end, or ended with something that could not be taken back. Of several, the newest
/// counts; one that ended with [`Exit::ActNeeded`] counts only when no later run was begun.
pub fn history(
    folder: &Path,
    name: &str,
    concerns: &dyn Fn(&Begun) -> bool,
) -> Result<History, JournalError> {
    let mut history = History::default();
    for (path, run) in journals(folder, name)?.into_iter().rev() {
        let newest = history.open.is_none() && history.over.is_empty();
        let lines = lines(&path).map_err(JournalError::at(&path))?;
        let Some(journal) = Journal::reopen(&path, run)? else {
            if let Some(Line { event: Event::Begun(begun), .. }) = lines.into_iter().next()
                && concerns(&begun)
            {
                history.open = Some(Open::Busy(begun));
                return Ok(history);
            }
            continue;
        };
        let run = journal.run().clone();
        let past = Past::read(journal, lines).filter(|past| concerns(past.begun()));
        match past {
            Some(past) if !past.is_over() && (newest || past.last_end().is_none()) => {
                history.open.get_or_insert(Open::Cut(Box::new(past)));
            }
            _ => history.over.push(run),
        }
    }
    Ok(history)
}

/// The journals of one name, oldest first.
fn journals(folder: &Path, name: &str) -> Result<Vec<(PathBuf, RunId)>, JournalError> {
    let wrap = || JournalError::at(folder);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(wrap())?,
    };
    private::check_folder(folder).map_err(wrap())?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrap())?.path();
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        // 20260130T010004.123456Z-restore-vm-101
        let is_of_name = stem.split_once('-').is_some_and(|(_, rest)| rest == name);
        if is_of_name && path.extension().is_some_and(|e| e == "json") {
            let run = RunId::try_from(stem.to_owned());
            found.push((path.clone(), run.map_err(|e| JournalError::at(&path)(io::Error::other(e)))?));
        }
    }
    found.sort();
    Ok(found)
}

/// The lines of a journal. A last line without its end was being written when the machine stopped: what it speaks of had
/// not begun.
fn lines(path: &Path) -> io::Result<Vec<Line>> {
    private::check_file(path)?;
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(number, line)| {
        serde_json::from_str(line).map_err(|e| io::Error::other(format!("line {}: {e}", number + 1)))
    };
    whole.lines().enumerate().map(parse).collect()
}
