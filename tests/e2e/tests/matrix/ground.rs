//! What a case leaves for whoever comes next. From the same ground every further run goes the same way, so one is enough.

use std::{collections::BTreeMap, fs, io};

use crate::{bench::Bench, case::Setup, state::State, trial::Clean};

/// Everything on the node and on the operator's machine that a further run could meet, without names that are made anew
/// each time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ground {
    restored: bool,
    runs: bool,
    /// Files that were not there at the beginning, and how many with that name.
    new: BTreeMap<String, usize>,
    gone: Vec<String>,
    /// How each journal ends.
    journals: Vec<String>,
}

impl Ground {
    /// `None` when the guest is neither restored nor as before: such a ground is like no other.
    pub fn of(bench: &Bench, setup: Setup, state: Option<&State>, clean: &Clean) -> io::Result<Option<Self>> {
        let is_before = match (state, bench.before(setup)) {
            (Some(now), Some(before)) => now.is(before),
            (now, before) => now.is_none() && before.is_none(),
        };
        let restored = state.is_some_and(|state| state.is(&clean.restored));
        if !is_before && !restored {
            return Ok(None);
        }
        let now = bench.lab.inventory()?;
        let mut new = BTreeMap::new();
        for path in now.files.keys().filter(|path| !bench.initial.files.contains_key(*path)) {
            *new.entry(timeless(path)).or_default() += 1;
        }
        let gone =
            bench.initial.files.keys().filter(|path| !now.files.contains_key(*path)).cloned().collect();
        let runs = state.is_some_and(|state| state.contents.runs);
        Ok(Some(Self { restored, runs, new, gone, journals: journals(bench)? }))
    }
}

/// Times and numbers of processes are digits.
fn timeless(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect()
}

/// The last line of each, which tells how the run ended, or that it did not.
fn journals(bench: &Bench) -> io::Result<Vec<String>> {
    let folder = bench.lab.operator().home().join(".local/state/pve-restore/runs");
    let mut ends = Vec::new();
    let entries = match fs::read_dir(folder) {
        // No run has come as far as to keep one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ends),
        entries => entries?,
    };
    for entry in entries {
        let text = fs::read_to_string(entry?.path())?;
        ends.push(timeless(text.lines().last().unwrap_or_default()));
    }
    ends.sort();
    ends.dedup();
    Ok(ends)
}
