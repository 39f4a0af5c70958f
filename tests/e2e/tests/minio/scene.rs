//! What the tests share: a homelab, its states, and what is wanted of them.

use std::collections::BTreeMap;

use restore_e2e::{Ran, run};
use restore_lab::{
    homelab::{Homelab, HomelabBuilder},
    s3::Engine,
    terraform::{ENVIRONMENTS, bucket},
};
use serde_json::Value;

/// A homelab in which everything works, and every state known here.
pub(crate) fn start(engine: Engine) -> Option<Homelab> {
    start_with(Homelab::builder().minio(engine))
}

/// The same, built otherwise.
pub(crate) fn start_with(builder: HomelabBuilder) -> Option<Homelab> {
    let homelab = builder.start().unwrap()?;
    let mut pull = homelab.command("restore-tfstate");
    pull.args(["--all", "--pull"]);
    run(pull).exits(0);
    Some(homelab)
}

/// Runs `rebuild-minio` without a terminal.
pub(crate) fn rebuild(homelab: &Homelab, words: &[&str]) -> Ran {
    let mut command = homelab.command("rebuild-minio");
    command.args(words);
    run(command)
}

/// The state of every environment as it is in its bucket.
#[track_caller]
pub(crate) fn states(homelab: &Homelab) -> BTreeMap<&'static str, Value> {
    ENVIRONMENTS.into_iter().map(|name| (name, homelab.state(name).unwrap())).collect()
}

/// Wants every state in its bucket: the same lineage, no lower serial, versions kept.
#[track_caller]
pub(crate) fn wants_states(homelab: &Homelab, before: &BTreeMap<&'static str, Value>) {
    for (name, now) in states(homelab) {
        let before = &before[name];
        assert_eq!(now["lineage"], before["lineage"], "{name}");
        assert!(
            now["serial"].as_u64() >= before["serial"].as_u64(),
            "{name}: {} of {}",
            now["serial"],
            before["serial"]
        );
        wants_versions(homelab, name);
    }
}

/// Wants a bucket that keeps versions.
#[track_caller]
pub(crate) fn wants_versions(homelab: &Homelab, environment: &str) {
    let path = format!("/{}", bucket(environment));
    let answer = homelab.minio_client().unwrap().send("GET", &path, &[("versioning", "")], &[], &[]).unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(text.contains("<Status>Enabled</Status>"), "{environment}: {text}");
}

/// Wants nothing left to apply anywhere.
#[track_caller]
pub(crate) fn wants_nothing_to_apply(homelab: &Homelab) {
    for name in ENVIRONMENTS {
        let words = ["plan", "-input=false", "-no-color", "-detailed-exitcode"];
        let output = homelab.terraform().command(name, &words).unwrap().output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

/// Wants no override and no state beside the configuration.
#[track_caller]
pub(crate) fn wants_no_fallback(homelab: &Homelab) {
    for name in ENVIRONMENTS {
        for file in ["backend_override.tf", "fallback.tfstate", "fallback.tfstate.backup"] {
            let path = homelab.terraform().environment(name).join(file);
            assert!(!path.exists(), "{}", path.display());
        }
    }
}

/// A backup of the container, as its job makes one.
#[track_caller]
pub(crate) fn back_up(homelab: &Homelab) -> u32 {
    let vmid = homelab.minio_vmid().expect("a container");
    let id = vmid.to_string();
    let words = [
        "vzdump",
        &id,
        "--storage",
        "local",
        "--mode",
        "snapshot",
        "--compress",
        "zstd",
        "--notes-template",
        "{{guestname}}",
    ];
    let output = homelab.on_node(&words).unwrap();
    assert!(output.status.success(), "{output:?}");
    vmid
}

/// The commands that the node was asked for that changed something, as words.
pub(crate) fn changes(homelab: &Homelab) -> Vec<String> {
    let effects = homelab.journal().unwrap().into_iter().filter(|line| line["effect"] != "read");
    let words = effects.map(|line| {
        let words = line["argv"].as_array().unwrap();
        words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    });
    // What is run in a container is told by its words alone.
    let only_asks =
        |line: &String| ["is-active", "test -e", "journalctl"].iter().any(|word| line.contains(word));
    words.filter(|line| !only_asks(line)).collect()
}

/// What the report says is left to do, in one text.
pub(crate) fn next(report: &Value) -> String {
    let next = report["next"].as_array().unwrap();
    next.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
}

/// The ids of the steps of a report.
pub(crate) fn steps(report: &Value) -> Vec<String> {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().filter_map(|step| step["id"].as_str().map(str::to_owned)).collect()
}
