//! Whether everything is at hand that a disaster would need.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use restore_e2e::{Ran, States, verify_backups};
use restore_lab::{
    lab::{Lab, LabBuilder},
    s3::{Embedded, S3Server},
};
use serde_json::Value;

/// What is said of a check: a code, or that it is there.
fn of(report: &Value, check: &str, about: &str) -> Vec<String> {
    let parts = report["ready"].as_array().unwrap().iter();
    let own =
        parts.filter(|part| part["check"] == check && part["about"].as_str().unwrap().starts_with(about));
    let codes = own.flat_map(|part| match part["findings"].as_array().unwrap().as_slice() {
        [] => vec!["ready".to_owned()],
        findings => findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect(),
    });
    codes.collect()
}

fn ready(lab: &Lab, words: &[&str]) -> Ran {
    verify_backups(lab, &[&["--ready", "--json"], words].concat())
}

/// Of the node: its host key, the operator's key, its storages.
#[track_caller]
fn assert_node(report: &Value, host: &str, key: &str, storage: &str) {
    let seen = ["known host", "ssh key", "storage"].map(|check| of(report, check, "pve-prod").join(" "));
    assert_eq!(seen, [host, key, storage], "{report:#}");
}

#[test]
fn a_node_that_lets_us_in_is_ready() {
    let lab = LabBuilder::new().small().start().unwrap();
    let before = lab.inventory().unwrap();
    let report = ready(&lab, &[]).report();
    assert_node(&report, "ready", "ready", "ready");
    assert_eq!(of(&report, "tfvars", ""), ["ready"; 3], "{report:#}");
    assert_eq!(of(&report, "program", "restore-vm"), ["ready"]);
    assert_eq!((&report["level"], &report["nodes"]), (&"ready".into(), &serde_json::json!([])));
    assert_eq!(lab.inventory().unwrap(), before, "it only looks");
    let _ = verify_backups(&lab, &["--ready"]).says("✓ ssh key, pve-prod").says("are there, in");
}

#[test]
fn what_keeps_us_out_is_told() {
    let lab = LabBuilder::new().small().start().unwrap();
    let empty = lab.operator().home().join("empty");
    fs::write(&empty, "").unwrap();
    let report = ready(&lab, &["--known-hosts", empty.to_str().unwrap()]).exits(2).report();
    assert_node(&report, "ready-known-host", "ready-not-asked", "ready-not-asked");
    let key = lab.operator().home().join(".ssh/id_ed25519");
    let other = LabBuilder::new().small().start().unwrap();
    fs::copy(other.operator().home().join(".ssh/id_ed25519"), &key).unwrap();
    let report = ready(&lab, &[]).exits(2).report();
    assert_node(&report, "ready", "ready-ssh-key", "ready-not-asked");
}

#[test]
fn what_cannot_be_asked_is_told_apart_and_the_rest_is_looked_at() {
    let lab = LabBuilder::new().small().start().unwrap();
    let config = lab.operator().home().join(".ssh/config");
    let known = fs::read_to_string(&config).unwrap();
    // Nobody listens there, and the keys are known all the same.
    let hosts = lab.operator().home().join(".ssh/known_hosts");
    let port = known.lines().find_map(|line| line.trim().strip_prefix("Port ")).unwrap().to_owned();
    let moved = fs::read_to_string(&hosts).unwrap().replace(&format!("]:{port} "), "]:1 ");
    fs::write(&hosts, moved).unwrap();
    fs::write(&config, known.replace(&format!("Port {port}"), "Port 1")).unwrap();
    let report = ready(&lab, &[]).exits(2).report();
    assert_node(&report, "ready", "ready-not-asked", "ready-not-asked");
    fs::remove_file(lab.operator().home().join(".ssh/id_ed25519")).unwrap();
    let report = ready(&lab, &[]).exits(2).report();
    assert_node(&report, "ready", "ready-ssh-key", "ready-not-asked");
}

#[test]
fn a_file_that_cannot_be_read_hides_no_other_environment() {
    let lab = LabBuilder::new().small().start().unwrap();
    fs::write(lab.operator().environment("prod").join("x.auto.tfvars"), "vms = {\n").unwrap();
    let ran = ready(&lab, &[]).exits(2);
    let report = ran.report();
    assert_eq!(of(&report, "tfvars", "prod"), ["ready-tfvars"], "{report:#}");
    assert_eq!(of(&report, "tfvars", "lab"), ["ready"], "{report:#}");
    let _ = ran.says("x.auto.tfvars");
}

#[test]
fn a_storage_that_is_down_is_told() {
    let lab = LabBuilder::new().small().start().unwrap();
    lab.change_settings(|settings| settings.storages.entry("local".to_owned()).or_default().online = false)
        .unwrap();
    let report = ready(&lab, &[]).exits(2).report();
    assert_node(&report, "ready", "ready", "ready-storage");
}

fn report(states: &States<Embedded>) -> Value {
    states.verify(&["--ready", "--json"]).exits(2).report()
}

#[test]
fn the_copy_of_a_state_is_there_old_or_missing() {
    let Some(mut states) = States::embedded() else { return };
    assert_eq!(of(&report(&states), "state", "prod"), ["ready"], "nothing was ever applied");
    states.apply("prod", 1..=1);
    assert_eq!(of(&report(&states), "state", "prod"), ["ready-state-copy"]);
    // Every look at the bucket keeps one.
    states.verify(&[]);
    assert_eq!(of(&report(&states), "state", "prod"), ["ready"]);
    states.apply("prod", 2..=2);
    assert_eq!(of(&report(&states), "state", "prod"), ["ready-state-old"]);
    states.server.stop().unwrap();
    let down = report(&states);
    assert_eq!(of(&down, "state", "prod"), ["ready-not-asked"], "{down:#}");
    assert_eq!(of(&down, "state", "lab"), ["ready-state-copy"], "{down:#}");
}

#[test]
fn terraform_its_version_and_its_providers_are_looked_for() {
    let Some(states) = States::embedded() else { return };
    let folder = states.project.environment("prod");
    assert_eq!(of(&report(&states), "terraform", ""), ["ready"; 4]);
    fs::write(folder.join("strict.tf"), "terraform {\n  required_version = \"~> 0.12.1\"\n}\n").unwrap();
    assert_eq!(of(&report(&states), "terraform", "prod"), ["ready-terraform"]);
    fs::remove_file(folder.join("strict.tf")).unwrap();

    let lock = "provider \"registry.terraform.io/bpg/proxmox\" {\n  version = \"0.70.1\"\n}\n";
    fs::write(folder.join(".terraform.lock.hcl"), lock).unwrap();
    assert_eq!(of(&report(&states), "provider", "prod"), ["ready-provider"]);
    let kept = folder.join(".terraform/providers/registry.terraform.io/bpg/proxmox/0.70.1/linux_amd64");
    fs::create_dir_all(kept).unwrap();
    assert_eq!(of(&report(&states), "provider", "prod"), ["ready"]);

    let nowhere = states.folder().join("no-such-program");
    let mut command = states.verify_command(&["--ready", "--json"]);
    command.env("TF_BIN", nowhere);
    let without = restore_e2e::run(command).exits(2).report();
    assert_eq!(of(&without, "terraform", "this machine"), ["ready-terraform"]);
}

/// A site that answers every request with this status, as often as it is asked.
fn site(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    format!("http://{address}/server/minio")
}

#[test]
fn a_node_that_nobody_knows_is_refused() {
    let lab = LabBuilder::new().small().start().unwrap();
    let _ = ready(&lab, &["--node", "pve-typo"]).exits(2).says("no node of the project is named pve-typo");
}

#[test]
fn an_install_source_that_is_gone_is_told() {
    let Some(states) = States::embedded() else { return };
    let module = states.folder().join("project/infrastructure/proxmox/modules/minio");
    fs::create_dir_all(&module).unwrap();
    let call = "module \"minio\" {\n  source = \"../../modules/minio\"\n}\n";
    fs::write(states.project.environment("monitoring").join("minio.tf"), call).unwrap();
    for (status, code) in
        [("200 OK", "ready"), ("410 Gone", "ready-minio-source"), ("503 Busy", "ready-not-asked")]
    {
        let script =
            format!("resource \"terraform_data\" \"x\" {{\n  input = \"curl -o m '{}'\"\n}}\n", site(status));
        fs::write(module.join("main.tf"), script).unwrap();
        let report = report(&states);
        assert_eq!(of(&report, "minio source", "monitoring"), [code], "{report:#}");
    }
}
