//! Whether the monitoring stack works: its containers, Prometheus, Alertmanager and Grafana, asked as their users would.
//!
//! All services are asked at the same time. What is still starting is waited for, what cannot get better by itself is
//! not; whatever is not as it should be is named with what was seen. A service that could not be asked has not passed.

mod alertmanager;
mod asking;
mod containers;
mod grafana;
mod inventory;
mod prometheus;
mod stack;

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

pub use inventory::Inventory;
pub use stack::{Service, Stack};

use crate::procedure::{CheckResult, CheckStatus};
use asking::{Asker, Seen};

/// What is looked at, in the order of a proof: the stable name, and what it is about.
pub const CHECKS: [(&str, &str); 10] = [
    ("containers", "the containers run and are healthy"),
    ("prometheus", "Prometheus is ready"),
    ("targets", "every target of Prometheus is up"),
    ("rules", "Prometheus has its rules loaded"),
    ("alertmanager", "Alertmanager is ready"),
    ("alerting", "Prometheus sends its alerts to an Alertmanager"),
    ("receivers", "Alertmanager has its receivers"),
    ("grafana", "Grafana is healthy, and its database"),
    ("data-sources", "the data sources of Grafana answer"),
    ("dashboards", "Grafana has its dashboards"),
];

/// How often the operator's wish to stop is looked for.
const SLICE: Duration = Duration::from_millis(50);

/// How long a proof may take, and who is told meanwhile.
pub struct Patience<'a> {
    /// How long it waits for what is still starting; with none, everything is asked once.
    pub limit: Duration,
    /// Whether to stop waiting.
    pub interrupted: &'a dyn Fn() -> bool,
    /// Told what is waited for.
    pub say: &'a dyn Fn(&str),
}

/// What a proof came to.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// One of each of [`CHECKS`], in their order.
    pub checks: Vec<CheckResult>,
    /// What is there, by name.
    pub seen: Inventory,
}

impl Proof {
    /// Whether everything is as it should be.
    pub fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.status == CheckStatus::Passed)
    }
}

/// Proves that a stack works. What was there `before` has to be there again.
pub fn prove(stack: &Stack, before: &Inventory, patience: &Patience<'_>) -> Proof {
    let looks: [fn(&Asker<'_>) -> Vec<Seen>; 4] =
        [containers::look, prometheus::look, alertmanager::look, grafana::look];
    let (said, heard) = mpsc::channel();
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let seen = thread::scope(|scope| {
        let threads = looks.map(|look| {
            let asker = Asker::new(stack, started, patience.limit, &stop, said.clone());
            scope.spawn(move || look(&asker))
        });
        drop(said);
        loop {
            match heard.recv_timeout(SLICE) {
                Ok(words) => (patience.say)(&words),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if (patience.interrupted)() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    put_together(seen, before)
}

/// What is there at this moment, of all that answers at once: to be compared with later.
pub fn take_stock(stack: &Stack) -> Inventory {
    let patience = Patience { limit: Duration::ZERO, interrupted: &|| false, say: &|_| {} };
    prove(stack, &Inventory::default(), &patience).seen
}

fn put_together(mut all: Vec<Seen>, before: &Inventory) -> Proof {
    let mut proof = Proof::default();
    for (id, title) in CHECKS {
        let seen = all.iter().position(|seen| seen.id == id).map(|at| all.swap_remove(at));
        let mut seen = seen.unwrap_or_else(|| Seen::failed(id, "the look at it ended unexpectedly"));
        if let Some(names) = seen.names.take() {
            seen.compare(&before.gone(id, &names));
            proof.seen.note(id, names);
        }
        proof.checks.push(CheckResult {
            id: id.to_owned(),
            title: title.to_owned(),
            status: seen.status,
            saw: seen.saw,
            seconds: (seen.took.as_secs_f64() * 1000.0).round() / 1000.0,
        });
    }
    proof
}
