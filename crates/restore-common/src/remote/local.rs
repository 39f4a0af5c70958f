//! The operator's own machine as a host: for work that needs no node, such as Terraform's.
//!
//! Its programs run as jobs like those on a node: when this program is killed they go on, and the next run finds them.

use std::{
    io::{self, Read, Write as _},
    ops::ControlFlow,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use super::{
    Command, Effect, Ending, Host, HostError, Job, JobEnd, JobState, Output, RunId, batch, job,
    shell::{Event, QUIET, Script, Shell},
};
use crate::ui::Secret;

const NAME: &str = "this machine";

/// This machine.
pub struct LocalHost(LocalShell);

/// Runs scripts by `bash`.
pub(super) struct LocalShell {
    root: String,
    variables: Vec<(String, Secret)>,
    #[cfg(test)]
    pub(super) executions: std::sync::atomic::AtomicU32,
}

impl LocalHost {
    /// Keeps its runs below the folder `state` of the program, readable by nobody else. `variables` are set for what it
    /// runs, besides those of this program: never in arguments, which everybody on the machine can read.
    pub fn new(state: &Path, variables: Vec<(String, Secret)>) -> io::Result<Self> {
        let root = state.join("work");
        let root = root.to_str().ok_or_else(|| {
            io::Error::other(format!("the folder `{}` has a name that is not UTF-8", state.display()))
        })?;
        Ok(Self(LocalShell::new(root, variables)))
    }
}

impl LocalShell {
    pub(super) fn new(root: &str, variables: Vec<(String, Secret)>) -> Self {
        Self {
            root: root.to_owned(),
            variables,
            #[cfg(test)]
            executions: std::sync::atomic::AtomicU32::new(0),
        }
    }

    fn spawn(&self, script: &Script<'_>) -> io::Result<Child> {
        let mut command = std::process::Command::new("bash");
        command.args(["-c", script.text]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value.reveal())));
        // A group of its own: Ctrl-C on the terminal is this program's to hear.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }
}

impl Shell for LocalShell {
    fn name(&self) -> &'static str {
        NAME
    }

    fn root(&self) -> &str {
        &self.root
    }

    fn exec(
        &self,
        script: &Script<'_>,
        sink: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Option<Ending>, HostError> {
        #[cfg(test)]
        self.executions.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let failed = |error: io::Error| HostError::Protocol {
            host: NAME.to_owned(),
            reason: format!("`{}` could not be run: {error}", script.shown),
        };
        let mut child = self.spawn(script).map_err(failed)?;
        let pieces = feed_and_read(&mut child, script.stdin);
        let begun = Instant::now();
        loop {
            let flow = match pieces.recv_timeout(QUIET) {
                Ok((Stream::Out, bytes)) => sink(Event::Stdout(&bytes)),
                Ok((Stream::Err, bytes)) => sink(Event::Stderr(&bytes)),
                Err(mpsc::RecvTimeoutError::Timeout) => sink(Event::Quiet),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let late = script.limit.filter(|limit| begun.elapsed() > *limit);
            if flow.is_continue() && late.is_none() {
                continue;
            }
            end(&mut child).map_err(failed)?;
            return late.map_or(Ok(None), |limit| {
                let (host, command) = (NAME.to_owned(), script.shown.to_owned());
                Err(HostError::TimedOut { host, command, seconds: limit.as_secs() })
            });
        }
        let status = child.wait().map_err(failed)?;
        let signal = || Ending::Signal(status.signal().unwrap_or_default().to_string());
        Ok(Some(status.code().map_or_else(signal, Ending::Exit)))
    }
}

/// Ends a script with all that it started, except for jobs: those are at home in a group of their own.
fn end(child: &mut Child) -> io::Result<()> {
    if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    child.wait().map(drop)
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// Gives the script its input and what it prints as it comes.
fn feed_and_read(child: &mut Child, input: &[u8]) -> mpsc::Receiver<(Stream, Vec<u8>)> {
    let (sender, pieces) = mpsc::channel();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // What does not want its input closes it, which is no error of ours.
        thread::spawn(move || stdin.write_all(&input));
    }
    if let Some(out) = child.stdout.take() {
        read_on(out, Stream::Out, sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        read_on(err, Stream::Err, sender);
    }
    pieces
}

fn read_on(mut from: impl Read + Send + 'static, stream: Stream, to: mpsc::Sender<(Stream, Vec<u8>)>) {
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.send((stream, buffer[..count].to_vec())).is_err() {
                return;
            }
        }
    });
}

impl Host for LocalHost {
    fn name(&self) -> &'static str {
        NAME
    }

    fn root(&self) -> &str {
        &self.0.root
    }

    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError> {
        match commands.iter().find(|command| command.effect() != Effect::Read) {
            Some(command) => Err(HostError::ReadOnly { host: NAME.to_owned(), command: command.to_string() }),
            None => batch::run_all(&self.0, commands),
        }
    }

    fn run_job(
        &self,
        job: &Job,
        command: &Command,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        let state = Path::new(&self.0.root).parent().unwrap_or(Path::new("/"));
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
        made.map_err(|error| HostError::Protocol {
            host: NAME.to_owned(),
            reason: format!("the folder `{}` cannot be made: {error}", state.display()),
        })?;
        job::run(&self.0, job, command, on_line)
    }

    fn follow(
        &self,
        job: &Job,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        job::follow(&self.0, job, on_line)
    }

    fn cancel(&self, job: &Job) -> Result<JobEnd, HostError> {
        job::cancel(&self.0, job)
    }

    fn job_states(&self, jobs: &[Job]) -> Result<Vec<JobState>, HostError> {
        job::states(&self.0, jobs)
    }

    fn clear(&self, run: &RunId) -> Result<(), HostError> {
        job::clear(&self.0, run)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn host(folder: &Path) -> LocalHost {
        let secret = ("AWS_SECRET_ACCESS_KEY".to_owned(), Secret::from("canary".to_owned()));
        LocalHost::new(&folder.join("state"), vec![secret]).unwrap()
    }

    #[test]
    fn a_job_gets_the_variables_and_lives_where_nobody_else_reads() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let run = RunId::try_from("run".to_owned()).unwrap();
        let command = Command::write("printenv").arg("AWS_SECRET_ACCESS_KEY");
        let job = Job::new(host.root(), &run, "1 work", &command);
        let end = host.run_job(&job, &command, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(matches!(end, JobEnd::Finished(output) if output.stdout == "canary\n"));
        let state = folder.path().join("state");
        assert!(Path::new(&job.dir).starts_with(&state));
        for folder in [&state, &state.join("work")] {
            let mode = std::fs::metadata(folder).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o700, "{}", folder.display());
        }
        host.clear(&run).unwrap();
        assert!(!state.join("work").exists(), "nothing is left");
    }

    #[test]
    fn only_reads_are_asked_without_a_job_and_none_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        assert!(matches!(host.run(&Command::write("true")), Err(HostError::ReadOnly { .. })));
        let slow = Command::read("sleep").arg("600").limit(std::time::Duration::from_millis(1));
        assert!(matches!(host.run(&slow), Err(HostError::TimedOut { .. })));
    }
}
