//! The real Terraform works with the lab's project, on either S3 server.
#![cfg(feature = "s3")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::fs;

use restore_lab::{
    s3::{Client, Embedded, Engine, Options, S3Server},
    terraform::{self, CANARY, ENVIRONMENTS, Project},
};
use serde_json::Value;

const KEY: &str = "terraform.tfstate";
const LOCK: &str = "terraform.tfstate.tflock";

/// A server, a project, and both folders; `None` where a program is missing.
fn world(engine: Engine, options: &Options) -> Option<(Box<dyn S3Server>, Project, tempfile::TempDir)> {
    if !terraform::is_installed().unwrap() {
        return None;
    }
    let server = engine.start(options).unwrap()?;
    let folder = tempfile::tempdir().unwrap();
    let project = Project::create(folder.path(), &*server).unwrap();
    project.make_buckets(&*server).unwrap();
    Some((server, project, folder))
}

fn state(client: &Client, bucket: &str, version: Option<&str>) -> Value {
    serde_json::from_slice(&client.get(bucket, KEY, version).unwrap()).unwrap()
}

#[rstest::rstest]
#[case(Engine::Embedded)]
#[case(Engine::MinIo)]
fn five_applies_make_five_versions(#[case] engine: Engine) {
    let Some((server, project, _folder)) = world(engine, &Options::default()) else { return };
    project.init("prod").unwrap();
    for number in 1..=5 {
        project.release("prod", number).unwrap();
        project.apply("prod").unwrap();
    }
    assert!(!project.has_changes("prod").unwrap());

    let client = server.client().unwrap();
    let versions = client.versions("tfstate-prod", KEY).unwrap();
    let states: Vec<Value> =
        versions.iter().map(|version| state(&client, "tfstate-prod", Some(&version.id))).collect();
    let releases: Vec<_> = states.iter().map(|state| state["outputs"]["release"]["value"].clone()).collect();
    assert_eq!(releases, [5, 4, 3, 2, 1]);
    let serials: Vec<_> = states.iter().map(|state| state["serial"].as_u64().unwrap()).collect();
    assert!(serials.is_sorted_by(|a, b| a > b), "{serials:?}");
    assert!(states.iter().all(|other| other["lineage"] == states[0]["lineage"]));
    assert!(states[0].to_string().contains(CANARY));
    let guests = states[0]["outputs"]["guests"]["value"].clone();
    assert_eq!(guests, serde_json::json!(["prod-web", "prod-dns"]));
    // Each apply, and the plan, took the lock and gave it back.
    let locks = client.versions("tfstate-prod", LOCK).unwrap();
    assert!(locks[0].is_marker && locks.len() >= 12, "{locks:?}");
}

#[rstest::rstest]
#[case(Engine::Embedded)]
#[case(Engine::MinIo)]
fn a_running_apply_holds_the_lock(#[case] engine: Engine) {
    let Some((server, project, _folder)) = world(engine, &Options::default()) else { return };
    project.init("lab").unwrap();
    let held = project.apply_held("lab").unwrap();
    let client = server.client().unwrap();
    let lock: Value = serde_json::from_slice(&client.get("tfstate-lab", LOCK, None).unwrap()).unwrap();
    assert_eq!(lock["Operation"], "OperationTypeApply");
    let refused = project.apply("lab").unwrap_err().to_string();
    assert!(refused.contains("Error acquiring the state lock"), "{refused}");
    assert!(refused.contains(lock["ID"].as_str().unwrap()), "{refused}");
    held.let_go().unwrap();
    project.apply("lab").unwrap();

    // One that is killed leaves its lock behind.
    project.release("lab", 2).unwrap();
    drop(project.apply_held("lab").unwrap());
    client.get("tfstate-lab", LOCK, None).unwrap();
    project.apply("lab").unwrap_err();
}

#[rstest::rstest]
#[case(Engine::Embedded)]
#[case(Engine::MinIo)]
fn every_environment_has_its_own_state_over_https(#[case] engine: Engine) {
    let options = Options { tls: true, ..Options::default() };
    let Some((server, project, _folder)) = world(engine, &options) else { return };
    let client = server.client().unwrap();
    for name in ENVIRONMENTS {
        project.init(name).unwrap();
        project.apply(name).unwrap();
        assert!(!project.has_changes(name).unwrap());
        assert_eq!(client.versions(&terraform::bucket(name), KEY).unwrap().len(), 1);
    }
}

#[test]
fn without_a_backend_the_state_is_a_file() {
    let Some((server, project, _folder)) = world(Engine::Embedded, &Options::default()) else { return };
    let active = fs::read_to_string(project.environment("lab").join("backend.tf")).unwrap();
    project.comment_out_backend("lab").unwrap();
    project.comment_out_backend("lab").unwrap();
    project.init("lab").unwrap();
    project.apply("lab").unwrap();
    let text = fs::read_to_string(project.environment("lab").join(KEY)).unwrap();
    assert!(text.contains(CANARY));
    assert_eq!(server.client().unwrap().versions("tfstate-lab", KEY).unwrap(), []);
    project.activate_backend("lab").unwrap();
    assert_eq!(fs::read_to_string(project.environment("lab").join("backend.tf")).unwrap(), active);
}

#[test]
fn only_monitoring_knows_the_server() {
    let server = Embedded::start(&Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let project = Project::create(folder.path(), &server).unwrap();
    let port = server.endpoint().rsplit_once(':').unwrap().1.to_owned();
    for name in ENVIRONMENTS {
        let tfvars = fs::read_to_string(project.environment(name).join("terraform.tfvars")).unwrap();
        let knows = tfvars.contains(&format!("port              = {port}"));
        assert_eq!(knows, name == "monitoring", "{tfvars}");
        let backend = fs::read_to_string(project.environment(name).join("backend.tf")).unwrap();
        assert!(backend.contains(&format!("\"tfstate-{name}\"")) && backend.contains(&server.endpoint()));
    }
}
