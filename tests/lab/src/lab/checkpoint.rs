//! Going back to how a lab was: much faster than another lab.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    Lab,
    faults::{end_processes_of, processes_of},
    guests::Guests,
};

/// A node's files as they were.
#[derive(Debug)]
pub struct Checkpoint {
    folder: tempfile::TempDir,
}

impl Lab {
    /// Remembers the node as it is. Nothing must be at work on it.
    pub fn checkpoint(&self) -> io::Result<Checkpoint> {
        let folder = tempfile::Builder::new().prefix("restore-lab-checkpoint-").tempdir()?;
        copy(self.root(), &folder.path().join("node"))?;
        Ok(Checkpoint { folder })
    }

    /// Ends what works on the node, looks for secrets as at the end of a lab, puts the node's files back, forgets what the operator's programs noted, and lets the
    /// embedded server begin anew.
    pub fn go_back(&self, to: &Checkpoint) -> io::Result<()> {
        if let Some(server) = self.server() {
            server.begin_anew();
        }
        end_processes_of(self.root());
        self.assert_secrets_kept();
        let _paused = self.guests.as_ref().map(Guests::pause);
        fs::remove_dir_all(self.root())?;
        copy(&to.folder.path().join("node"), self.root())?;
        match fs::remove_dir_all(self.operator().home().join(".local")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether anything works on the node: an execution, or a job that outlived its own.
    pub fn is_busy(&self) -> bool {
        !processes_of(self.root()).is_empty()
    }
}

/// Links, times and holes as they are.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let output = Command::new("cp").arg("-a").args([from, to]).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}
