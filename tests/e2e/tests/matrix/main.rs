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

use std::{collections::BTreeMap, io, process::ExitCode, time::Instant};

use restore_e2e::matrix::{chosen, conclude, in_parallel, is_chosen, is_wanted};

use bench::Benches;
use case::{Case, Setup};
use trial::Clean;

fn main() -> ExitCode {
    if !is_wanted("the_fault_matrix") {
        return ExitCode::SUCCESS;
    }
    if conclude(&matrix()) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tries what is chosen; gives what failed.
fn matrix() -> Vec<(String, String)> {
    let started = Instant::now();
    let benches = Benches::default();
    let setups: Vec<Setup> = Setup::all().into_iter().filter(|setup| is_chosen(&setup.to_string())).collect();
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
    let chosen: Vec<Case> = chosen(cases);
    let results = in_parallel(&chosen, |case| {
        flat(benches.with(case.setup.pve, |bench| trial::try_case(bench, case, &clean_of[&case.setup])))
    });
    let grounds = clean_of.values().map(|clean| clean.grounds.lock().map_or(0, |known| known.len()));
    let grounds: usize = grounds.sum();
    println!(
        "fault matrix: {} cases generated, {} run, run again from {} different states, in {:.0} s",
        generated,
        results.len(),
        grounds,
        started.elapsed().as_secs_f64()
    );
    let named = chosen.iter().zip(results);
    failed.extend(named.filter_map(|(case, result)| Some((case.to_string(), result.err()?))));
    failed
}

fn flat<T>(result: io::Result<Result<T, String>>) -> Result<T, String> {
    result.unwrap_or_else(|error| Err(format!("  * the lab: {error}")))
}
