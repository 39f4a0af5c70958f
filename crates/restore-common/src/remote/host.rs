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

/// A run of a program, as nodes know it: the name of its folder there, and of its journal here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RunId {
    /// The absolute path of a folder of this run on a host with this [root](Host::root).
    pub fn folder(&self, root: &str, name: &str) -> String {
        format!("{root}/{self}/{name}")
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    /// Letters, digits, `.`, `_` and `-`; it begins with a letter or a digit.
    fn try_from(text: String) -> Result<Self, String> {
        let valid = text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if valid { Ok(Self(text)) } else { Err(format!("`{text}` is not the name of a run")) }
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Work that runs detached on a node, exactly once: it goes on when the connection or this program ends, and sending it
/// again finds it running or done.
///
/// Its folder is known before it is sent. On the node it holds `command` (what runs), `pid`, `out`, `err` and, once the
/// work ended, `status`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    /// Absolute folder on the node.
    pub dir: String,
    /// The command as shown.
    pub command: String,
}

impl Job {
    /// The job `name` of a run on a host with this [root](Host::root). Within a run a name stands for one command.
    pub fn new(root: &str, run: &RunId, name: &str, command: &Command) -> Self {
        Self { dir: super::job::folder(root, run, name), command: command.to_string() }
    }
}

/// How following a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The work ended; standard output was passed on line by line and is empty here except for its last lines.
    Finished(Output),
    /// The callback asked to stop following; the work goes on.
    Detached,
    /// The work was never begun on this node.
    Missing,
}

/// What a job is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It was never begun on this node.
    Missing,
    /// It works.
    Running,
    /// It ended this way.
    Ended(Ending),
}

/// Something that runs commands: a node by SSH, or a wrapper around one.
pub trait Host: Send + Sync {
    /// The host as the operator knows it, for messages: `pve-prod (192.168.1.100)`.
    fn name(&self) -> &str;

    /// The folder that runs live in there.
    fn root(&self) -> &str {
        super::job::ROOT
    }

    /// Runs independent commands in **one** remote execution, at the same time where the node allows, and gives their
    /// outputs in order. A command that fails does not keep the others from running.
    ///
    /// They may only read: when the connection breaks they are asked again. What changes something is a job.
    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError>;

    /// Begins `command` as `job`, unless that was done before, and follows it as [`Host::follow`] does. One remote
    /// execution while the connection lasts.
    fn run_job(
        &self,
        job: &Job,
        command: &Command,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError>;

    /// Follows a job to its end, passing each whole line of its standard output to `on_line`, from its first one on.
    /// It reconnects and goes on at the same offset when the connection breaks. While nothing comes, `on_line` gets an
    /// empty line about twice a second, so that it can break off or show that time passes.
    fn follow(
        &self,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError>;

    /// Asks a job's work to end (SIGTERM to its process group), waits a bounded time for its end, and gives how it
    /// ended. The programs of Proxmox clean up after SIGTERM and do not after anything else.
    fn cancel(&self, job: &Job) -> Result<JobEnd, HostError>;

    /// What jobs are doing, in order. One remote execution.
    fn job_states(&self, jobs: &[Job]) -> Result<Vec<JobState>, HostError>;

    /// Clears away what a run left on the node for its own use: its jobs, and its claims on guests. What was kept for
    /// the operator stays. An error when a job of it still works.
    fn clear(&self, run: &RunId) -> Result<(), HostError>;

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

    fn root(&self) -> &str {
        self.0.root()
    }

    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError> {
        match commands.iter().find(|c| c.effect() != Effect::Read) {
            Some(command) => Err(self.refuse(command)),
            None => self.0.run_all(commands),
        }
    }

    /// A job leaves files on the node, so even one that only reads is refused.
    fn run_job(
        &self,
        _: &Job,
        command: &Command,
        _: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        Err(self.refuse(command))
    }

    fn follow(
        &self,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        self.0.follow(job, on_line)
    }

    fn cancel(&self, job: &Job) -> Result<JobEnd, HostError> {
        Err(HostError::ReadOnly {
            host: self.0.name().to_owned(),
            command: format!("kill `{}`", job.command),
        })
    }

    fn job_states(&self, jobs: &[Job]) -> Result<Vec<JobState>, HostError> {
        self.0.job_states(jobs)
    }

    fn clear(&self, run: &RunId) -> Result<(), HostError> {
        Err(HostError::ReadOnly { host: self.0.name().to_owned(), command: format!("rm -r {run}") })
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

        fn run_job(
            &self,
            _: &Job,
            _: &Command,
            _: &mut dyn FnMut(&str) -> ControlFlow<()>,
        ) -> Result<JobEnd, HostError> {
            unreachable!("a job was started")
        }

        fn follow(&self, _: &Job, _: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<JobEnd, HostError> {
            unreachable!("a job was followed")
        }

        fn cancel(&self, _: &Job) -> Result<JobEnd, HostError> {
            unreachable!("a job was cancelled")
        }

        fn job_states(&self, _: &[Job]) -> Result<Vec<JobState>, HostError> {
            unreachable!("jobs were asked after")
        }

        fn clear(&self, _: &RunId) -> Result<(), HostError> {
            unreachable!("a run was cleared away")
        }
    }

    #[rstest::rstest]
    #[case("20261123T101112Z-restore-vm-101", true)]
    #[case("", false)]
    #[case("..", false)]
    #[case("a/b", false)]
    #[case("-rf", false)]
    fn a_runs_name_is_harmless_as_a_folder(#[case] name: &str, #[case] valid: bool) {
        assert_eq!(RunId::try_from(name.to_owned()).is_ok(), valid, "{name:?}");
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
        let run = RunId::try_from("look".to_owned()).unwrap();
        let job = Job::new(ReadOnly(&host).root(), &run, "read", &read());
        let started = ReadOnly(&host).run_job(&job, &read(), &mut |_| ControlFlow::Continue(()));
        assert!(started.is_err(), "a job leaves files");
        assert!(ReadOnly(&host).cancel(&job).is_err() && ReadOnly(&host).clear(&run).is_err());
        assert_eq!(host.0.load(Ordering::SeqCst), 0, "something reached the node");
        ReadOnly(&host).run_all(&[read()]).unwrap();
        assert_eq!(host.0.load(Ordering::SeqCst), 1);
    }
}
