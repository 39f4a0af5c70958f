//! Does to a run what its case says, at the very moment.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use restore_lab::ssh::{Act, Moment};
use rustix::process::{Pid, Signal, kill_process};

use crate::case::Strike;

/// How long the program's process id may take to be known after it was started.
const SOON: Duration = Duration::from_secs(10);

/// Waits for its moment.
pub struct Striker {
    strike: Strike,
    struck: AtomicBool,
    pid: Mutex<Option<Pid>>,
    started: Condvar,
}

impl Striker {
    pub fn new(strike: Strike) -> Arc<Self> {
        Arc::new(Self {
            strike,
            struck: AtomicBool::new(false),
            pid: Mutex::new(None),
            started: Condvar::new(),
        })
    }

    /// The program runs, as this process.
    pub fn aim_at(&self, pid: u32) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) =
            i32::try_from(pid).ok().and_then(Pid::from_raw);
        self.started.notify_all();
    }

    /// What the server does now.
    pub fn at(&self, moment: Moment) -> Act {
        let act = match &self.strike {
            Strike::Command { .. } => return Act::GoOn,
            Strike::Execution(k) if moment == Moment::Before(*k) => Act::Fail,
            Strike::Cut(planned) if is(*planned, moment) => Act::Cut,
            Strike::Kill(planned) if is(*planned, moment) => {
                // What dies before the end of its work says nothing more; what it had begun goes on.
                if matches!(moment, Moment::During(_)) { Act::GoOn } else { Act::Cut }
            }
            Strike::Interrupt(k) if is(Moment::During(*k), moment) => Act::GoOn,
            _ => return Act::GoOn,
        };
        if self.struck.swap(true, Ordering::SeqCst) {
            return Act::GoOn;
        }
        match self.strike {
            Strike::Kill(_) => self.signal(Signal::KILL),
            Strike::Interrupt(_) => self.signal(Signal::INT),
            _ => {}
        }
        act
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, _) = self
            .started
            .wait_timeout_while(pid, SOON, |pid| pid.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = *pid {
            // One that has just ended needs no signal.
            let _ = kill_process(pid, signal);
        }
    }
}

/// An execution that prints nothing is struck at its end instead of in its middle.
fn is(planned: Moment, now: Moment) -> bool {
    planned == now || matches!((planned, now), (Moment::During(k), Moment::After(n)) if k == n)
}
