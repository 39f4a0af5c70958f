//! What a step may use while it runs: progress, the interrupt, and jobs that outlive the connection.

use std::{cell::RefCell, ops::ControlFlow};

use super::{Interrupted, Journal, Reporter, journal::Event};
use crate::{
    interrupt::Interrupt,
    pve::{Measured, progress_of},
    remote::{Command, CommandFailed, Host, Job, JobEnd, Output},
};

/// The running of a plan, as its steps see it.
pub struct Run<'a> {
    journal: Option<&'a Journal>,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    undoing: bool,
    jobs: RefCell<Vec<Job>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        journal: Option<&'a Journal>,
        reporter: &'a dyn Reporter,
        interrupt: &'a Interrupt,
    ) -> Self {
        Self { journal, reporter, interrupt, undoing: false, jobs: RefCell::default() }
    }

    /// On the way back Ctrl-C is not heard: the way back is what it asked for.
    pub(super) fn turn_back(&mut self) {
        self.undoing = true;
    }

    /// The folders of finished jobs, to be removed at the end.
    pub(super) fn finished_jobs(&self) -> Vec<Job> {
        self.jobs.take()
    }

    /// Whether the operator asked to stop (and the run is not already on its way back).
    pub fn stop_requested(&self) -> bool {
        if let Some(news) = self.interrupt.news() {
            self.reporter.note(news);
        }
        !self.undoing && self.interrupt.requested()
    }

    /// An error when the operator asked to stop: the safe points of a step.
    pub fn safe_point(&self) -> Result<(), Interrupted> {
        if self.stop_requested() { Err(Interrupted) } else { Ok(()) }
    }

    /// A line below the step that is running.
    pub fn say(&self, line: &str) {
        self.reporter.note(line);
    }

    /// Runs `command` and wants it to succeed.
    pub fn command(&self, host: &dyn Host, command: &Command) -> anyhow::Result<Output> {
        self.safe_point()?;
        let output = host.run(command)?;
        output.stdout_of(host, command)?;
        Ok(output)
    }

    /// Runs `command` as a job: it goes on when the connection breaks. Shows its progress against `total` bytes (where
    /// known) and passes each line of its output on. Ctrl-C asks the job to end and waits until it has cleaned up.
    ///
    /// The output holds the last lines only; `on_line` sees all of them.
    pub fn job(
        &self,
        host: &dyn Host,
        label: &str,
        command: &Command,
        total: Option<u64>,
        on_line: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Output> {
        self.safe_point()?;
        let job = host.start_job(label, command)?;
        if let Some(journal) = self.journal {
            journal.write(Event::Job { job: &job })?;
        }
        self.jobs.borrow_mut().push(job.clone());
        let end = host.follow(&job, &mut |line| {
            // An empty line only says that time passes.
            if !line.is_empty() {
                self.show_progress(line, total);
                on_line(line);
            }
            if self.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match end {
            JobEnd::Detached => {
                self.say("stopping the work on the node");
                host.cancel(&job)?;
                Err(Interrupted.into())
            }
            JobEnd::Finished(output) if output.success() => Ok(output),
            JobEnd::Finished(output) => {
                self.safe_point()?;
                Err(CommandFailed::new(host.name(), command, &output).into())
            }
        }
    }

    fn show_progress(&self, line: &str, total: Option<u64>) {
        match (progress_of(line), total) {
            (Some(Measured::Bytes(done)), Some(total)) => {
                self.reporter.progress(done.min(total), total);
            }
            (Some(Measured::Percent(percent)), Some(total)) => {
                self.reporter.progress(total / 100 * percent, total);
            }
            _ => log::debug!("{}", crate::ui::sanitize(line)),
        }
    }
}
