//! The real services.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Those that have to be installed.
pub(super) const PROGRAMS: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// The variable that tells whose they are.
const VARIABLE: &str = "LAB_STACK";

/// A program in the path.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
    candidates.find(|candidate| candidate.is_file())
}

/// A running service; it ends at drop, and where the system can do that, with this process as well.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts it. Its log is `NAME.log` in the folder.
    pub(super) fn start(name: &str, arguments: &[String], folder: &Path) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("`{name}` is not installed"));
        let program = find(name).ok_or_else(missing)?;
        let mut command = match find("setpriv") {
            // It is sent the signal when the thread that starts it ends: the one that watches the guests.
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        let log = fs::File::create(folder.join(format!("{name}.log")))?;
        let child = command
            .args(arguments)
            .env_clear()
            .env(VARIABLE, folder)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self { child })
    }

    /// Whether it ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The processes of the stack of this folder.
pub(super) fn of(folder: &Path) -> Vec<u32> {
    let pids = crate::lab::processes_with(&format!("{VARIABLE}={}", folder.display()));
    pids.iter().filter_map(|pid| pid.parse().ok()).collect()
}
