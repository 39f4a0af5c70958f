//! The fault matrix of `restore-tfstate`: whatever fails at whatever moment of a restore, a fallback or a return, no
//! version is lost, nothing half-written stays, and the same command once more gets there.
//!
//! It is generated: an undisturbed run of each kind shows how many requests the server gets, how often Terraform is called
//! and which files are changed, and each of them is a place where something can go wrong. See `case.rs` for what,
//! `trial.rs` for what is wanted afterwards. Which cases are run: see [`restore_e2e::matrix::chosen`].

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod bench;
mod case;
mod look;
mod trial;

use std::{collections::BTreeMap, io, process::ExitCode, time::Instant};

use bench::Benches;
use case::{Case, Mode};
use restore_e2e::matrix::{chosen, conclude, in_parallel, is_chosen, is_wanted};

fn main() -> ExitCode {
    if !is_wanted("the_fault_matrix_of_states") {
        return ExitCode::SUCCESS;
    }
    if !restore_lab::terraform::is_installed().is_ok_and(|is| is) {
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let failed = matrix().unwrap_or_else(|error| vec![("the lab".to_owned(), error.to_string())]);
    if conclude(&failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tries what is chosen; gives what failed.
fn matrix() -> io::Result<Vec<(String, String)>> {
    let started = Instant::now();
    let tracer = case::tracer()?;
    let benches = Benches::default();
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| is_chosen(&mode.to_string())).collect();
    let cleans =
        in_parallel(&modes, |mode| benches.with(|bench| trial::clean(bench, *mode, tracer.as_deref())));
    let (mut failed, mut cases, mut clean_of) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (mode, clean) in modes.iter().zip(cleans) {
        match clean? {
            Ok(clean) => {
                cases.extend(case::generate(*mode, &clean));
                clean_of.insert(*mode, clean);
            }
            Err(says) => failed.push((mode.to_string(), says)),
        }
    }
    let generated = cases.len();
    let chosen: Vec<Case> = chosen(cases);
    let results = in_parallel(&chosen, |case| {
        let tried = benches.with(|bench| trial::try_case(bench, case, &clean_of[&case.mode]));
        tried.unwrap_or_else(|error| Err(format!("  * the lab: {error}")))
    });
    println!(
        "fault matrix of states: {generated} cases generated, {} run, in {:.0} s",
        results.len(),
        started.elapsed().as_secs_f64()
    );
    let named = chosen.iter().zip(results);
    failed.extend(named.filter_map(|(case, result)| Some((case.to_string(), result.err()?))));
    Ok(failed)
}
