//! The journal of a run: what was begun and how it ended, on disk before it happens.
//!
//! One JSON document a line, in `$XDG_STATE_HOME/pve-restore/runs/`, folder 0700, files 0600. Each line reaches the disk
//! before the step it speaks of begins, so that a run that was killed can be understood from it. It holds no secret:
//! commands are kept as the plan shows them and what programs print is not kept.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Mutex,
};

use serde::Serialize;

use super::Exit;
use crate::remote::Job;

/// The journal cannot be kept, so nothing may be changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep a journal at `{}`", path.display())]
pub struct JournalError {
    path: PathBuf,
    source: io::Error,
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// The plan was agreed to.
    Begun { program: &'a str, version: &'a str, title: &'a str, subject: &'a serde_json::Value, pid: u32 },
    /// A step begins.
    Step { id: &'a str, commands: Vec<String> },
    /// Work was started on the node that outlives this program.
    Job { job: &'a Job },
    /// A step did its work.
    Done { id: &'a str, note: Option<&'a str> },
    /// A step failed.
    Failed { id: &'a str, error: String },
    /// The way back of a step begins.
    Undo { id: &'a str },
    /// The way back of a step succeeded.
    Undone { id: &'a str },
    /// The way back of a step failed.
    UndoFailed { id: &'a str, error: String },
    /// The run is over.
    Ended { outcome: Exit },
}

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    #[serde(flatten)]
    event: Event<'a>,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<fs::File>,
}

impl Journal {
    /// Opens a new journal `TIME-NAME.json` in `folder`, which is made if it is not there. A folder or a file that others
    /// could have put there (a link, a folder that others may write to) is refused.
    pub fn create(folder: &Path, name: &str) -> Result<Self, JournalError> {
        let wrap = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError { path, source }
        };
        private_folder(folder).map_err(wrap(folder))?;
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%.6fZ");
        let path = folder.join(format!("{stamp}-{name}.json"));
        let file = fs::OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: Mutex::new(file.map_err(wrap(&path))?), path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&self, event: Event<'_>) -> Result<(), JournalError> {
        let line = Line { at: jiff::Timestamp::now().to_string(), event };
        let wrap = |source: io::Error| JournalError { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(&line).map_err(|e| wrap(e.into()))?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.write_all(&text).and_then(|()| file.sync_data()).map_err(wrap)
    }
}

/// Makes `folder` with mode 0700, or checks that the one that is there is ours alone.
fn private_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let meta = fs::symlink_metadata(folder)?;
    if !meta.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    if meta.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it; make it private with `chmod 700`"));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_and_file_are_private_and_lines_are_whole() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("state/pve-restore/runs");
        let journal = Journal::create(&folder, "restore-vm-101").unwrap();
        journal.write(Event::Step { id: "stop", commands: vec!["qm stop 101".to_owned()] }).unwrap();
        journal.write(Event::Ended { outcome: Exit::Done }).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(journal.path()), 0o600);
        let text = fs::read_to_string(journal.path()).unwrap();
        let events: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
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
}
