//! What a step may use while it runs: progress, the interrupt, and work on the node that outlives the connection.

use std::{cell::RefCell, ops::ControlFlow, time::Instant};

use super::{CutOff, Interrupted, Journal, Reporter, journal::Event};
use crate::{
    interrupt::Interrupt,
    pve::{Measured, Meter},
    remote::{Command, CommandFailed, Effect, Host, HostError, Job, JobEnd, Output, RunId},
};

/// The running of a plan, as its steps see it.
pub struct Run<'a> {
    journal: &'a Journal,
    reporter: &'a dyn Reporter,
    interrupt: &'a Interrupt,
    attempt: usize,
    undoing: bool,
    place: RefCell<Place>,
}

/// Where the run is. Work on the node is named after its place, so that a run that is carried on finds what it had begun
/// there.
#[derive(Default)]
struct Place {
    name: String,
    count: usize,
    /// What was begun here before the run was cut off.
    known: Vec<Job>,
    /// Nothing new is begun: only what became of the known work is asked.
    settling: bool,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        journal: &'a Journal,
        reporter: &'a dyn Reporter,
        interrupt: &'a Interrupt,
        attempt: usize,
    ) -> Self {
        Self { journal, reporter, interrupt, attempt, undoing: false, place: RefCell::default() }
    }

    /// On the way back Ctrl-C is not heard: the way back is what it asked for.
    pub(super) fn turn_back(&mut self) {
        self.undoing = true;
    }

    /// A step, or its way back, begins. `known` is what it had begun before the run was cut off.
    pub(super) fn enter(&self, name: &str, known: &[Job]) {
        *self.place.borrow_mut() =
            Place { name: name.to_owned(), count: 0, known: known.to_vec(), settling: false };
    }

    /// The step begins as often as it was, to find out how far it came: work of it that still goes on is asked to end,
    /// and nothing new is begun.
    pub(super) fn settle(&self, name: &str, known: &[Job]) {
        self.enter(name, known);
        self.place.borrow_mut().settling = true;
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

    /// Its name, here and on its host.
    pub fn id(&self) -> &RunId {
        self.journal.run()
    }

    /// The id of the step that runs, or whose way back runs.
    pub fn step(&self) -> String {
        let place = self.place.borrow();
        place.name.strip_prefix("undo-").unwrap_or(&place.name).to_owned()
    }

    /// A folder of this run on its host, for what is kept there.
    pub fn folder(&self, host: &dyn Host, name: &str) -> String {
        self.journal.run().folder(host.root(), name)
    }

    /// A folder of this run on its host for what only the way back needs; it is cleared away with the run's jobs.
    pub fn scratch(&self, host: &dyn Host, name: &str) -> String {
        format!("{}/{name}", self.folder(host, "jobs"))
    }

    /// A line below the step that is running.
    pub fn say(&self, line: &str) {
        self.reporter.note(line);
    }

    /// Runs `command` and wants it to succeed. What changes something runs exactly once, also when the connection breaks
    /// or the run is carried on later; its output then holds the last lines only.
    pub fn command(&self, host: &dyn Host, command: &Command) -> anyhow::Result<Output> {
        self.safe_point()?;
        if command.effect() == Effect::Read {
            let output = host.run(command)?;
            output.stdout_of(host, command)?;
            return Ok(output);
        }
        let (begun, limit) = (Instant::now(), command.time_limit());
        let (job, end) = self.carry(host, command, &mut |_| {
            if begun.elapsed() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let JobEnd::Finished(output) = end else {
            host.cancel(&job)?;
            let (host, command) = (host.name().to_owned(), command.to_string());
            return Err(HostError::TimedOut { host, command, seconds: limit.as_secs() }.into());
        };
        output.stdout_of(host, command)?;
        Ok(output)
    }

    /// Runs `command`, which may take hours. Shows its progress against `total` bytes (where known) and passes each line
    /// of its output on. Ctrl-C asks the work to end and waits until it has cleaned up.
    ///
    /// The output holds the last lines only; `on_line` sees all of them.
    pub fn job(
        &self,
        host: &dyn Host,
        command: &Command,
        total: Option<u64>,
        on_line: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Output> {
        self.safe_point()?;
        let mut meter = Meter::default();
        let (job, end) = self.carry(host, command, &mut |line| {
            // An empty line only says that time passes.
            if !line.is_empty() {
                self.show_progress(line, meter.read(line), total);
                on_line(line);
            }
            if self.stop_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match end {
            JobEnd::Finished(output) if output.success() => Ok(output),
            JobEnd::Finished(output) => {
                self.safe_point()?;
                Err(CommandFailed::new(host.name(), command, &output).into())
            }
            JobEnd::Detached | JobEnd::Missing => {
                self.say("stopping the work on the node");
                host.cancel(&job)?;
                // What it had said until then may matter for the way back.
                host.follow(&job, &mut |line| {
                    on_line(line);
                    ControlFlow::Continue(())
                })?;
                Err(Interrupted.into())
            }
        }
    }

    /// Begins work on the node, or finds what was begun, and follows it.
    fn carry(
        &self,
        host: &dyn Host,
        command: &Command,
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> anyhow::Result<(Job, JobEnd)> {
        let (job, is_known) = self.next_job(host, command);
        if self.place.borrow().settling {
            if !is_known || host.cancel(&job)? == JobEnd::Missing {
                return Err(CutOff.into());
            }
            return Ok((job.clone(), host.follow(&job, on_line)?));
        }
        if !is_known {
            self.journal.write(Event::Job { job: job.clone() })?;
        }
        let end = host.run_job(&job, command, on_line)?;
        Ok((job, end))
    }

    /// The next job of this place. What was begun here before counts when it is the same command; where the step takes
    /// another turn this time, other names are used.
    fn next_job(&self, host: &dyn Host, command: &Command) -> (Job, bool) {
        let mut place = self.place.borrow_mut();
        loop {
            place.count += 1;
            let name = format!("{}-{}-{}", self.attempt, place.name, place.count);
            let job = Job::new(host.root(), self.journal.run(), &name, command);
            match place.known.iter().find(|known| known.dir == job.dir) {
                Some(known) if known.command != job.command => {}
                known => return (job, known.is_some()),
            }
        }
    }

    fn show_progress(&self, line: &str, measured: Option<Measured>, total: Option<u64>) {
        match (measured, total) {
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
