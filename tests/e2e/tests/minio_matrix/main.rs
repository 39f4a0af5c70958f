//! The fault matrix of `rebuild-minio`: whatever fails at whatever moment, and wherever the program is killed, every environment
//! has a state that can be read, and the same command gets there in the end.
//!
//! It is generated: an undisturbed run of each kind shows how many remote executions, runs of Terraform and requests to the
//! server it takes, and each of them is a place where something goes wrong. See `trial.rs` for what is wanted afterwards.
//! Each case takes Terraform's own seconds, so `MATRIX_MINIO` says for this matrix alone how many are run. Which they are: see [`restore_e2e::matrix::chosen`].

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod bench;
mod case;
mod trial;

use std::{collections::BTreeMap, io, process::ExitCode, time::Instant};

use bench::Benches;
use case::{Case, Mode};
use restore_e2e::matrix::{chosen_of, conclude, in_parallel, is_chosen, is_wanted};

fn main() -> ExitCode {
    if !is_wanted("the_fault_matrix_of_minio") {
        return ExitCode::SUCCESS;
    }
    match matrix() {
        Ok(Some(failed)) if conclude(&failed) => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the lab: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Tries what is chosen; gives what failed. Nothing where a program that the lab needs is not there, which was said.
fn matrix() -> io::Result<Option<Vec<(String, String)>>> {
    let started = Instant::now();
    let benches = Benches::default();
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| is_chosen(&mode.to_string())).collect();
    if benches.with(|_| Ok(()))?.is_none() {
        return Ok(None);
    }
    let cleans = in_parallel(&modes, |mode| benches.with(|bench| trial::clean(bench, *mode)));
    let (mut failed, mut cases, mut counts) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (mode, clean) in modes.iter().zip(cleans) {
        match clean?.unwrap_or_else(|| Err("the lab went away".to_owned())) {
            Ok(clean) => {
                cases.extend(case::generate(*mode, &clean));
                counts.insert(mode.to_string(), clean);
            }
            Err(says) => failed.push((mode.to_string(), says)),
        }
    }
    let generated = cases.len();
    let chosen: Vec<Case> = chosen_of("MATRIX_MINIO", cases);
    let results = in_parallel(&chosen, |case| benches.with(|bench| trial::try_case(bench, case)));
    println!(
        "fault matrix of MinIO: {generated} cases generated from {counts:?}, {} run, in {:.0} s",
        results.len(),
        started.elapsed().as_secs_f64()
    );
    for (case, result) in chosen.iter().zip(results) {
        let ended = result.unwrap_or_else(|error| Some(Err(format!("  * the lab: {error}"))));
        failed.extend(ended.and_then(Result::err).map(|says| (case.to_string(), says)));
    }
    Ok(Some(failed))
}
