//! Work without the server, and the way back.

use std::fs;

use restore_e2e::States;
use restore_lab::{
    s3::{Engine, S3Server},
    terraform::{self, ENVIRONMENTS},
};
use rstest::rstest;

const OVERRIDE: &str = "backend_override.tf";
const LOCAL: &str = "fallback.tfstate";

/// All environments applied twice, and their states known here.
fn prepared(engine: Engine) -> Option<States<Box<dyn S3Server>>> {
    let states = States::start(engine)?;
    for environment in ENVIRONMENTS {
        states.apply(environment, 1..=2);
    }
    states.run(&["--all", "--pull"]).exits(0);
    Some(states)
}

#[rstest]
fn the_server_dies_work_goes_on_and_comes_home(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(mut states) = prepared(engine) else { return };
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--list"]).exits(1).says("connection refused").says("--fallback");

    states.run(&["--all", "--fallback", "--yes"]).exits(0).says("connection refused");
    for environment in ENVIRONMENTS {
        assert!(!states.project.has_changes(environment).unwrap(), "{environment}");
    }
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    // Once more, it is so already, and the work that was done meanwhile stays.
    states.run(&["--all", "--fallback", "--yes"]).exits(0).says("already");
    assert!(!states.project.has_changes("prod").unwrap());
    states.run(&["--all", "--return", "--yes"]).exits(1).says("start the server first");
    assert!(states.file("prod", OVERRIDE).exists());

    states.server.start_again().unwrap();
    let report = states.run(&["--all", "--return", "--yes", "--json"]).exits(0).report();
    assert_eq!(report["reports"].as_array().unwrap().len(), 3);
    for environment in ENVIRONMENTS {
        for name in [OVERRIDE, LOCAL, "fallback.tfstate.backup"] {
            assert!(!states.file(environment, name).exists(), "{environment}/{name}");
        }
        assert!(!states.project.has_changes(environment).unwrap(), "{environment}");
    }
    let now = states.state("prod");
    assert_eq!(now["outputs"]["release"]["value"], 4);
    assert!(now["serial"].as_u64() > Some(2), "Terraform raises it with each write: {}", now["serial"]);
    assert_eq!(states.versions("prod").len(), 3);
    assert_eq!(states.versions("lab").len(), 2, "nothing was changed, so nothing is written");
    states.run(&["--all", "--return", "--yes"]).exits(0).says("not on fallback");
    states.project.release("prod", 5).unwrap();
    states.project.apply("prod").unwrap();
}

#[rstest]
fn what_both_sides_have_changed_is_a_conflict(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(mut states) = prepared(engine) else { return };
    let base = states.versions("prod")[0].id.clone();
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    states.server.start_again().unwrap();
    // Somebody else works with the bucket: the same history, another change.
    let bytes = states.admin().get(&terraform::bucket("prod"), "terraform.tfstate", Some(&base)).unwrap();
    let mut theirs: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    theirs["serial"] = 3.into();
    theirs["outputs"]["release"]["value"] = 99.into();
    let theirs = theirs.to_string();
    states.admin().put(&terraform::bucket("prod"), "terraform.tfstate", theirs.as_bytes()).unwrap();

    let (files, versions) = (states.files("prod"), states.versions("prod"));
    let refused = states.run(&["--env", "prod", "--return", "--yes"]).exits(1);
    refused
        .says("conflict: both were changed")
        .says("In the bucket: serial 3, 7 resources")
        .says("Here: serial");
    assert_eq!((states.files("prod"), states.versions("prod")), (files, versions));
}

#[test]
fn what_only_the_bucket_has_changed_stays() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    states.server.start_again().unwrap();
    let mut theirs = states.state("prod");
    theirs["serial"] = 3.into();
    theirs["outputs"]["release"]["value"] = 99.into();
    let bytes = theirs.to_string();
    states.admin().put(&terraform::bucket("prod"), "terraform.tfstate", bytes.as_bytes()).unwrap();
    states.run(&["--env", "prod", "--return", "--yes"]).exits(0).says("has a newer state");
    assert_eq!(states.state("prod"), theirs);
    assert!(!states.file("prod", OVERRIDE).exists() && !states.file("prod", LOCAL).exists());
}

#[test]
fn another_lineage_in_the_bucket_is_a_conflict() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    states.server.start_again().unwrap();
    let mut theirs = states.state("prod");
    theirs["lineage"] = "11111111-2222-3333-4444-555555555555".into();
    let bytes = theirs.to_string();
    states.admin().put(&terraform::bucket("prod"), "terraform.tfstate", bytes.as_bytes()).unwrap();
    states.run(&["--env", "prod", "--return", "--yes"]).exits(1).says("different lineages");
    assert!(states.file("prod", OVERRIDE).exists());
}

#[rstest]
fn an_empty_new_server_gets_the_state(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(mut states) = prepared(engine) else { return };
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    states.server.start_again().unwrap();
    let bucket = terraform::bucket("prod");
    for version in states.versions("prod") {
        states.admin().delete(&bucket, "terraform.tfstate", Some(&version.id)).unwrap();
    }
    states.run(&["--env", "prod", "--return", "--yes"]).exits(0).says("becomes its first version");
    assert_eq!(states.state("prod")["outputs"]["release"]["value"], 4);
    assert!(!states.project.has_changes("prod").unwrap());
}

#[test]
fn without_versions_in_the_bucket_nothing_goes_home() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    states.server.start_again().unwrap();
    states.admin().set_versioning(&terraform::bucket("prod"), "Suspended").unwrap();
    let files = states.files("prod");
    states.run(&["--env", "prod", "--return", "--yes"]).exits(1).says("keeps no versions");
    assert_eq!(states.files("prod"), files);
}

#[test]
fn a_server_that_answers_after_all_gives_its_state() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let report = states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0).says("the bucket: serial 2");
    report.says("answers");
    assert!(!states.project.has_changes("prod").unwrap());
    states.project.release("prod", 3).unwrap();
    states.project.apply("prod").unwrap();
    assert_eq!(states.versions("prod").len(), 2, "the bucket is not written to");
    states.run(&["--env", "prod", "--return", "--yes"]).exits(0);
    assert_eq!(states.state("prod")["outputs"]["release"]["value"], 3);
}

#[test]
fn the_freshest_copy_is_taken_wherever_it_is() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    let mut fresher = states.state("prod");
    fresher["serial"] = 7.into();
    fs::write(states.file("prod", "errored.tfstate"), fresher.to_string()).unwrap();
    let mut older_life = states.state("prod");
    older_life["serial"] = 99.into();
    older_life["lineage"] = "11111111-2222-3333-4444-555555555555".into();
    fs::write(states.file("prod", "terraform.tfstate.old"), older_life.to_string()).unwrap();
    states.run(&["--env", "prod", "--list"]).exits(0).says("errored.tfstate").says("terraform state push");
    states.server.stop().unwrap();
    let ran = states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    ran.says("errored.tfstate: serial 7").says("left alone, of another lineage");
    let local: serde_json::Value =
        serde_json::from_slice(&fs::read(states.file("prod", LOCAL)).unwrap()).unwrap();
    assert_eq!(local["serial"], 7);
}

#[test]
fn a_backend_file_is_never_edited_and_a_foreign_override_stays() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    let backend = fs::read(states.file("prod", "backend.tf")).unwrap();
    states.server.stop().unwrap();
    let own = "terraform {\n  backend \"local\" {}\n}\n";
    fs::write(states.file("prod", OVERRIDE), own).unwrap();
    for mode in ["--fallback", "--return"] {
        states.run(&["--env", "prod", mode, "--yes"]).exits(1).says("backend_override.tf");
    }
    assert_eq!(fs::read_to_string(states.file("prod", OVERRIDE)).unwrap(), own);
    fs::remove_file(states.file("prod", OVERRIDE)).unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    assert_eq!(fs::read(states.file("prod", "backend.tf")).unwrap(), backend);
}

#[test]
fn nothing_is_left_behind_when_terraform_fails() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    let broken = states.file("prod", "broken.tf");
    fs::write(&broken, "resource {").unwrap();
    let before = states.files("prod");
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(2).says("broken.tf");
    assert_eq!(states.files("prod"), before);

    fs::remove_file(&broken).unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0);
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    states.server.start_again().unwrap();
    fs::write(&broken, "resource {").unwrap();
    let (before, state) = (states.files("prod"), states.state("prod"));
    states.run(&["--env", "prod", "--return", "--yes"]).exits(2).says("broken.tf");
    assert_eq!(states.files("prod"), before, "the fallback goes on");
    let now = states.state("prod");
    assert_eq!(now["outputs"], state["outputs"], "what was there before is current again");
    fs::remove_file(&broken).unwrap();
    states.run(&["--env", "prod", "--return", "--yes"]).exits(0);
    assert_eq!(states.state("prod")["outputs"]["release"]["value"], 4);
    assert!(!states.project.has_changes("prod").unwrap());
}

#[test]
fn another_workspace_falls_back_alone() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    let output = states.project.command("prod", &["workspace", "new", "blue"]).unwrap().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    states.run(&["--env", "prod", "--pull"]).exits(0);
    states.server.stop().unwrap();
    states.run(&["--env", "prod", "--fallback", "--yes"]).exits(0).says("workspace blue");
    assert!(!states.project.has_changes("prod").unwrap());
    states
        .run(&["--env", "prod", "--workspace", "default", "--fallback", "--yes"])
        .exits(1)
        .says("one workspace");
    states.project.release("prod", 5).unwrap();
    states.project.apply("prod").unwrap();
    states.server.start_again().unwrap();
    states.run(&["--env", "prod", "--return", "--yes"]).exits(0);
    assert!(!states.project.has_changes("prod").unwrap());
    assert_eq!(states.versions("prod").len(), 2, "the default workspace is untouched");
}

#[test]
fn one_question_is_asked_for_all() {
    let Some(mut states) = prepared(Engine::Embedded) else { return };
    states.server.stop().unwrap();
    // Without a terminal nobody can answer.
    states.run(&["--all", "--fallback"]).exits(1).says("no terminal");
    let mut terminal = restore_e2e::Terminal::start(states.command(&["--all", "--fallback"])).unwrap();
    terminal.wait_for("Do this for 3 environments?");
    terminal.enter("n\n").unwrap();
    let (code, _) = terminal.finish().unwrap();
    assert_eq!(code, 1);
    assert!(!states.file("prod", OVERRIDE).exists());
    let mut terminal = restore_e2e::Terminal::start(states.command(&["--all", "--fallback"])).unwrap();
    terminal.wait_for("Do this for 3 environments?");
    terminal.enter("y\n").unwrap();
    let (code, _) = terminal.finish().unwrap();
    assert_eq!(code, 0);
    for environment in ENVIRONMENTS {
        assert!(states.file(environment, OVERRIDE).exists());
    }
}
