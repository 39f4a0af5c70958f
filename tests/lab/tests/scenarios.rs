//! The simulator against what was seen on real programs.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use restore_lab::sim::scenario::{Scenario, load};

/// Which scenarios must agree: the group, and the start of the command's name.
const DONE: &[(u32, &str)] = &[
    (1, "qmrestore"),
    (2, "qmrestore"),
    (3, "qmrestore"),
    (4, "qmrestore"),
    (5, "qm"),
    (5, "pct"),
    (6, "pct"),
    (7, "qm"),
    (7, "pct"),
    (8, "pvesh"),
    (8, "pvesm"),
    (9, "vzdump"),
];

/// Scenarios whose output tells of a truncated archive that their `given` calls sound: the first half of a retry.
const UNTOLD: &[&str] = &[
    "5/first-failed-new-b",
    "5/first-failed-over-existing",
    "5/ct-first-failed-over-existing",
    "5/ct-first-failed-new",
];

/// Where the bits of the very file decide: which member a flipped bit hits.
const CHANCE: &[&str] = &["6/ct-force-plain-payload-bit"];

fn scenarios() -> Vec<Scenario> {
    load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/scenarios.json.zst"))).unwrap()
}

/// Whether the simulator has to agree.
fn is_done(scenario: &Scenario) -> bool {
    let mut done = DONE.iter();
    done.any(|(group, program)| scenario.group == *group && scenario.program().starts_with(program))
        && !UNTOLD.iter().chain(CHANCE).any(|name| scenario.name.contains(name))
}

/// What the simulator does otherwise than the real program.
fn disagreement(scenario: &Scenario) -> Option<String> {
    let problems = scenario.check().unwrap();
    (!problems.is_empty()).then(|| format!("{}\n{}", scenario.name, problems.join("\n")))
}

#[test]
fn the_simulator_does_what_the_real_programs_did() {
    let scenarios: Vec<_> = scenarios().into_iter().filter(is_done).collect();
    for (group, program) in DONE {
        let tried = scenarios.iter().any(|scenario| scenario.group == *group);
        assert!(tried, "no scenario of group {group} for {program}");
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    let disagreements: Vec<String> = std::thread::scope(|scope| {
        let parts = scenarios.chunks(scenarios.len().div_ceil(threads));
        let running: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().filter_map(disagreement).collect::<Vec<_>>()))
            .collect();
        running.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert!(disagreements.is_empty(), "{} disagree\n{}", disagreements.len(), disagreements.join("\n\n"));
}
