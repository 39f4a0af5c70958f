//! Where commands run.

use std::{fmt, ops::ControlFlow};

use super::{Command, CommandFailed, Effect, HostError};

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this status.
    Exit(i32),
    /// Killed by this signal (name without `SIG`).
    Signal(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(name) => write!(f, "killed by SIG{name}"),
        }
    }
}

/// What a command printed and how it ended. Text that is not UTF-8 has its wrong bytes replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub ending: Ending,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.ending == Ending::Exit(0)
    }

    /// Standard output of a command that succeeded; its failure as an error otherwise.
    pub fn stdout_of(&self, host: &dyn Host, command: &Command) -> Result<&str, CommandFailed> {
        if self.success() { Ok(&self.stdout) } else { Err(CommandFailed::new(host.name(), command, self)) }
    }
}

/// Work that runs detached on a node: it goes on when the connection or this program ends.
///
/// Its folder on the node holds `command` (what runs), `pid`, `out`, `err` and, once it ended, `status`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    /// Absolute folder on the node.
    pub dir: String,
    /// Process group of the work, for cancelling.
    pub pid: u32,
    /// The command as shown.
    pub command: String,
}

/// How following a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The work ended; standard output was passed on line by line and is empty here except for its last lines.
    Finished(Output),
    /// The callback asked to stop following; the work goes on.
    Detached,
}

/// Something that runs commands: a node by SSH, or a wrapper around one.
pub trait Host: Send + Sync {
    /// The host as the operator knows it, for messages: `pve-prod (192.168.1.100)`.
    fn name(&self) -> &str;

    /// Runs independent commands in **one** remote execution, at the same time where the node allows, and gives their
    /// outputs in order. A command that fails does not keep the others from running.
    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError>;

    /// Starts `command` as a job in a new folder whose name begins with `label`. One remote execution.
    fn start_job(&self, label: &str, command: &Command) -> Result<Job, HostError>;

    /// Follows a job to its end, passing each whole line of its standard output to `on_line`. One remote execution
    /// while the connection lasts; it reconnects and goes on at the same offset when it breaks. While nothing comes,
    /// `on_line` gets an empty line about twice a second, so that it can break off or show that time passes.
    fn follow(
        &self,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError>;

    /// Asks a job's work to end (SIGTERM to its process group), waits a bounded time for its end, and gives how it
    /// ended. The programs of Proxmox clean up after SIGTERM and do not after anything else.
    fn cancel(&self, job: &Job) -> Result<Output, HostError>;

    /// Removes the folders of jobs that ended.
    fn remove_jobs(&self, jobs: &[Job]) -> Result<(), HostError>;

    /// Runs one command.
    fn run(&self, command: &Command) -> Result<Output, HostError> {
        let mut outputs = self.run_all(std::slice::from_ref(command))?;
        outputs.pop().ok_or_else(|| HostError::Protocol {
            host: self.name().to_owned(),
            reason: format!("no answer to `{command}`"),
        })
    }
}

/// A host that refuses everything that is not declared to be harmless. Every dry run, and every look, goes through it.
pub struct ReadOnly<'a>(pub &'a dyn Host);

impl ReadOnly<'_> {
    fn refuse(&self, command: &Command) -> HostError {
        HostError::ReadOnly { host: self.0.name().to_owned(), command: command.to_string() }
    }
}

impl Host for ReadOnly<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError> {
        match commands.iter().find(|c| c.effect() != Effect::Read) {
            Some(command) => Err(self.refuse(command)),
            None => self.0.run_all(commands),
        }
    }

    /// A job leaves files on the node, so even one that only reads is refused.
    fn start_job(&self, _label: &str, command: &Command) -> Result<Job, HostError> {
        Err(self.refuse(command))
    }

    fn follow(
        &self,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        self.0.follow(job, on_line)
    }

    fn cancel(&self, job: &Job) -> Result<Output, HostError> {
        Err(HostError::ReadOnly { host: self.0.name().to_owned(), command: format!("kill {}", job.pid) })
    }

    fn remove_jobs(&self, jobs: &[Job]) -> Result<(), HostError> {
        let command = jobs.iter().map(|j| j.dir.as_str()).collect::<Vec<_>>().join(" ");
        Err(HostError::ReadOnly { host: self.0.name().to_owned(), command: format!("rm -r {command}") })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts what reaches it.
    #[derive(Default)]
    struct Reached(AtomicUsize);

    impl Host for Reached {
        fn name(&self) -> &'static str {
            "pve-prod"
        }

        fn run_all(&self, _: &[Command]) -> Result<Vec<Output>, HostError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(Vec::new())
        }

        fn start_job(&self, _: &str, _: &Command) -> Result<Job, HostError> {
            unreachable!("a job was started")
        }

        fn follow(&self, _: &Job, _: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<JobEnd, HostError> {
            unreachable!("a job was followed")
        }

        fn cancel(&self, _: &Job) -> Result<Output, HostError> {
            unreachable!("a job was cancelled")
        }

        fn remove_jobs(&self, _: &[Job]) -> Result<(), HostError> {
            unreachable!("a job was removed")
        }
    }

    #[test]
    fn a_read_only_host_lets_nothing_but_reads_through() {
        let host = Reached::default();
        let read = || Command::read("qm").args(["status", "101"]);
        for other in
            [Command::write("qm").args(["start", "101"]), Command::destroy("qm").args(["destroy", "101"])]
        {
            let refused = ReadOnly(&host).run_all(&[read(), other]).unwrap_err();
            assert!(matches!(refused, HostError::ReadOnly { .. }), "{refused}");
        }
        assert!(ReadOnly(&host).start_job("look", &read()).is_err(), "a job leaves files");
        assert_eq!(host.0.load(Ordering::SeqCst), 0, "something reached the node");
        ReadOnly(&host).run_all(&[read()]).unwrap();
        assert_eq!(host.0.load(Ordering::SeqCst), 1);
    }
}
