//! What the fault matrices share: which cases are run, several at a time, each with a limit.

use std::{
    env, io,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Ran;

/// The exit code of a program that was killed by a signal.
pub const KILLED: i32 = 256;

/// The exit code of a program that had to be ended from outside, because it took too long.
pub const HANGS: i32 = 257;

/// What one try in so many is by default.
const SAMPLE: usize = 8;

/// Whether this test runs: without `--list`, and with no name on the command line that is another test's.
pub fn is_wanted(name: &str) -> bool {
    if env::args().any(|word| word == "--list") {
        println!("{name}: test");
        return false;
    }
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
}

/// The cases that are run. `MATRIX=8` is every eighth (the default), `MATRIX=all` all of them,
/// `MATRIX_CASE=vm-over-8-kill-during-12` those whose names begin so.
pub fn chosen<C: ToString>(cases: Vec<C>) -> Vec<C> {
    chosen_of("MATRIX", cases)
}

/// The same, with a variable of the matrix's own, which goes before `MATRIX`.
pub fn chosen_of<C: ToString>(variable: &str, cases: Vec<C>) -> Vec<C> {
    match env::var("MATRIX_CASE") {
        Ok(name) => cases.into_iter().filter(|case| case.to_string().starts_with(&name)).collect(),
        Err(_) => cases.into_iter().step_by(every(variable)).collect(),
    }
}

/// Whether a group of cases has any that may be run.
pub fn is_chosen(group: &str) -> bool {
    env::var("MATRIX_CASE").map_or(true, |name| name.starts_with(group))
}

fn every(variable: &str) -> usize {
    match env::var(variable).or_else(|_| env::var("MATRIX")).ok().as_deref() {
        Some("all") => 1,
        Some(number) => number.parse().unwrap_or(SAMPLE).max(1),
        None => SAMPLE,
    }
}

/// Runs wait most of the time, so there are more of them than processors. The results are in order.
pub fn in_parallel<T: Sync, R: Send>(work: &[T], one: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = 3 * thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    let Some(item) = work.get(at) else { return };
                    let result = one(item);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Runs a program without input to its end, or ends it after `limit`. `started` is told its process id.
pub fn run_within(mut command: Command, limit: Duration, started: impl FnOnce(u32)) -> io::Result<Ran> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = child.id();
    started(pid);
    let (ended, wait) = channel::<()>();
    let watchdog = thread::spawn(move || {
        let hangs = wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| hangs) {
            let _ = kill_process(pid, Signal::KILL);
        }
        hangs
    });
    let output = child.wait_with_output()?;
    drop(ended);
    let mut ran = Ran::new(&output);
    if watchdog.join().unwrap_or(true) {
        ran.code = HANGS;
    }
    Ok(ran)
}

/// Prints what failed; whether anything did.
pub fn conclude(failed: &[(String, String)]) -> bool {
    for (name, says) in failed {
        println!("\nFAILED {name} (alone: MATRIX_CASE={name})\n{says}");
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    println!("{} failed {names:?}", failed.len());
    !failed.is_empty()
}
