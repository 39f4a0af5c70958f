//! The fault matrix of `rebuild-monitoring`: whatever fails at whatever moment, nothing is lost that was to stay, and the
//! same command once more gets there.
//!
//! It is generated: an undisturbed run of each mode shows how often the node is asked and how often Terraform is called,
//! and each of these is a moment at which it fails, or at which the program is killed. Which cases are run: see
//! [`restore_e2e::matrix::chosen`].

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod case;
mod rebuild;
mod restore;

use std::{io, process::ExitCode, time::Instant};

use case::{Benches, Case, Ground, Mode, clean, try_case};
use restore_e2e::matrix::{chosen, conclude, in_parallel, is_chosen, is_wanted};

fn main() -> ExitCode {
    if !is_wanted("the_fault_matrix_of_monitoring") {
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let mut failed = Vec::new();
    let mut counts = (0, 0);
    for (mode, tried) in [
        (Mode::Restore, matrix::<restore::Restore>(Mode::Restore, &mut counts)),
        (Mode::Rebuild, matrix::<rebuild::Rebuild>(Mode::Rebuild, &mut counts)),
    ] {
        match tried {
            Ok(found) => failed.extend(found),
            Err(error) => failed.push((mode.to_string(), format!("  * the lab: {error}"))),
        }
    }
    println!(
        "fault matrix of monitoring: {} cases generated, {} run, in {:.0} s",
        counts.0,
        counts.1,
        started.elapsed().as_secs_f64()
    );
    if conclude(&failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Tries what is chosen of a mode; gives what failed. Nothing is tried where the lab says that something is missing.
fn matrix<G: Ground>(mode: Mode, counts: &mut (usize, usize)) -> io::Result<Vec<(String, String)>> {
    let benches = Benches::<G>::default();
    if !is_chosen(&mode.to_string()) {
        return Ok(Vec::new());
    }
    let moments = match benches.with(clean)? {
        None => return Ok(Vec::new()),
        Some(Err(says)) => return Ok(vec![(mode.to_string(), says)]),
        Some(Ok(moments)) => moments,
    };
    let cases = case::generate(mode, moments);
    counts.0 += cases.len();
    let chosen: Vec<Case> = chosen(cases);
    counts.1 += chosen.len();
    let results = in_parallel(&chosen, |case| match benches.with(|ground| try_case(ground, case)) {
        Ok(Some(result)) => result,
        Ok(None) => Err("  * the lab is not there any more".to_owned()),
        Err(error) => Err(format!("  * the lab: {error}")),
    });
    let named = chosen.iter().zip(results);
    Ok(named.filter_map(|(case, result)| Some((case.to_string(), result.err()?))).collect())
}
