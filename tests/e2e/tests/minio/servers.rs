//! Servers that can do less, or that are reached otherwise; none of it needs the node.

use restore_e2e::States;
use restore_lab::{
    s3::{Engine, Fault, Options, S3Server},
    terraform::{self, ENVIRONMENTS, bucket},
};
use rstest::rstest;

const KEY: &str = "terraform.tfstate";

/// All environments applied, their states known here.
fn prepare<S: S3Server>(states: &States<S>) {
    for environment in ENVIRONMENTS {
        states.apply(environment, [1]);
    }
    states.run(&["--all", "--pull"]).exits(0);
}

/// Removes everything from a bucket.
fn empty<S: S3Server>(states: &States<S>, environment: &str) {
    for version in states.versions(environment) {
        states.admin().delete(&bucket(environment), KEY, Some(&version.id)).unwrap();
    }
}

#[rstest]
fn an_emptied_server_gets_every_state_back(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    prepare(&states);
    let before = states.state("prod");
    for environment in ENVIRONMENTS {
        empty(&states, environment);
    }
    let report = states.rebuild_minio(&["--yes", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["mode"], "add");
    let can = &report["subject"]["capabilities"];
    assert_eq!(
        (&can["kind"], &can["versions"], &can["conditions"]),
        (&"minio".into(), &true.into(), &true.into())
    );
    assert_eq!(states.state("prod"), before);
    for environment in ENVIRONMENTS {
        assert!(!states.project.has_changes(environment).unwrap(), "{environment}");
    }
    states.rebuild_minio(&["--yes"]).exits(0).says("nothing to do");
}

#[rstest]
fn it_speaks_https(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    if !terraform::is_installed().unwrap() {
        return;
    }
    let Some(server) = engine.start(&Options { tls: true, ..Options::default() }).unwrap() else { return };
    let states = States::with(server);
    prepare(&states);
    empty(&states, "lab");
    states.rebuild_minio(&["--yes"]).exits(0);
    assert!(!states.project.has_changes("lab").unwrap());
    // Without the authority nothing is believed.
    let toml = states.project.root().join("restore.toml");
    std::fs::write(&toml, "[s3]\nca = \"/etc/ssl/certs/ca-certificates.crt\"\n").unwrap();
    states.rebuild_minio(&["--yes"]).exits(1).says("TLS");
}

#[test]
fn one_that_honours_no_conditions_is_named_as_such() {
    let Some(states) = States::embedded() else { return };
    prepare(&states);
    empty(&states, "lab");
    states.server.always(Fault::IgnoreConditions);
    let ran = states.rebuild_minio(&["--yes"]).exits(0);
    ran.says("conditional writes: no").says("locks protect nobody");
    assert!(!states.project.has_changes("lab").unwrap());
}

#[test]
fn one_that_keeps_no_versions_is_named_as_such() {
    let Some(states) = States::embedded() else { return };
    prepare(&states);
    empty(&states, "lab");
    states.server.always(Fault::NoVersioning);
    states.rebuild_minio(&["--yes"]).exits(4).says("keeps no versions");
    states.server.heal();
    assert!(!states.project.has_changes("lab").unwrap(), "the state is there all the same");
}

#[test]
fn a_newer_state_and_one_of_another_lineage_are_never_overwritten() {
    let Some(states) = States::embedded() else { return };
    prepare(&states);
    let copy = states.folder().join("copy.tfstate");
    let mut older = states.state("prod");
    std::fs::write(&copy, older.to_string()).unwrap();
    states.apply("prod", [2]);
    let newer = states.state("prod");
    states.rebuild_minio(&["--yes"]).exits(0).says("nothing to do");
    assert_eq!(states.state("prod"), newer);

    // Chosen by the operator it becomes the newest version, and nothing is lost.
    let chosen = format!("prod={}", copy.display());
    states.rebuild_minio(&["--state", &chosen, "--yes"]).exits(0);
    let now = states.state("prod");
    assert_eq!(now["outputs"], older["outputs"]);
    assert!(now["serial"].as_u64() > newer["serial"].as_u64());
    assert_eq!(states.versions("prod").len(), 3);

    older["lineage"] = "11111111-2222-3333-4444-555555555555".into();
    older["serial"] = 99.into();
    std::fs::write(states.file("prod", "errored.tfstate"), older.to_string()).unwrap();
    empty(&states, "lab");
    states.rebuild_minio(&["--yes"]).exits(0).says("of another lineage");
    assert_eq!(states.state("prod"), now);
}

#[test]
fn somebody_who_holds_the_lock_is_waited_for() {
    let Some(states) = States::embedded() else { return };
    prepare(&states);
    empty(&states, "lab");
    let held = states.project.apply_held("lab").unwrap();
    let ran = states.rebuild_minio(&["--yes"]).exits(4);
    ran.says("is locked by").says("force-unlock");
    held.let_go().unwrap();
    states.rebuild_minio(&["--yes"]).exits(0);
    assert!(!states.project.has_changes("prod").unwrap());
}
