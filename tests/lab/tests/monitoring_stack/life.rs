//! The stack comes and goes with its VM.

use std::{net::TcpStream, process::Command};

use restore_lab::{
    homelab::Homelab,
    lab::{LabBuilder, MONITORING},
    monitoring::{self, ALERTMANAGER, EXPORTER, Fault, GRAFANA, Options, PROMETHEUS, Stack},
    sim::GuestKind,
    terraform::CANARY,
};

use crate::{bare_lab, containers, get, get_as, greets, said, ssh, stack, wait_for};

#[test]
fn the_stack_lives_as_long_as_its_vm_and_leaves_nothing() {
    let Some(lab) = bare_lab(&[]) else { return };
    let stack = stack(&lab).clone();
    let node = lab.node().unwrap();
    wait_for("both services", || stack.processes().len() == 2);
    let pids = stack.processes();

    assert!(lab.on_node(&["qm", "stop", "151"]).unwrap().status.success());
    wait_for("the stack to stop", || !stack.is_up());
    assert_nothing_answers(&stack);
    assert!(stack.processes().is_empty());

    node.power_on(GuestKind::Vm, MONITORING).unwrap();
    wait_for("the stack to start", || stack.is_up());
    assert!(stack.processes().iter().all(|pid| !pids.contains(pid)));
    lab.break_disk(MONITORING).unwrap();
    wait_for("the stack to stop", || !stack.is_up());
    assert_nothing_answers(&stack);

    node.power_off(GuestKind::Vm, MONITORING).unwrap();
    drop(lab);
    assert!(stack.processes().is_empty());
}

#[test]
fn a_lab_that_ends_takes_the_stack_along() {
    let Some(lab) = bare_lab(&[]) else { return };
    let stack = stack(&lab).clone();
    wait_for("both services", || stack.processes().len() == 2);
    let command = "(setsid sh -c 'exec sleep 60' </dev/null >/dev/null 2>&1 &)";
    assert!(ssh(&lab, command).status.success());
    drop(lab);
    assert!(stack.processes().is_empty());
    assert_nothing_answers(&stack);
}

#[test]
fn an_archive_carries_stack_and_host_key_along() {
    if !monitoring::is_installed().unwrap() {
        return;
    }
    let time = "2026_01_30-01_00_04";
    let options = Options::default();
    let lab = LabBuilder::new().small().backups(&[time]).monitoring(options).start().unwrap();
    let stack = stack(&lab);
    wait_for("the stack to start", || stack.is_up());
    lab.break_disk(MONITORING).unwrap();
    wait_for("the stack to stop", || !stack.is_up());
    let archive = format!("/var/lib/vz/dump/vzdump-qemu-151-{time}.vma.zst");
    for words in
        [&["qm", "stop", "151"][..], &["qmrestore", &archive, "151", "--force", "1"], &["qm", "start", "151"]]
    {
        let output = lab.on_node(words).unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    wait_for("the stack to start", || stack.is_up());
    assert_eq!(containers(&lab).len(), 9, "and the host key is the one that is known");
}

#[test]
fn a_vm_without_the_stack_can_be_given_it() {
    let Some(lab) = bare_lab(&[]) else { return };
    let stack = stack(&lab);
    let node = lab.node().unwrap();
    node.power_off(GuestKind::Vm, MONITORING).unwrap();
    wait_for("the stack to stop", || !stack.is_up());
    // As a clone of the template is: it boots, and has nothing else.
    let disk = lab.path("/dev/pve/vm-151-disk-0");
    let file = std::fs::File::options().write(true).open(disk).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 16 << 10], 8).unwrap();
    node.power_on(GuestKind::Vm, MONITORING).unwrap();
    wait_for("SSH", || ssh(&lab, "true").status.code() == Some(255) && greets(stack));
    let output = ssh(&lab, "true");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("HOST IDENTIFICATION HAS CHANGED"),
        "{output:?}"
    );

    let known = lab.operator().home().join(".ssh/known_hosts");
    let address = stack.address();
    let scanned = Command::new("ssh-keyscan").args(["-p", "2222", &address.to_string()]).output().unwrap();
    std::fs::write(known, scanned.stdout).unwrap();
    assert_eq!(containers(&lab).len(), 0);
    assert!(get(stack, PROMETHEUS, "/-/ready").is_err());
    let nothing = ssh(&lab, "docker compose --project-directory /opt/monitoring up --detach");
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
    said(&lab, "mkdir -p /opt/monitoring && echo 'services: {}' >/opt/monitoring/docker-compose.yml");
    said(&lab, "cd /opt/monitoring && docker compose up -d");
    assert_eq!(containers(&lab).len(), 9);
    wait_for("Prometheus", || get(stack, PROMETHEUS, "/-/ready").is_ok_and(|(status, _)| status == 200));
}

#[test]
fn a_vm_that_terraform_made_answers_as_well() {
    if !monitoring::is_installed().unwrap() {
        return;
    }
    let Some(homelab) = Homelab::builder().monitoring(&[Fault::NoDashboards]).start().unwrap() else {
        return;
    };
    let stack = homelab.stack().unwrap();
    stack.wait_until_ready().unwrap();
    assert_eq!(stack.address(), homelab.names().monitoring);
    let (status, text) = get_as(stack, GRAFANA, "/api/search?type=dash-db", "admin", CANARY).unwrap();
    assert_eq!((status, text.as_str()), (200, "[]"));
    assert!(greets(stack));
}

#[test]
fn another_machine_shows_another_host_key() {
    let Some(lab) = bare_lab(&[]) else { return };
    assert_eq!(said(&lab, "hostname -f >/dev/null; cat /etc/hostname"), "monitoring-stack\n");
    stack(&lab).set(&[Fault::OtherHostKey]).unwrap();
    let output = ssh(&lab, "true");
    assert_eq!(output.status.code(), Some(255));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("HOST IDENTIFICATION HAS CHANGED"),
        "{output:?}"
    );
}

fn assert_nothing_answers(stack: &Stack) {
    for port in
        [PROMETHEUS, ALERTMANAGER, GRAFANA, EXPORTER, 2222, PROMETHEUS + 10_000, ALERTMANAGER + 10_000]
    {
        assert!(TcpStream::connect((stack.address(), port)).is_err(), "{port} answers");
    }
}
