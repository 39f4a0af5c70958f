//! Versions: listed, shown, compared, and made current again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use restore_e2e::States;
use restore_lab::{
    s3::{Engine, Fault},
    terraform,
};
use rstest::rstest;

const BOTH: [Engine; 2] = [Engine::Embedded, Engine::MinIo];

/// What outputs and resources a state has, in the form that Terraform compares.
fn content(state: &serde_json::Value) -> (serde_json::Value, serde_json::Value) {
    (state["outputs"].clone(), state["resources"].clone())
}

#[rstest]
fn five_applies_are_five_versions_and_the_third_comes_back(
    #[values(Engine::Embedded, Engine::MinIo)] engine: Engine,
) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=5);

    let listed = states.run(&["--env", "prod", "--list", "--json"]).exits(0).report();
    let versions = listed["versions"].as_array().unwrap();
    let of =
        |name: &str| -> Vec<i64> { versions.iter().map(|version| version[name].as_i64().unwrap()).collect() };
    assert_eq!(of("serial"), [5, 4, 3, 2, 1]);
    // A container, a VM, the secret, the release, its image, and as many slots as release % 3.
    assert_eq!(of("resources"), [7, 6, 5, 7, 6]);
    assert_eq!(of("added"), [1, 1, 0, 1, 6]);
    assert_eq!(of("removed"), [0, 0, 2, 0, 0]);
    assert_eq!(of("changed"), [2, 2, 2, 2, 0]);
    assert_eq!(versions[0]["marks"], serde_json::json!(["current"]));

    let before = states.versions("prod");
    let third = &before[2].id;
    let bytes = states.admin().get(&terraform::bucket("prod"), "terraform.tfstate", Some(third)).unwrap();
    let third_state: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let report = states.run(&["--env", "prod", "--restore", "serial:3", "--yes", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["version"], third.as_str());
    assert_eq!(report["subject"]["serial"], 6);
    let kept = report["kept"][0]["place"].as_str().unwrap();
    let copy: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert_eq!(copy["serial"], 5, "what was there before is kept here");

    let now = states.state("prod");
    assert_eq!(content(&now), content(&third_state));
    assert_eq!((now["serial"].as_u64(), &now["lineage"]), (Some(6), &third_state["lineage"]));
    let after = states.versions("prod");
    assert_eq!(after.len(), 6);
    assert_eq!(
        after[1..].iter().map(|v| &v.id).collect::<Vec<_>>(),
        before.iter().map(|v| &v.id).collect::<Vec<_>>()
    );

    // Terraform agrees: with the configuration of that release there is nothing to do, and it works on at once.
    states.project.release("prod", 3).unwrap();
    assert!(!states.project.has_changes("prod").unwrap());
    states.project.release("prod", 7).unwrap();
    states.project.apply("prod").unwrap();
    assert_eq!(states.state("prod")["serial"], 7);
    assert_eq!(states.versions("prod").len(), 7);
}

#[rstest]
fn a_restored_state_can_be_restored_back(#[values(Engine::Embedded, Engine::MinIo)] engine: Engine) {
    let Some(states) = States::start(engine) else { return };
    states.apply("prod", 1..=2);
    let (now, newest) = (states.state("prod"), states.versions("prod")[0].id.clone());
    let report = states.run(&["--env", "prod", "--restore", "previous", "--yes", "--json"]).exits(0).report();
    assert_eq!(report["kept"][0]["go_back"], format!("restore-tfstate --env prod --restore {newest}"));
    states.run(&["--env", "prod", "--restore", &newest[..12], "--yes"]).exits(0);
    assert_eq!(content(&states.state("prod")), content(&now));
    assert_eq!(states.state("prod")["serial"], 4);
    // A second time there is nothing to do, and nothing is written.
    states.run(&["--env", "prod", "--restore", &newest, "--yes"]).exits(0).says("already");
    assert_eq!(states.versions("prod").len(), 4);
}

#[test]
fn a_deleted_state_comes_back() {
    for engine in BOTH {
        let Some(states) = States::start(engine) else { continue };
        states.apply("prod", 1..=2);
        let before = states.state("prod");
        states.admin().delete(&terraform::bucket("prod"), "terraform.tfstate", None).unwrap();
        states.run(&["--env", "prod", "--list"]).exits(0).says("current, deleted");
        states.run(&["--env", "prod", "--restore", "previous", "--yes"]).exits(0);
        assert_eq!(content(&states.state("prod")), content(&before));
        assert_eq!(states.state("prod")["serial"], 3);
        assert!(!states.project.has_changes("prod").unwrap());
    }
}

#[test]
fn a_dry_run_writes_nothing_anywhere() {
    let Some(states) = States::embedded() else { return };
    for environment in terraform::ENVIRONMENTS {
        states.apply(environment, 1..=3);
    }
    let (files, versions) = (states.files("prod"), states.versions("prod"));
    states.server.begin_anew();
    for words in [&["--restore", "serial:1"][..], &["--fallback"]] {
        let mut all = vec!["--env", "prod", "--dry-run"];
        all.extend(words);
        states.run(&all).exits(0).says("this was a dry run");
    }
    states.run(&["--all", "--fallback", "--dry-run"]).exits(0);
    let changing: Vec<_> = states
        .server
        .requests()
        .into_iter()
        .filter(|seen| seen.method != "GET" && seen.method != "HEAD")
        .collect();
    assert!(changing.is_empty(), "{changing:?}");
    assert_eq!(states.files("prod"), files);
    assert_eq!(states.versions("prod"), versions);
    assert!(!states.memory().exists(), "not even a copy is kept");
}

#[test]
fn versions_are_shown_and_compared_by_address() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=3);
    let shown = states.run(&["--env", "prod", "--show", "serial:2"]).exits(0);
    for words in
        ["serial 2", "terraform_data.slot[1]", "terraform_data.vm[\"web\"]", "Outputs: guests release"]
    {
        let shown = shown.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(words), "{shown}");
    }
    let difference = states.run(&["--env", "prod", "--diff", "serial:2", "current"]).exits(0);
    let lines: Vec<&str> = difference.stdout.lines().skip(3).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "~ terraform_data.image",
            "~ terraform_data.release",
            "- terraform_data.slot[0]",
            "- terraform_data.slot[1]",
            "~ output release"
        ]
    );
    states.run(&["--env", "prod", "--diff", "current", "current"]).exits(0).says("no difference");
}

#[test]
fn what_cannot_be_used_is_marked() {
    for engine in BOTH {
        let Some(states) = States::start(engine) else { continue };
        states.apply("prod", 1..=2);
        let (admin, bucket) = (states.admin(), terraform::bucket("prod"));
        let good = admin.get(&bucket, "terraform.tfstate", None).unwrap();
        let other = r#"{"version":4,"serial":9,"lineage":"11111111-2222-3333-4444-555555555555","outputs":{},"resources":[]}"#;
        let newer = r#"{"version":5,"serial":9,"lineage":"a"}"#;
        for bytes in [b"".as_slice(), b"<html>", b"[1,2]", other.as_bytes(), newer.as_bytes(), &good] {
            admin.put(&bucket, "terraform.tfstate", bytes).unwrap();
        }
        let listed = states.run(&["--env", "prod", "--list"]).exits(0);
        for words in ["empty", "not JSON", "not a state", "format 5", "other lineage", "current"] {
            assert!(listed.stdout.contains(words), "`{words}` is not in:\n{listed}");
        }
        let listed = states.run(&["--env", "prod", "--list", "--json"]).exits(0).report();
        assert_eq!(listed["versions"].as_array().unwrap().len(), 8);
    }
}

#[test]
fn every_environment_is_listed_and_pulled_at_once() {
    let Some(states) = States::embedded() else { return };
    for environment in terraform::ENVIRONMENTS {
        states.apply(environment, 1..=2);
    }
    let listed = states.run(&["--all", "--list", "--json"]).exits(0).report();
    let of = |name: &str| -> Vec<String> {
        listed.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("environment"), ["lab", "monitoring", "prod"]);
    assert_eq!(of("bucket"), ["tfstate-lab", "tfstate-monitoring", "tfstate-prod"]);
    let pulled = states.run(&["--all", "--pull", "--json"]).exits(0).report();
    for copy in pulled.as_array().unwrap() {
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(copy["path"].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(state, states.state(copy["environment"].as_str().unwrap()));
    }
    // One that cannot be asked does not keep the others from being kept.
    states
        .server
        .watch(|seen| seen.path.contains("tfstate-lab").then_some(restore_lab::s3::Fault::Unavailable));
    let listed =
        states.run(&["--all", "--list"]).exits(1).says("lab: ").says("2 versions of the state of prod");
    assert!(!listed.stdout.contains("state of lab"));
    states.run(&["--all", "--pull"]).exits(1).says("prod: serial 2").says("lab: ");
}

#[test]
fn another_workspace_has_a_history_of_its_own() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=2);
    let terraform = |words: &[&str]| {
        let output = states.project.command("prod", words).unwrap().output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    terraform(&["workspace", "new", "blue"]);
    states.project.release("prod", 4).unwrap();
    states.project.apply("prod").unwrap();
    states.project.release("prod", 5).unwrap();
    states.project.apply("prod").unwrap();
    // The selected one, which Terraform would work with as well.
    states.run(&["--env", "prod", "--list"]).exits(0).says("env:/blue/terraform.tfstate").says("3 versions");
    let list = ["--env", "prod", "--workspace", "default", "--list"];
    states.run(&list).exits(0).says("tfstate-prod/terraform.tfstate").says("2 versions");
    states.run(&["--env", "prod", "--workspace", "blue", "--restore", "previous", "--yes"]).exits(0);
    assert_eq!(states.state("prod")["serial"], 2, "the other one is untouched");
    states.project.release("prod", 4).unwrap();
    assert!(!states.project.has_changes("prod").unwrap());
}

/// The way back is one more version, which no Terraform takes for an old one.
#[test]
fn a_restore_that_fails_after_the_write_rolls_forward_again() {
    let Some(states) = States::embedded() else { return };
    states.apply("prod", 1..=3);
    let before = states.state("prod");
    // What was written cannot be read back, however often it is tried, and then the server is well again.
    let (written, refused) = (AtomicBool::new(false), AtomicU32::new(0));
    states.server.watch(move |request| {
        let is_state = request.path.ends_with("/terraform.tfstate");
        if is_state && request.method == "PUT" {
            written.store(true, Ordering::SeqCst);
            return None;
        }
        let reads_back = is_state && request.method == "GET" && written.load(Ordering::SeqCst);
        (reads_back && refused.fetch_add(1, Ordering::SeqCst) < 3).then_some(Fault::Unavailable)
    });
    states.run(&["--env", "prod", "--restore", "serial:1", "--yes"]).exits(2).says("rolled back");
    let now = states.state("prod");
    assert_eq!(content(&now), content(&before));
    assert_eq!((before["serial"].as_u64(), now["serial"].as_u64()), (Some(3), Some(5)));
    assert_eq!(states.versions("prod").len(), 5);
    states.apply("prod", 4..=4);
}
