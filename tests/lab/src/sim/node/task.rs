//! Worker tasks: their output goes to the terminal and into a log whose name is the task's ID.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Failure, Node, Outcome};
use crate::sim::Io;

/// The folder of the task logs.
pub const TASKS: &str = "/var/log/pve/tasks";

/// Tells the tasks of one process apart.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// A running task.
pub struct Task<'a> {
    /// `UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER:`
    pub upid: String,
    stdout: &'a mut dyn Write,
    log: File,
    warnings: usize,
    killed: Option<Failure>,
}

impl Task<'_> {
    /// Prints a line on the terminal and into the log.
    pub fn line(&mut self, line: &str) -> Outcome {
        self.text(&format!("{line}\n"))
    }

    /// Prints text as it is.
    pub fn text(&mut self, text: &str) -> Outcome {
        if let Some(failure) = &self.killed {
            return Err(failure.clone());
        }
        let printed = self.stdout.write_all(text.as_bytes()).and_then(|()| self.stdout.flush());
        if printed.is_err() {
            return Err(self.kill(Failure::killed("broken pipe", 255)));
        }
        Ok(self.log.write_all(text.as_bytes())?)
    }

    /// Prints a warning; the task then ends with `TASK WARNINGS`.
    pub fn warning(&mut self, line: &str) -> Outcome {
        self.warnings += 1;
        self.line(&format!("WARN: {line}"))
    }

    /// From now on the task counts as killed.
    pub fn kill(&mut self, failure: Failure) -> Failure {
        self.killed = Some(failure.clone());
        failure
    }

    /// Whether the task has been killed: nothing may be cleaned up.
    pub fn is_killed(&self) -> bool {
        self.killed.is_some()
    }

    /// Ends the log with the result.
    fn finish(mut self, outcome: &Outcome) -> i32 {
        let last = match outcome {
            Ok(()) if self.warnings > 0 => format!("\nTASK WARNINGS: {}\n", self.warnings),
            Ok(()) => "TASK OK\n".to_owned(),
            // A killed program cannot write a last line; one that lost its reader can.
            Err(failure) if failure.killed && failure.status != 255 => return failure.status,
            Err(failure) => format!("\nTASK ERROR: {}\n", one_line(&failure.text)),
        };
        drop(self.log.write_all(last.as_bytes()));
        if outcome.is_ok() { 0 } else { 255 }
    }
}

/// The text of a failure as a task reports it: on one line.
fn one_line(text: &str) -> String {
    text.trim_end().replace('\n', " ")
}

impl Node {
    /// Runs a worker task in the foreground, as the programs on a node do.
    ///
    /// Its output arrives on standard output, the final error text on standard error. Gives the exit status.
    pub fn worker(
        &self,
        io: &mut Io<'_>,
        kind: &str,
        id: &str,
        work: impl FnOnce(&mut Task<'_>) -> Outcome,
    ) -> i32 {
        let (status, outcome, warnings) = match self.task(io.stdout, kind, id, work) {
            Ok((upid, status, outcome, warnings)) => {
                self.last_worker.replace(Some(upid));
                (status, outcome, warnings)
            }
            Err(failure) => (failure.status, Err(failure), 0),
        };
        if warnings > 0 {
            io.complain(&format!("Task finished with {warnings} warning(s)!"));
        }
        if let Err(failure) = outcome {
            io.complain(&one_line(&failure.text));
        }
        status
    }

    /// The ID of the worker task that this command has run, for calls of the API, which answer with it.
    pub fn take_last_worker(&self) -> Option<String> {
        self.last_worker.take()
    }

    /// Runs a task inside another one or a request: own log, own result. Gives its UPID and its outcome.
    pub fn subtask(
        &self,
        output: &mut dyn Write,
        kind: &str,
        id: &str,
        work: impl FnOnce(&mut Task<'_>) -> Outcome,
    ) -> (String, Outcome) {
        match self.task(output, kind, id, work) {
            Ok((upid, _, outcome, _)) => (upid, outcome),
            Err(failure) => (String::new(), Err(failure)),
        }
    }

    fn task(
        &self,
        stdout: &mut dyn Write,
        kind: &str,
        id: &str,
        work: impl FnOnce(&mut Task<'_>) -> Outcome,
    ) -> Outcome<(String, i32, Outcome, usize)> {
        let upid = self.new_upid(kind, id);
        let path = self.task_log(&upid);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let log = File::options().create(true).append(true).open(path)?;
        // Held as long as the task runs: that tells it from one that was killed.
        log.try_lock().map_err(io::Error::from)?;
        let mut task = Task { upid: upid.clone(), stdout, log, warnings: 0, killed: None };
        let outcome = work(&mut task);
        let warnings = task.warnings;
        let status = task.finish(&outcome);
        self.index_task(&upid, &outcome);
        Ok((upid, status, outcome, warnings))
    }

    /// The log file of a task.
    pub fn task_log(&self, upid: &str) -> PathBuf {
        let start = upid.split(':').nth(4).unwrap_or_default();
        let folder = start.chars().last().unwrap_or('0');
        self.path(&format!("{TASKS}/{folder}/{upid}"))
    }

    fn new_upid(&self, kind: &str, id: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let pstart = STARTED.fetch_add(1, Ordering::Relaxed) + 0x0005_0000;
        let (node, pid) = (self.name(), std::process::id());
        format!("UPID:{node}:{pid:08X}:{pstart:08X}:{now:08X}:{kind}:{id}:root@pam:")
    }

    /// The list of finished tasks: UPID, end time, status.
    fn index_task(&self, upid: &str, outcome: &Outcome) {
        let status = match outcome {
            Ok(()) => "OK".to_owned(),
            Err(failure) if failure.killed => return,
            Err(failure) => one_line(&failure.text),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let line = format!("{upid} {now:08X} {status}\n");
        let index = File::options().create(true).append(true).open(self.path(&format!("{TASKS}/index")));
        if let Ok(mut index) = index {
            drop(index.write_all(line.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_task_says_so_on_standard_error_and_in_its_log() {
        let root = tempfile::tempdir().unwrap();
        let node = Node::open(root.path(), 9).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { stdin: &mut std::io::empty(), stdout: &mut out, stderr: &mut err };
        let status = node.worker(&mut io, "qmstop", "100", |task| {
            task.line("half way")?;
            Err(Failure::new("it\nbroke"))
        });
        assert_eq!(
            (status, out.as_slice(), err.as_slice()),
            (255, b"half way\n".as_slice(), b"it broke\n".as_slice())
        );
        let index = node.read("/var/log/pve/tasks/index").unwrap();
        let upid = index.split(' ').next().unwrap();
        let log = fs::read_to_string(node.task_log(upid)).unwrap();
        assert_eq!(log, "half way\n\nTASK ERROR: it broke\n");
    }
}
