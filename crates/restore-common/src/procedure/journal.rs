//! The journal of a run: what was begun and how it ended, on disk before it happens.
//!
//! One JSON document a line, in `$XDG_STATE_HOME/pve-restore/runs/`, folder 0700, files 0600. Each line reaches the disk
//! before what it speaks of begins, so that a run that was killed can be understood from it and carried on (see
//! [`super::past`]). It holds no secret: commands are kept as the plan shows them, what programs print is not kept, and
//! passwords are left out of configurations. While a program keeps a journal, it holds a lock on the file.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Exit;
use crate::{
    private,
    remote::{Job, RunId},
};

/// The journal cannot be kept or read, so nothing may be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the journal `{}`", path.display())]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

impl JournalError {
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }
}

/// What was agreed to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begun {
    /// The program.
    pub program: String,
    /// Its version.
    pub version: String,
    /// Who runs it: `restore-vm (pid 4711) of root@laptop since …`.
    pub owner: String,
    /// What the run is about: `Restore VM 101 on pve-prod`.
    pub title: String,
    /// The same for programs, as in the report.
    pub subject: Value,
    /// All that the plan was built from.
    pub work: Value,
    /// Id and title of each step.
    pub steps: Vec<(String, String)>,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The plan was agreed to.
    Begun(Begun),
    /// Another program goes on with the run, in this direction.
    CarriedOn { owner: String, how: Recovery },
    /// A step begins.
    Step { id: String, commands: Vec<String> },
    /// Work is about to be started on the node that outlives this program.
    Job { job: Job },
    /// A step did its work; what is known by now.
    Done { id: String, note: Option<String>, found: Value },
    /// A step failed; what is known by now.
    Failed { id: String, error: String, found: Value },
    /// The way back of a step begins.
    Undo { id: String },
    /// The way back of a step succeeded.
    Undone { id: String },
    /// The way back of a step failed.
    UndoFailed { id: String, error: String },
    /// The run is over.
    Ended { outcome: Exit },
}

/// What becomes of a run that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// It goes on where it stopped.
    Resume,
    /// What it did is taken back.
    RollBack,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) at: jiff::Timestamp,
    #[serde(flatten)]
    pub(super) event: Event,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    run: RunId,
    file: Mutex<fs::File>,
}

impl Journal {
    /// Opens a new journal `TIME-NAME.json` in `folder`, which is made if it is not there. A folder or a file that others
    /// could have put there (a link, a folder that others may write to) is refused.
    pub fn create(folder: &Path, name: &str) -> Result<Self, JournalError> {
        private::make_folder(folder).map_err(JournalError::at(folder))?;
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        let run = format!("{stamp}-{name}");
        let path = folder.join(format!("{run}.json"));
        let run = RunId::try_from(run).map_err(|e| JournalError::at(&path)(io::Error::other(e)))?;
        let file = fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        let journal = Self { file: Mutex::new(file.map_err(JournalError::at(&path))?), run, path };
        journal.lock()?;
        Ok(journal)
    }

    /// Opens a journal to go on with it; `None` when a program keeps it.
    pub(super) fn reopen(path: &Path, run: RunId) -> Result<Option<Self>, JournalError> {
        private::check_file(path).map_err(JournalError::at(path))?;
        let file = fs::OpenOptions::new().append(true).open(path).map_err(JournalError::at(path))?;
        let journal = Self { path: path.to_owned(), run, file: Mutex::new(file) };
        Ok(journal.lock()?.then_some(journal))
    }

    /// Whether the lock is this program's now.
    fn lock(&self) -> Result<bool, JournalError> {
        let file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match rustix::fs::flock(&*file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(JournalError::at(&self.path)(error.into())),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run that it is of.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    pub(super) fn write(&self, event: Event) -> Result<(), JournalError> {
        let line = Line { at: jiff::Timestamp::now(), event };
        let mut text = serde_json::to_vec(&line).map_err(|e| JournalError::at(&self.path)(e.into()))?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(JournalError::at(&self.path))
    }

    /// Removes it: nothing was begun. Half of it would look like a run that was cut off; one that cannot be removed does.
    pub(super) fn discard(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::warn!("the journal `{}` cannot be removed: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn folder_and_file_are_private_and_lines_are_whole() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("state/pve-restore/runs");
        let journal = Journal::create(&folder, "restore-vm-101").unwrap();
        let commands = vec!["qm stop 101".to_owned()];
        journal.write(Event::Step { id: "stop".to_owned(), commands }).unwrap();
        journal.write(Event::Ended { outcome: Exit::Done }).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(journal.path()), 0o600);
        let text = fs::read_to_string(journal.path()).unwrap();
        let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(events[0]["event"], "step");
        assert_eq!(events[1]["outcome"], "done");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("runs");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Journal::create(&folder, "x").unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("others may write"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_a_link_is_refused_and_nothing_is_written_where_it_leads() {
        let temp = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (temp.path().join("runs"), temp.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, &folder).unwrap();
        Journal::create(&folder, "x").unwrap_err();
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn a_journal_that_is_a_link_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let journal = Journal::create(&temp.path().join("runs"), "x").unwrap();
        let (path, run) = (journal.path().to_owned(), journal.run().clone());
        drop(journal);
        let elsewhere = temp.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let error = Journal::reopen(&path, run).unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("plain file"));
        crate::procedure::history(path.parent().unwrap(), "x", &|_| true).unwrap_err();
    }

    #[test]
    fn a_journal_has_one_keeper_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let journal = Journal::create(&temp.path().join("runs"), "x").unwrap();
        let (path, run) = (journal.path().to_owned(), journal.run().clone());
        assert!(Journal::reopen(&path, run.clone()).unwrap().is_none());
        drop(journal);
        assert!(Journal::reopen(&path, run).unwrap().is_some());
    }
}
