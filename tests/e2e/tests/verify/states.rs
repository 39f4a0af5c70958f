//! The versions of Terraform's states.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::States;
use restore_lab::{
    s3::{Engine, S3Server},
    terraform,
};
use rstest::rstest;
use serde_json::{Value, json};

const KEY: &str = "terraform.tfstate";

/// A state as Terraform writes it, as far as it matters here.
fn state(serial: u64, lineage: &str) -> Vec<u8> {
    let state = json!({
        "version": 4, "terraform_version": "1.11.4", "serial": serial, "lineage": lineage,
        "outputs": {}, "resources": [], "check_results": null,
    });
    serde_json::to_vec_pretty(&state).unwrap()
}

/// What is said about the state of an environment. The nodes of this project do not answer, which is an error of its own.
#[track_caller]
fn looked(states: &States<impl S3Server>, environment: &str, words: &[&str]) -> Value {
    let report = states.verify(&[&["--json"], words].concat()).exits(2).report();
    let parts = report["states"].as_array().unwrap();
    parts.iter().find(|part| part["environment"] == environment).unwrap().clone()
}

/// The codes in some findings.
fn codes(findings: &Value) -> Vec<String> {
    let one = |finding: &Value| finding["code"].as_str().unwrap().to_owned();
    findings.as_array().unwrap().iter().map(one).collect()
}

/// Codes of each version, newest first.
fn of_versions(part: &Value) -> Vec<Vec<String>> {
    part["versions"].as_array().unwrap().iter().map(|version| codes(&version["findings"])).collect()
}

#[rstest]
fn each_bad_version_is_found_and_no_good_one_accused(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(states) = States::start(engine) else { return };
    let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
    let format = br#"{"version": 3, "serial": 1, "lineage": "a"}"#;
    let versions: [(&[u8], &[&str]); 9] = [
        (&state(1, "a"), &[]),
        (b"", &["state-empty"]),
        (b"<html>not found</html>", &["state-not-json"]),
        (br#"{"hello": "world"}"#, &["state-not-a-state"]),
        (format, &["state-format"]),
        (&state(7, "b"), &["state-lineage"]),
        (&state(5, "a"), &[]),
        (&state(4, "a"), &["state-serial"]),
        (&state(9, "a"), &[]),
    ];
    for (bytes, _) in &versions {
        admin.put(&bucket, KEY, bytes).unwrap();
    }
    let part = looked(&states, "prod", &[]);
    let expected: Vec<Vec<&str>> = versions.iter().rev().map(|(_, codes)| codes.to_vec()).collect();
    assert_eq!(of_versions(&part), expected, "{part:#}");
    assert_eq!(codes(&part["findings"]), Vec::<String>::new());

    let cached = states.memory().join("states/prod");
    let kept = || walk(&cached);
    assert_eq!(kept().len(), 1, "the current state is kept here");

    // What is current counts more than what was.
    admin.put(&bucket, KEY, b"garbage").unwrap();
    assert_eq!(codes(&looked(&states, "prod", &[])["findings"]), ["state-unusable"]);
    admin.delete(&bucket, KEY, None).unwrap();
    assert_eq!(codes(&looked(&states, "prod", &[])["findings"]), ["state-deleted"]);
    admin.put(&bucket, KEY, &state(10, "a")).unwrap();
    assert_eq!(kept().len(), 1);
    looked(&states, "prod", &["--dry-run"]);
    assert_eq!(kept().len(), 1, "a dry run keeps nothing");
    looked(&states, "prod", &[]);
    assert_eq!(kept().len(), 2);
}

/// The files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().collect::<Vec<_>>());
    let entries = entries.unwrap_or_default().into_iter().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[rstest]
fn a_bucket_without_versions_a_lock_and_other_workspaces_are_seen(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(states) = States::start(engine) else { return };
    let (admin, bucket) = (states.admin(), terraform::bucket("lab"));
    assert_eq!(codes(&looked(&states, "lab", &[])["findings"]), ["state-none"]);
    admin.put(&bucket, KEY, &state(1, "a")).unwrap();
    admin.put(&bucket, &format!("env:/blue/{KEY}"), b"garbage").unwrap();
    let lock = json!({
        "ID": "b2d3", "Operation": "OperationTypeApply", "Info": "", "Who": "ann@desk", "Version": "1.11.4",
        "Created": "2026-01-30T01:00:00.5Z", "Path": format!("{bucket}/{KEY}"),
    });
    admin.put(&bucket, &format!("{KEY}.tflock"), lock.to_string().as_bytes()).unwrap();
    admin.set_versioning(&bucket, "Suspended").unwrap();
    let part = looked(&states, "lab", &[]);
    assert_eq!(codes(&part["findings"]), ["state-locked", "state-unversioned"]);
    let blue = looked(&states, "lab (workspace blue)", &[]);
    assert_eq!(codes(&blue["findings"]), ["state-unusable"]);

    // A workspace that was deleted is gone on purpose; a lock that says nothing is one all the same.
    admin.set_versioning(&bucket, "Enabled").unwrap();
    admin.delete(&bucket, &format!("env:/blue/{KEY}"), None).unwrap();
    admin.put(&bucket, &format!("{KEY}.tflock"), b"?").unwrap();
    let report = states.verify(&["--json"]).report();
    let parts = report["states"].as_array().unwrap();
    assert!(!parts.iter().any(|part| part["environment"] == "lab (workspace blue)"), "{report:#}");
    assert_eq!(codes(&looked(&states, "lab", &[])["findings"]), ["state-locked"]);
}

/// What it does not give any more is not damaged, and is not asked for a thousand times.
#[test]
fn a_server_that_goes_away_meanwhile_is_said_once() {
    let Some(states) = States::embedded() else { return };
    let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
    for serial in 1..=150 {
        admin.put(&bucket, KEY, &state(serial, "a")).unwrap();
    }
    states.server.watch(|seen| {
        let is_read = seen.method == "GET" && seen.query.contains("versionId");
        is_read.then_some(restore_lab::s3::Fault::Unavailable)
    });
    let part = looked(&states, "prod", &[]);
    assert_eq!(codes(&part["findings"]), ["state-could-not-check"]);
    assert!(of_versions(&part).iter().all(Vec::is_empty), "no version is accused: {part:#}");
}

#[test]
fn a_server_that_is_down_is_not_an_empty_bucket() {
    let Some(mut states) = States::start(Engine::Embedded) else { return };
    states.server.stop().unwrap();
    let part = looked(&states, "prod", &[]);
    assert_eq!(codes(&part["findings"]), ["state-could-not-check"]);
    assert!(part["findings"][0]["words"].as_str().unwrap().contains("connection refused"), "{part:#}");
    let report = states.verify(&["--json", "--no-state"]).exits(2).report();
    assert_eq!(report["states"], json!([]));
}

#[test]
fn bytes_that_do_not_fit_their_tag_are_found() {
    let Some(states) = States::embedded() else { return };
    let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
    admin.put(&bucket, KEY, &state(1, "a")).unwrap();
    assert_eq!(of_versions(&looked(&states, "prod", &[])), [Vec::<String>::new()]);
    states.server.always(restore_lab::s3::Fault::WrongEtag);
    std::fs::remove_dir_all(states.memory().join("states")).unwrap();
    assert_eq!(of_versions(&looked(&states, "prod", &[])), [["state-damaged"]]);
    assert!(walk(&states.memory().join("states")).is_empty(), "it is not kept");
}

#[test]
fn a_backend_in_a_comment_is_said() {
    let Some(states) = States::start(Engine::Embedded) else { return };
    states.project.comment_out_backend("prod").unwrap();
    assert_eq!(codes(&looked(&states, "prod", &[])["findings"]), ["state-elsewhere"]);
}
