//! The monitoring environment is made by the real Terraform: MinIO in a container of the node, with its own state in it.
#![cfg(all(feature = "s3", feature = "server"))]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs, io,
    process::Output,
    time::{Duration, Instant},
};

use restore_lab::{
    homelab::Homelab,
    lab::Front,
    s3::{Answer, Engine},
    sim::node::Activity,
    ssh::OpenSsh,
    terraform::{ENVIRONMENTS, bucket},
};

const LIMIT: Duration = Duration::from_secs(20);
const KEY: &str = "terraform.tfstate";
const CONTAINER: &str = "module.minio.proxmox_virtual_environment_container.minio";
const INSTALL: &str = "module.minio.terraform_data.minio_install";

/// Terraform in the monitoring environment; what it says, and whether it succeeded.
fn terraform(homelab: &Homelab, words: &[&str]) -> (bool, String) {
    let words = [words, &["-input=false", "-no-color"]].concat();
    let output = homelab.terraform().command("monitoring", &words).unwrap().output().unwrap();
    (output.status.success(), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// As an operator does who has lost the bucket: the state from a copy, in a file.
fn go_local(homelab: &Homelab, state: &serde_json::Value) {
    let folder = homelab.terraform().environment("monitoring");
    fs::write(folder.join(KEY), state.to_string()).unwrap();
    homelab.terraform().comment_out_backend("monitoring").unwrap();
    // What Terraform remembers of the bucket; `-reconfigure` alone does not make it forget.
    fs::remove_file(folder.join(".terraform").join(KEY)).unwrap();
    let (done, text) = terraform(homelab, &["init", "-reconfigure"]);
    assert!(done, "{text}");
}

fn node(homelab: &Homelab, words: &[&str]) -> String {
    let output = homelab.on_node(words).unwrap();
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    said(&output)
}

/// What the service in the container has come to.
fn wait_for_service(homelab: &Homelab, wanted: Activity) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let vmid = homelab.minio_vmid().unwrap();
        let service = homelab.node().unwrap().service(vmid, "minio").unwrap_or_default();
        if service.activity == wanted {
            return service.said;
        }
        assert!(Instant::now() < deadline, "{service:?} and not {wanted:?}");
        std::thread::yield_now();
    }
}

/// Asks until the answer has this status.
fn wait_for_status(status: u16, ask: impl Fn() -> io::Result<Answer>) -> Answer {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = ask();
        match answer {
            Ok(answer) if answer.status == status => return answer,
            answer => assert!(Instant::now() < deadline, "{answer:?} and not {status}"),
        }
        std::thread::yield_now();
    }
}

#[rstest::rstest]
#[case(Engine::Embedded, Front::OpenSsh, None)]
#[case(Engine::MinIo, Front::Embedded, Some("monitoring_stack"))]
fn every_environment_is_applied_and_there_is_nothing_left_to_do(
    #[case] engine: Engine,
    #[case] front: Front,
    #[case] stack: Option<&'static str>,
) {
    if front == Front::OpenSsh && OpenSsh::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "sshd is not installed");
        eprintln!("SKIPPED: sshd is not installed");
        return;
    }
    let builder = Homelab::builder().minio(engine).monitoring_call(stack);
    let Some(homelab) = builder.lab(|lab| lab.front(front)).start().unwrap() else { return };
    for name in ENVIRONMENTS {
        let words = ["plan", "-input=false", "-no-color", "-detailed-exitcode"];
        let plan = homelab.terraform().command(name, &words).unwrap().output().unwrap();
        assert_eq!(plan.status.code(), Some(0), "{name}: {}", said(&plan));
        assert!(!homelab.state_versions(name).unwrap().is_empty(), "{name}");
    }
    assert_eq!(homelab.install_source().downloads(), 1);
    let state = homelab.state("monitoring").unwrap().to_string();
    for word in ["minio_install", "proxmox_virtual_environment_firewall_rules", "canary-s3"] {
        assert_eq!(state.contains(word), word != "canary-s3", "{word}");
    }
    let vm = homelab.monitoring_vmid();
    assert_eq!(vm.map(|vmid| homelab.node().unwrap().has_stack(vmid)), stack.map(|_| true));
    assert_eq!(state.contains("module.monitoring_stack"), stack.is_some());

    // A backup has what is in the buckets, with every version.
    homelab.terraform().release("prod", 2).unwrap();
    homelab.terraform().apply("prod").unwrap();
    let before: Vec<_> = ENVIRONMENTS.map(|name| homelab.state_versions(name).unwrap()).into();
    assert_eq!(before[0].len(), 2, "{before:?}");
    let vmid = homelab.minio_vmid().unwrap().to_string();
    node(&homelab, &["vzdump", &vmid, "--storage", "local", "--compress", "zstd"]);
    homelab.terraform().release("prod", 3).unwrap();
    homelab.terraform().apply("prod").unwrap();
    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    assert_eq!(homelab.minio_vmid(), None);

    let listed = node(&homelab, &["pvesm", "list", "local", "--content", "backup"]);
    let archive = listed.split_whitespace().find(|word| word.starts_with("local:backup/")).unwrap();
    node(&homelab, &["pct", "restore", &vmid, archive, "--storage", "local-lvm"]);
    node(&homelab, &["pct", "start", &vmid]);
    homelab.wait_for_minio(true).unwrap();
    let after: Vec<_> = ENVIRONMENTS.map(|name| homelab.state_versions(name).unwrap()).into();
    assert_eq!(after, before);
    assert_eq!(homelab.install_source().downloads(), 1);
}

/// The traps that the real project has, as Terraform itself springs them.
#[test]
fn terraform_springs_every_trap() {
    let Some(homelab) = Homelab::builder().start().unwrap() else { return };
    let state = homelab.state("monitoring").unwrap();

    let (done, text) = terraform(&homelab, &["apply", "-auto-approve", "-target=module.monitoring_stack"]);
    assert!(done && text.contains("Resources: 0 added, 0 changed, 0 destroyed"), "{text}");

    let (done, text) = terraform(&homelab, &["plan", &format!("-replace={CONTAINER}")]);
    assert!(!done && text.contains("Instance cannot be destroyed"), "{text}");

    homelab.destroy_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let (done, text) = terraform(&homelab, &["plan"]);
    assert!(!done && text.contains("connection refused"), "its own state is gone with it: {text}");
    go_local(&homelab, &state);
    let (done, text) = terraform(&homelab, &["plan"]);
    assert!(done && text.contains(&format!("{CONTAINER} will be created")), "{text}");

    let (done, text) = terraform(&homelab, &["apply", "-auto-approve", "-target=module.minio"]);
    assert!(done && text.contains("Resources: 1 added, 0 changed, 0 destroyed"), "{text}");
    assert!(homelab.minio_vmid().is_some());
    assert_eq!(homelab.install_source().downloads(), 1, "nothing was installed in the new container");
    let again = format!("-replace={INSTALL}");
    let (done, text) = terraform(&homelab, &["apply", "-auto-approve", "-target=module.minio", &again]);
    assert!(done, "{text}");
    assert_eq!(homelab.install_source().downloads(), 2);
    homelab.wait_for_minio(true).unwrap();
    assert!(homelab.state_versions("prod").is_err(), "the buckets are gone with the volume");

    let (done, text) = terraform(&homelab, &["plan"]);
    let missing = "proxmox_virtual_environment_firewall_rules.minio";
    assert!(done && text.contains(missing), "a targeted apply leaves the firewall out: {text}");
    let (done, text) = terraform(&homelab, &["apply", "-auto-approve"]);
    assert!(done, "{text}");
    assert!(!homelab.terraform().has_changes("monitoring").unwrap());

    // What somebody does to a guest by hand is seen, and undone.
    let vmid = homelab.monitoring_vmid().unwrap().to_string();
    node(&homelab, &["qm", "stop", &vmid]);
    node(&homelab, &["qm", "set", &vmid, "--memory", "1024"]);
    let (done, text) = terraform(&homelab, &["apply", "-auto-approve"]);
    assert!(done && text.contains("Resources: 0 added, 1 changed, 0 destroyed"), "{text}");
    assert_eq!(node(&homelab, &["qm", "status", &vmid]), "status: running\n");
    assert!(node(&homelab, &["qm", "config", &vmid]).contains("memory: 2048"));
}

#[test]
fn it_breaks_in_every_way_and_goes_back() {
    let Some(homelab) = Homelab::builder().start().unwrap() else { return };
    let whole = homelab.checkpoint().unwrap();
    let back = || {
        homelab.go_back(&whole).unwrap();
        homelab.wait_for_minio(true).unwrap();
        assert_eq!(homelab.state_versions("prod").unwrap().len(), 1);
    };
    back();
    let vmid = homelab.minio_vmid().unwrap().to_string();
    let client = homelab.minio_client().unwrap();

    homelab.stop_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    node(&homelab, &["pct", "start", &vmid]);
    homelab.wait_for_minio(true).unwrap();

    homelab.kill_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    assert_eq!(
        said(&homelab.on_node(&["pct", "exec", &vmid, "--", "systemctl", "is-active", "minio"]).unwrap()),
        "failed\n"
    );
    assert!(
        node(&homelab, &["pct", "exec", &vmid, "--", "journalctl", "-u", "minio"]).contains("status=9/KILL")
    );
    node(&homelab, &["pct", "exec", &vmid, "--", "systemctl", "restart", "minio"]);
    homelab.wait_for_minio(true).unwrap();

    homelab.lose_minio_data().unwrap();
    homelab.wait_for_minio(true).unwrap();
    assert!(homelab.state_versions("prod").is_err());
    back();

    let probe = format!("/{}/probe", bucket("prod"));
    homelab.fill_minio_disk().unwrap();
    let full = wait_for_status(507, || client.send("PUT", &probe, &[], &[], b"x"));
    assert!(full.text().contains("XMinioStorageFull"), "{full:?}");
    assert!(node(&homelab, &["pct", "df", &vmid]).contains(" 1.0 /data"));
    back();

    homelab.change_minio_password("another-password").unwrap();
    homelab.wait_for_minio(false).unwrap();
    wait_for_status(403, || client.send("GET", "/", &[], &[], &[]));
    back();

    homelab.occupy_minio_port().unwrap();
    node(&homelab, &["pct", "exec", &vmid, "--", "systemctl", "restart", "minio"]);
    assert!(wait_for_service(&homelab, Activity::Failed).contains("in use"));
    assert_eq!(client.send("GET", "/", &[], &[], &[]).unwrap().status, 404);
    back();

    homelab.install_source().answer_with(410);
    let exec =
        ["pct", "exec", &vmid, "--", "curl", "-fsSL", "-o", "/tmp/minio", &homelab.install_source().url()];
    let output = homelab.on_node(&exec).unwrap();
    assert_eq!(
        (output.status.code(), homelab.install_source().downloads()),
        (Some(22), 0),
        "{}",
        said(&output)
    );
    back();
}

#[test]
fn a_node_that_nobody_reaches_keeps_its_guests() {
    let Some(mut homelab) = Homelab::builder().start().unwrap() else { return };
    homelab.cut_off_node();
    homelab.wait_for_minio(true).unwrap();
    let (done, text) = terraform(&homelab, &["plan"]);
    assert!(!done && text.contains("connection refused"), "{text}");
}
