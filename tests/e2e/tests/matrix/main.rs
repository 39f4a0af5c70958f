//! The fault matrix: whatever fails at whatever moment of a restore, the operator loses nothing.
//!
//! It is generated: an undisturbed run of each kind shows how many remote executions it takes and which commands the node
//! runs, and each of them is a place where something can go wrong. See `case.rs` for what, `guardian.rs` for what is
//! watched all the time, `trial.rs` for what is wanted afterwards.
//!
//! `MATRIX=8` tries every eighth case (the default), `MATRIX=all` all of them, `MATRIX_CASE=vm-over-8-kill-during-12`
//! those whose names begin so.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod bench;
mod case;
mod ground;
mod guardian;
mod leftovers;
mod state;
mod striker;
mod trial;

use std::{
    collections::BTreeMap,
    env, io,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use bench::Benches;
use case::{Case, Setup};
use trial::Clean;

/// What one try in so many is by default.
const SAMPLE: usize = 8;

/// A name on the command line that is not this test's means that others are wanted.
fn is_wanted() -> bool {
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    words.is_empty() || words.iter().any(|word| "the_fault_matrix".contains(word.as_str()))
}

fn main() -> ExitCode {
    if env::args().any(|word| word == "--list") {
        println!("the_fault_matrix: test");
        return ExitCode::SUCCESS;
    }
    if !is_wanted() {
        return ExitCode::SUCCESS;
    }
    let failed = matrix();
    for (name, says) in &failed {
        println!("\nFAILED {name} (alone: MATRIX_CASE={name})\n{says}");
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
    println!("{} failed {names:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries what is chosen; gives what failed.
fn matrix() -> Vec<(String, String)> {
    let started = Instant::now();
    let (only, every) = (env::var("MATRIX_CASE").ok(), every());
    let benches = Benches::default();
    let setups: Vec<Setup> = Setup::all()
        .into_iter()
        .filter(|setup| only.as_ref().is_none_or(|name| name.starts_with(&setup.to_string())))
        .collect();
    let cleans =
        in_parallel(&setups, |setup| flat(benches.with(setup.pve, |bench| trial::clean(bench, *setup))));
    let mut failed = Vec::new();
    let mut cases = Vec::new();
    let mut clean_of: BTreeMap<Setup, Clean> = BTreeMap::new();
    for (setup, clean) in setups.iter().zip(cleans) {
        match clean {
            Ok(clean) => {
                cases.extend(case::generate(*setup, clean.executions, &clean.commands));
                clean_of.insert(*setup, clean);
            }
            Err(says) => failed.push((setup.to_string(), says)),
        }
    }
    let generated = cases.len();
    let chosen: Vec<Case> = match &only {
        Some(name) => cases.into_iter().filter(|case| case.to_string().starts_with(name.as_str())).collect(),
        None => cases.into_iter().step_by(every).collect(),
    };
    let results = in_parallel(&chosen, |case| {
        flat(benches.with(case.setup.pve, |bench| trial::try_case(bench, case, &clean_of[&case.setup])))
    });
    let grounds = clean_of.values().map(|clean| clean.grounds.lock().map_or(0, |known| known.len()));
    let grounds: usize = grounds.sum();
    println!(
        "fault matrix: {} cases generated, {} run (MATRIX={every}), run again from {} different states, in {:.0} s",
        generated,
        results.len(),
        grounds,
        started.elapsed().as_secs_f64()
    );
    let named = chosen.iter().zip(results);
    failed.extend(named.filter_map(|(case, result)| Some((case.to_string(), result.err()?))));
    failed
}

fn every() -> usize {
    match env::var("MATRIX").ok().as_deref() {
        Some("all") => 1,
        Some(number) => number.parse().unwrap_or(SAMPLE).max(1),
        None => SAMPLE,
    }
}

fn flat<T>(result: io::Result<Result<T, String>>) -> Result<T, String> {
    result.unwrap_or_else(|error| Err(format!("  * the lab: {error}")))
}

/// Runs wait for the node most of the time, so there are more of them than processors. The results are in order.
fn in_parallel<T: Sync, R: Send>(work: &[T], one: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let workers = 2 * thread::available_parallelism().map_or(1, usize::from);
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
