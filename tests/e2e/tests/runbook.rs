//! The disaster-recovery runbook, run as it stands there: every marked command in a homelab of which only the backups are left.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use restore_e2e::runbook::{self, Step};
use restore_lab::{
    homelab::{Homelab, Scenario},
    lab::program_under_test,
    s3::{Engine, MinIo},
    terraform::ENVIRONMENTS,
};

/// What the whole disaster may take.
const AN_HOUR: Duration = Duration::from_secs(3600);

/// What has to be in it, in this order.
const CHAPTERS: [&str; 5] = ["minio", "states", "monitoring", "guests", "verify"];

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/DISASTER-RECOVERY.md")).unwrap()
}

/// With the real MinIO, which has to be there in CI.
fn lost_homelab() -> Option<Homelab> {
    let engine = MinIo::find().map_or(Engine::Embedded, |_| Engine::MinIo);
    assert!(engine == Engine::MinIo || std::env::var_os("CI").is_none(), "in CI MinIO has to be there");
    Scenario::NodeLost.start(engine).unwrap()
}

/// Runs some steps. Gives the first that ends otherwise than the document says, with what it printed.
fn follow(homelab: &Homelab, steps: &[Step]) -> Option<String> {
    let operator = homelab.command("verify-backups");
    let programs = program_under_test("verify-backups");
    let programs = programs.parent().unwrap();
    steps.iter().find_map(|step| {
        let (code, printed) = runbook::run(step, &operator, programs).unwrap();
        let differs = runbook::essence(&printed) != runbook::essence(&step.printed);
        (code != 0 || differs).then(|| {
            format!("`{}` ends with {code} and prints\n{printed}\ninstead of\n{}", step.name, step.printed)
        })
    })
}

#[test]
fn the_runbook_brings_everything_back_and_prints_what_it_says() {
    let steps = runbook::steps(&page()).unwrap();
    let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, CHAPTERS, "`cargo xtask capture` writes what they print");
    let Some(homelab) = lost_homelab() else { return };
    let begun = Instant::now();
    assert_eq!(follow(&homelab, &steps), None);
    assert!(begun.elapsed() < AN_HOUR);
    for environment in ENVIRONMENTS {
        assert!(!homelab.terraform().has_changes(environment).unwrap(), "{environment}");
    }
}

#[rstest::rstest]
#[case("minio", "states")]
#[case("guests", "verify")]
fn a_step_that_is_left_out_is_missed(#[case] left_out: &str, #[case] by: &str) {
    let Some(homelab) = lost_homelab() else { return };
    let mut steps = runbook::steps(&page()).unwrap();
    steps.retain(|step| step.name != left_out);
    let missed = follow(&homelab, &steps).unwrap();
    assert!(missed.starts_with(&format!("`{by}` ends with")), "{missed}");
}

/// What [`Scenario::task`] tells the operator to do is what helps.
#[rstest::rstest]
#[case(Scenario::StateBroken, "restore-tfstate --env prod --restore previous --yes", 1)]
#[case(Scenario::MinioDead, "rebuild-minio --yes", 0)]
#[case(Scenario::MonitoringDead, "rebuild-monitoring --yes", 0)]
fn each_scenario_can_be_mended(#[case] scenario: Scenario, #[case] command: &str, #[case] verified: i32) {
    let Some(homelab) = scenario.start(Engine::Embedded).unwrap() else { return };
    let words: Vec<_> = command.split(' ').collect();
    let run = |words: &[&str]| {
        let mut command = homelab.command(words[0]);
        command.args(&words[1..]);
        restore_e2e::run(command)
    };
    let broken = run(&["verify-backups", "--full"]);
    assert!(broken.code > verified, "{broken}");
    let _ = run(&words).exits(0);
    let _ = run(&["verify-backups", "--full"]).exits(verified);
}
