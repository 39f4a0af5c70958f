//! What runs, beside what could be restored.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::fs;

use restore_e2e::{Ran, verify_backups};
use restore_lab::lab::{CT, Lab, LabBuilder, VM};

const CONFIG: &str = "/etc/pve/lxc/102.conf";
const JOBS: &str = "vzdump: all\n\tschedule 21:00\n\tstorage local\n\tall 1\n";

fn lab() -> Lab {
    LabBuilder::new().small().file("/etc/pve/jobs.cfg", JOBS).start().unwrap()
}

fn full(lab: &Lab) -> Ran {
    verify_backups(lab, &["--full", "--no-state", "--max-age", "90000d", "-v"])
}

#[test]
fn a_homelab_in_order_is_all_good() {
    let lab = lab();
    let report =
        verify_backups(&lab, &["--full", "--no-state", "--max-age", "90000d", "--json"]).exits(0).report();
    assert_eq!(report["level"], "deep");
}

#[test]
fn a_guest_that_runs_and_does_not_answer_is_an_error() {
    let lab = lab();
    lab.break_disk(VM).unwrap();
    let ran = full(&lab).exits(2).says("101: guest-unreachable").says("port 2222: connection refused");
    assert!(!ran.stdout.contains("102: guest-"), "{ran}");
    let ran = verify_backups(&lab, &["--no-state", "--max-age", "90000d", "-v"]).exits(0);
    assert!(!ran.stdout.contains("guest-unreachable"), "only --full asks guests: {ran}");
}

#[test]
fn a_guest_that_is_to_run_and_does_not_is_a_warning_and_any_other_is_none() {
    let lab = lab();
    assert!(lab.on_node(&["pct", "stop", &CT.to_string()]).unwrap().status.success());
    let _ = full(&lab).exits(1).says("102: guest-stopped");
    let config = lab.read(CONFIG).unwrap();
    lab.write(CONFIG, &config.replace("onboot: 1\n", "")).unwrap();
    let _ = full(&lab).exits(0);
}

#[test]
fn a_guest_of_which_nothing_can_be_asked_is_said_and_no_fault() {
    let lab = lab();
    let overrides = lab.operator().project().join("restore.toml");
    let text = fs::read_to_string(&overrides).unwrap();
    fs::write(&overrides, format!("{text}\n[guests.101]\nports = []\nping = false\n")).unwrap();
    lab.break_disk(VM).unwrap();
    let _ = full(&lab).exits(0).says("101: guest-not-asked");
}
