//! Guests that are made anew, their firewall, and the services inside of a container.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    io::Write as _,
    process::{Output, Stdio},
};

use restore_lab::{
    lab::{CT, Lab, LabBuilder, program_under_test},
    sim::GuestKind,
};
use serde_json::Value;

fn lab() -> Lab {
    LabBuilder::new().small().backups(&[]).start().unwrap()
}

/// The exit status of a command of the node, and all that it said.
fn node(lab: &Lab, words: &[&str]) -> (i32, String) {
    told(&lab.on_node(words).unwrap())
}

fn told(output: &Output) -> (i32, String) {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

/// What the API answers.
fn api(lab: &Lab, words: &[&str]) -> Value {
    let words = [&["pvesh"], words, &["--output-format", "json"]].concat();
    let (exit, said) = node(lab, &words);
    assert_eq!(exit, 0, "{said}");
    serde_json::from_str(said.lines().last().unwrap_or("null")).unwrap()
}

const NEW: [&str; 7] = ["pvesh", "create", "/nodes/pve-prod/lxc", "--rootfs", "local-lvm:1", "--vmid", "110"];

#[rstest::rstest]
#[case(&["--ostemplate", "local:vztmpl/gone.tar.zst"], 0, "volume 'local:vztmpl/gone.tar.zst' does not exist")]
#[case(&["--ostemplate", "local:iso/some.iso"], 255, "content type needs to be 'vztmpl'")]
#[case(&["--ostemplate", "local:vztmpl/gone.tar.zst", "--vmid", "101"], 2, "VM 101 already exists on node 'pve-prod'")]
fn a_container_that_cannot_be_made_leaves_nothing(
    #[case] more: &[&str],
    #[case] status: i32,
    #[case] words: &str,
) {
    let lab = lab();
    let before = lab.inventory().unwrap();
    let (exit, said) = node(&lab, &[&NEW, more].concat());
    // A task that was begun and fails is an answer of the API all the same.
    assert_eq!((exit, said.contains(words)), (status, true), "{said}");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn a_clone_is_another_machine_with_the_same_data() {
    let lab = lab();
    let clone =
        ["pvesh", "create", "/nodes/pve-prod/qemu/101/clone", "--full", "1", "--name", "twin", "--newid"];
    assert_eq!(node(&lab, &[&clone[..], &["120"]].concat()).0, 0);
    let (config, twin) = ("/etc/pve/qemu-server/101.conf", "/etc/pve/qemu-server/120.conf");
    for disk in ["scsi0", "efidisk0"] {
        assert_eq!(lab.disk_sha256(twin, disk).unwrap(), lab.disk_sha256(config, disk).unwrap(), "{disk}");
    }
    let text = lab.read(twin).unwrap();
    for theirs in ["vm-101-", "BC:24:11:00:00:65", "11111111-2222-4333-8444-555555555555", "prod-web"] {
        assert!(!text.contains(theirs), "{theirs}: {text}");
    }
    assert!(lab.node().unwrap().running(GuestKind::Vm, 120).is_none());
    let (exit, said) = node(&lab, &[&clone[..], &["102"]].concat());
    assert!(exit != 0 && said.contains("config file already exists"), "{said}");
}

#[test]
fn a_firewall_keeps_its_rules_in_their_order() {
    let lab = lab();
    let path = format!("/nodes/pve-prod/lxc/{CT}/firewall");
    let (options, rules) = (format!("{path}/options"), format!("{path}/rules"));
    assert_eq!(api(&lab, &["get", &options]), serde_json::json!({}));
    node(&lab, &["pvesh", "set", &options, "--enable", "1", "--policy_in", "DROP"]);
    assert_eq!(api(&lab, &["get", &options]), serde_json::json!({ "enable": 1, "policy_in": "DROP" }));
    for port in ["9001", "9000"] {
        let rule = ["--type", "in", "--action", "ACCEPT", "--enable", "1", "--proto", "tcp", "--dport", port];
        let comment = format!("port {port}");
        let words = [&["pvesh", "create", &rules][..], &rule, &["--comment", &comment]].concat();
        assert_eq!(node(&lab, &words), (0, String::new()));
    }
    let ports = || {
        let rules = api(&lab, &["get", &rules]);
        let ports = rules.as_array().unwrap().iter().map(|rule| rule["dport"].as_str().unwrap().to_owned());
        ports.collect::<Vec<_>>()
    };
    assert_eq!(ports(), ["9000", "9001"], "a new rule is the first one");
    let text = lab.read(&format!("/etc/pve/firewall/{CT}.fw")).unwrap();
    assert!(text.contains("IN ACCEPT -p tcp -dport 9000 # port 9000\n"), "{text}");
    assert_eq!(node(&lab, &["pvesh", "delete", &format!("{rules}/0")]).0, 0);
    assert_eq!(ports(), ["9001"]);
    assert_eq!(node(&lab, &["pvesh", "delete", &format!("{rules}/7")]).0, 2);
}

#[test]
fn a_service_comes_back_with_its_container_once_it_is_enabled() {
    let lab = lab();
    let id = CT.to_string();
    let inside = |words: &[&str]| node(&lab, &[&["pct", "exec", &id, "--"], words].concat());
    let (exit, said) = inside(&["systemctl", "restart", "minio"]);
    assert_eq!((exit, said.contains("Unit minio.service not found")), (5, true), "{said}");

    assert_eq!(inside(&["mkdir", "-p", "/etc/systemd/system"]).0, 0);
    let mut tee = std::process::Command::new(program_under_test("pve-sim"))
        .arg("--root")
        .arg(lab.root())
        .args(["--pve", "8", "--", "pct", "exec", &id, "--", "tee", "/etc/systemd/system/minio.service"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    tee.stdin.take().unwrap().write_all(b"[Service]\n").unwrap();
    assert!(tee.wait().unwrap().success());
    let is_active = || inside(&["systemctl", "is-active", "minio"]);
    assert_eq!(is_active(), (3, "inactive\n".to_owned()));
    let restart = || {
        node(&lab, &["pct", "stop", &id]);
        node(&lab, &["pct", "start", &id]);
    };
    assert_eq!(inside(&["systemctl", "start", "minio"]).0, 0);
    assert_eq!(is_active(), (0, "active\n".to_owned()));
    restart();
    assert_eq!(is_active().0, 3);
    assert_eq!(inside(&["systemctl", "enable", "minio"]).0, 0);
    assert_eq!(is_active().0, 3, "enabled is not started");
    restart();
    assert_eq!(is_active().0, 0);
    assert_eq!(inside(&["systemctl", "stop", "minio"]).0, 0);
    assert_eq!(is_active().0, 3);
}
