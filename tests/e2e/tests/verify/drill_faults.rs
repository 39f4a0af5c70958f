//! A drill in which each remote execution fails, or at which the program is killed: nothing but the throw-away guest was
//! touched, and the next drill leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may end that way")]

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use restore_e2e::{
    Ran,
    matrix::{HANGS, KILLED, chosen, is_chosen, run_within},
};
use restore_lab::{
    lab::{Checkpoint, Inventory, Lab},
    ssh::{Act, Moment},
};
use rustix::process::{Pid, Signal, kill_process};

use super::drill::{command, lab};

/// After this a run hangs.
const LIMIT: Duration = Duration::from_secs(100);

/// What happens at one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strike {
    /// The node cannot run it.
    Fail(usize),
    /// The program is killed while the node runs it.
    Kill(usize),
}

#[derive(Clone, Copy)]
struct Case {
    guest: &'static str,
    strike: Strike,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.strike {
            Strike::Fail(k) => write!(f, "drill-{}-fail-{k:02}", self.guest),
            Strike::Kill(k) => write!(f, "drill-{}-kill-{k:02}", self.guest),
        }
    }
}

/// A lab, and how it is at the beginning of each case.
struct Ground {
    lab: Lab,
    before: Inventory,
    checkpoint: Checkpoint,
}

impl Ground {
    fn drill(&self, guest: &str, strike: Option<Strike>) -> Ran {
        let server = self.lab.server().unwrap();
        server.begin_anew();
        let pid: Arc<Mutex<Option<Pid>>> = Arc::default();
        let (aimed, struck) = (Arc::clone(&pid), AtomicBool::new(false));
        server.watch(move |moment| match (strike, moment) {
            (Some(Strike::Fail(k)), Moment::Before(now)) if k == now => Act::Fail,
            // One that prints nothing has no middle.
            (Some(Strike::Kill(k)), Moment::During(now) | Moment::After(now))
                if k == now && !struck.swap(true, Ordering::SeqCst) =>
            {
                let pid = until(|| *aimed.lock().unwrap());
                kill_process(pid, Signal::KILL).unwrap();
                Act::GoOn
            }
            _ => Act::GoOn,
        });
        let aim = |process: u32| *pid.lock().unwrap() = Pid::from_raw(process.try_into().unwrap());
        run_within(command(&self.lab, &[guest]), LIMIT, aim).unwrap()
    }

    /// What differs from the beginning, unless it belongs to the throw-away guest or to a run that is to be carried on.
    fn foreign(&self) -> Vec<String> {
        let now = self.lab.inventory().unwrap().files;
        let of_drill = |path: &str| {
            path.contains("9900")
                || path.starts_with("/var/tmp/pve-restore/")
                || path.starts_with("/var/tmp/vzdumptmp")
        };
        difference(&self.before.files, &now).into_iter().filter(|path| !of_drill(path)).collect()
    }

    /// Everything that differs.
    fn left(&self) -> Vec<String> {
        let mut left = difference(&self.before.files, &self.lab.inventory().unwrap().files);
        left.extend(
            self.lab.path("/var/tmp/pve-restore").exists().then(|| "/var/tmp/pve-restore".to_owned()),
        );
        left
    }

    fn try_case(&self, case: Case) -> Result<(), String> {
        let first = self.drill(case.guest, Some(case.strike));
        let wanted: &[i32] = if matches!(case.strike, Strike::Kill(_)) { &[KILLED] } else { &[0, 2] };
        let mut wrong = Vec::new();
        if !wanted.contains(&first.code) || first.code == HANGS {
            wrong.push(format!("it ended with {}", first.code));
        }
        wrong.extend(self.foreign());
        let second = self.drill(case.guest, None);
        if second.code != 0 {
            wrong.push(format!("the next ended with {}", second.code));
        }
        until(|| (!self.lab.is_busy()).then_some(()));
        wrong.extend(self.left());
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{case}: {wrong:#?}\n{first}\n--- the next\n{second}"))
        }
    }
}

fn difference(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let changed =
        now.iter().filter(|(path, content)| before.get(*path) != Some(content)).map(|(path, _)| path);
    changed.chain(before.keys().filter(|path| !now.contains_key(*path))).cloned().collect()
}

fn until<T>(mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < LIMIT, "waited in vain");
        std::thread::yield_now();
    }
}

#[rstest::rstest]
fn whatever_fails_or_is_killed_nothing_is_left(#[values("101", "102")] guest: &'static str) {
    if !is_chosen(&format!("drill-{guest}-")) {
        return;
    }
    let lab = lab();
    let (before, checkpoint) = (lab.inventory().unwrap(), lab.checkpoint().unwrap());
    let ground = Ground { lab, before, checkpoint };
    let clean = ground.drill(guest, None);
    assert!(clean.code == 0 && ground.left().is_empty(), "{:?}: {clean}", ground.left());
    let executions = ground.lab.server().unwrap().executions();
    let cases = (1..=executions).flat_map(|k| [Strike::Fail(k), Strike::Kill(k)]);
    let mut failed = Vec::new();
    for case in chosen(cases.map(|strike| Case { guest, strike }).collect()) {
        ground.lab.go_back(&ground.checkpoint).unwrap();
        failed.extend(ground.try_case(case).err());
    }
    assert!(failed.is_empty(), "of {executions} executions:\n{}", failed.join("\n\n"));
}
