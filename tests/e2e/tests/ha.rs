//! Guests under high availability: taken out for the work, and given back as they were.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{fs, process::Stdio};

use restore_e2e::{Ran, restore_vm, restore_vm_command};
use restore_lab::lab::{Fault, Lab, LabBuilder, VM};

const VM_CONF: &str = "/etc/pve/qemu-server/101.conf";
const RESOURCES: &str = "/etc/pve/ha/resources.cfg";
const MANAGER: &str = "/etc/pve/ha/manager_status";

/// How late the lab's manager notices a change.
const LAG: u64 = 700;

/// A lab whose VM and container are looked after, by a manager that has noticed.
fn managed(builder: LabBuilder, state: &str) -> Lab {
    let lab = builder.start().unwrap();
    lab.change_settings(|settings| settings.ha_lag_ms = LAG).unwrap();
    fs::create_dir_all(lab.path("/etc/pve/ha")).unwrap();
    let section = |kind: &str, vmid: u32| format!("{kind}: {vmid}\n\tstate {state}\n\n");
    lab.write(RESOURCES, &(section("vm", 101) + &section("ct", 102))).unwrap();
    until_manager_has(&lab, "vm:101", state);
    lab
}

fn until_manager_has(lab: &Lab, sid: &str, state: &str) {
    let begun = std::time::Instant::now();
    let has = || fs::read_to_string(lab.path(MANAGER)).is_ok_and(|text| text.contains(&entry(sid, state)));
    while !has() {
        assert!(begun.elapsed().as_secs() < 60, "the manager never had {sid} as {state}");
        std::thread::yield_now();
    }
}

fn entry(sid: &str, state: &str) -> String {
    format!(r#""{sid}":{{"state":"{state}"}}"#)
}

fn requested(lab: &Lab, kind: &str, vmid: u32) -> String {
    let text = lab.read(RESOURCES).unwrap();
    let (_, section) = text.split_once(&format!("{kind}: {vmid}\n")).unwrap();
    let state = section.lines().find_map(|line| line.trim().strip_prefix("state "));
    state.unwrap_or("started").to_owned()
}

fn status(lab: &Lab, tool: &str, vmid: &str) -> String {
    String::from_utf8(lab.on_node(&[tool, "status", vmid]).unwrap().stdout).unwrap().trim().to_owned()
}

fn commands(lab: &Lab) -> Vec<String> {
    let words = |entry: serde_json::Value| {
        let words = entry["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    lab.journal().unwrap().into_iter().map(words).collect()
}

fn steps(report: &serde_json::Value) -> Vec<&str> {
    report["steps"].as_array().unwrap().iter().map(|step| step["id"].as_str().unwrap()).collect()
}

#[rstest::rstest]
#[case::vm("vm", 101, "qm", 8)]
#[case::container("ct", 102, "pct", 9)]
fn a_guest_is_taken_out_and_given_back(
    #[case] kind: &str,
    #[case] vmid: u32,
    #[case] tool: &str,
    #[case] pve: u8,
) {
    let lab = managed(LabBuilder::new().pve(pve), "started");
    let (sid, id) = (format!("{kind}:{vmid}"), vmid.to_string());
    let ran = restore_vm(&lab, &[&id, "--force"])
        .exits(0)
        .says(&format!("Take {sid} out of high availability, and wait until it has let go"))
        .says(&format!("takes no part meanwhile: {sid} is started, afterwards started"))
        .says(&format!("waiting for high availability to let go of {sid}, 2 m 00 s at most"))
        .says(&format!("waiting for high availability to have {sid} as started"))
        .says(&format!("Give {sid} back to high availability, to be started"));
    assert_eq!(
        (requested(&lab, kind, vmid), status(&lab, tool, &id)),
        ("started".into(), "status: running".into()),
        "{ran}"
    );
    let done = commands(&lab);
    let at = |words: &str| {
        done.iter()
            .position(|line| line.starts_with(words))
            .unwrap_or_else(|| panic!("no `{words}` in {done:#?}"))
    };
    assert!(at(&format!("ha-manager set {sid} --state ignored")) < at(&format!("{tool} shutdown {id}")));
    assert!(at(&format!("{tool} start {id}")) < at(&format!("ha-manager set {sid} --state started")));
    let requests = fs::read_dir(lab.path("/var/log/pve/tasks"))
        .unwrap()
        .flat_map(|folder| fs::read_dir(folder.unwrap().path()).into_iter().flatten());
    let requests =
        requests.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().contains(":ha"));
    assert_eq!(requests.count(), 0, "a request was only handed on to the manager");
}

#[test]
fn a_bare_restore_meets_a_guest_that_the_manager_has_started_again() {
    let lab = managed(LabBuilder::new(), "started");
    let out = ["ha-manager", "set", "vm:101", "--state", "ignored"];
    assert!(lab.on_node(&out).unwrap().status.success());
    assert!(lab.on_node(&["qm", "stop", "101"]).unwrap().status.success());
    let begun = std::time::Instant::now();
    while status(&lab, "qm", "101") != "status: running" {
        assert!(begun.elapsed().as_secs() < 60, "it was not started again");
    }
}

#[rstest::rstest]
#[case("stopped")]
#[case("disabled")]
fn a_guest_that_is_to_be_kept_stopped_is_given_back_stopped(#[case] state: &str) {
    let lab = managed(LabBuilder::new(), state);
    let ran = restore_vm(&lab, &["101", "--force"])
        .exits(0)
        .says(&format!("left stopped: high availability is to keep vm:101 {state}"))
        .says("start it when you are ready: `ha-manager set vm:101 --state started` on pve-prod");
    assert_eq!(
        (requested(&lab, "vm", 101), status(&lab, "qm", "101")),
        (state.into(), "status: stopped".into()),
        "{ran}"
    );
}

#[test]
fn a_guest_that_is_to_be_left_stopped_is_not_started_by_the_manager() {
    let lab = managed(LabBuilder::new(), "started");
    let ran = restore_vm(&lab, &["101", "--no-start", "--force"])
        .exits(0)
        .says("takes no part meanwhile: vm:101 is started, afterwards stopped")
        .says("`ha-manager set vm:101 --state started` on pve-prod");
    assert_eq!(
        (requested(&lab, "vm", 101), status(&lab, "qm", "101")),
        ("stopped".into(), "status: stopped".into()),
        "{ran}"
    );
}

#[test]
fn a_guest_that_is_not_looked_after_stays_so() {
    let lab = managed(LabBuilder::new(), "started");
    assert!(lab.on_node(&["ha-manager", "set", "vm:101", "--state", "ignored"]).unwrap().status.success());
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    assert!(steps(&report).iter().all(|id| !id.starts_with("ha-")), "{report:#}");
    assert_eq!(requested(&lab, "vm", 101), "ignored");
}

#[rstest::rstest]
#[case::before_the_restore(&["qm", "shutdown"])]
#[case::in_the_restore(&["qmrestore"])]
fn a_failure_in_the_middle_puts_it_back(#[case] words: &[&str]) {
    let lab = managed(LabBuilder::new(), "started");
    lab.write_to_guest(VM, "work since the last backup").unwrap();
    let disk = lab.disk_sha256(VM_CONF, "scsi0").unwrap();
    lab.fault(words, Some(1), &Fault::Fails { exit: 255, stderr: "no".into() }).unwrap();
    let ran = restore_vm(&lab, &["101", "--force"])
        .exits(2)
        .says("give vm:101 back to high availability, to be started")
        .says("vm:101 is to be started, as before");
    assert_eq!(requested(&lab, "vm", 101), "started", "{ran}");
    assert_eq!(lab.disk_sha256(VM_CONF, "scsi0").unwrap(), disk);
    until_manager_has(&lab, "vm:101", "started");
    assert_eq!(status(&lab, "qm", "101"), "status: running");
}

#[test]
fn one_that_cannot_be_taken_out_is_left_alone() {
    let lab = managed(LabBuilder::new(), "started");
    let before = lab.read(RESOURCES).unwrap();
    let fault = Fault::Fails { exit: 255, stderr: "cluster not ready - no quorum?".into() };
    lab.fault(&["ha-manager", "set"], None, &fault).unwrap();
    let ran = restore_vm(&lab, &["101", "--force"]).exits(2).says("no quorum?");
    assert_eq!(
        (lab.read(RESOURCES).unwrap(), status(&lab, "qm", "101")),
        (before, "status: running".into()),
        "{ran}"
    );
}

#[test]
fn one_that_cannot_be_given_back_is_kept_and_told() {
    let lab = managed(LabBuilder::new(), "started");
    lab.fault(&["ha-manager", "set"], Some(2), &Fault::Fails { exit: 255, stderr: "no".into() }).unwrap();
    let ran = restore_vm(&lab, &["101", "--force"])
        .exits(4)
        .says("high availability does not have vm:101 as started")
        .says("`ha-manager set vm:101 --state started` on the node tries it again");
    assert_eq!(
        (requested(&lab, "vm", 101), status(&lab, "qm", "101")),
        ("ignored".into(), "status: running".into()),
        "{ran}"
    );
}

#[test]
fn one_that_does_not_start_stays_out_and_that_is_told() {
    let lab = managed(LabBuilder::new(), "started");
    lab.fault(&["qm", "start"], None, &Fault::Fails { exit: 255, stderr: "no".into() }).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(4).says(
        "vm:101 stays out of high availability until `ha-manager set vm:101 --state started` gives it back",
    );
    assert_eq!(requested(&lab, "vm", 101), "ignored");
}

#[track_caller]
fn refuses(lab: &Lab, words: &[&str]) -> Ran {
    let before = lab.inventory().unwrap();
    let ran = restore_vm(lab, &[words, &["--force"]].concat()).exits(1);
    assert!(lab.inventory().unwrap() == before, "something was changed: {ran}");
    ran
}

#[rstest::rstest]
#[case(
    "error",
    "high availability has `vm:101` in the state `error`",
    "`ha-manager set vm:101 --state disabled`"
)]
#[case("migrate", "high availability is at work on `vm:101` (migrate)", "wait until it has settled")]
#[case("fence", "high availability is at work on `vm:101` (fence)", "`ha-manager status`")]
fn one_that_the_manager_is_at_odds_with_is_refused(
    #[case] state: &str,
    #[case] said: &str,
    #[case] hint: &str,
) {
    let lab = managed(LabBuilder::new(), "started");
    // From here on it notices nothing.
    lab.change_settings(|settings| settings.ha_lag_ms = u64::MAX).unwrap();
    lab.write(MANAGER, &format!(r#"{{"service_status":{{{}}}}}"#, entry("vm:101", state))).unwrap();
    let _ = refuses(&lab, &["101"]).says(said).says(hint);
}

#[test]
fn without_quorum_it_is_refused() {
    let lab = managed(LabBuilder::new(), "started");
    fs::create_dir_all(lab.path("/etc/pve/nodes/pve-two/qemu-server")).unwrap();
    lab.change_settings(|settings| settings.quorum = false).unwrap();
    let _ = refuses(&lab, &["101"]).says("has no quorum, so nothing can be changed there");
}

/// The VM is destroyed, and high availability still wants it started: that is an error.
fn gone() -> Lab {
    let lab = Lab::start().unwrap();
    for verb in ["stop", "destroy"] {
        assert!(lab.on_node(&["qm", verb, "101"]).unwrap().status.success());
    }
    lab.change_settings(|settings| settings.ha_lag_ms = LAG).unwrap();
    fs::create_dir_all(lab.path("/etc/pve/ha")).unwrap();
    lab.write(RESOURCES, "vm: 101\n\tstate started\n\n").unwrap();
    lab.write(MANAGER, &format!(r#"{{"service_status":{{{}}}}}"#, entry("vm:101", "error"))).unwrap();
    lab
}

#[test]
fn one_that_is_gone_is_not_started_before_it_is_whole() {
    let lab = gone();
    let ran = restore_vm(&lab, &["101", "--force"]).exits(0).says("Take vm:101 out of high availability");
    assert_eq!(
        (requested(&lab, "vm", 101), status(&lab, "qm", "101")),
        ("started".into(), "status: running".into()),
        "{ran}"
    );
}

#[test]
fn what_a_failed_restore_made_of_one_that_is_gone_is_removed() {
    let lab = gone();
    let before = lab.inventory().unwrap();
    lab.fault(&["qmrestore"], None, &Fault::FullAfter(1 << 19)).unwrap();
    let ran = restore_vm(&lab, &["101", "--force"]).exits(2).says("removed VM 101");
    assert!(lab.inventory().unwrap() == before, "{ran}");
}

#[test]
fn a_copy_touches_nothing_of_it() {
    let lab = managed(LabBuilder::new(), "started");
    let before = lab.read(RESOURCES).unwrap();
    let report = restore_vm(&lab, &["101", "--target-id", "901", "--force", "--json"]).exits(0).report();
    assert!(steps(&report).iter().all(|id| !id.starts_with("ha-")), "{report:#}");
    assert_eq!(lab.read(RESOURCES).unwrap(), before);
    assert!(commands(&lab).iter().all(|line| !line.starts_with("ha-manager set")));
}

#[test]
fn a_copy_does_not_take_a_number_that_it_still_has() {
    let lab = managed(LabBuilder::new(), "started");
    lab.write(RESOURCES, "vm: 901\n\tstate started\n\n").unwrap();
    let _ = refuses(&lab, &["101", "--target-id", "901"])
        .says("high availability still has `vm:901` (started), although there is no such guest, and would take the copy over")
        .says("`ha-manager remove vm:901`");
}

#[test]
fn a_killed_program_is_carried_on_and_the_guest_given_back() {
    let lab = managed(LabBuilder::new(), "started");
    lab.slow_down(&["qmrestore"], 1_500).unwrap();
    let mut command = restore_vm_command(&lab, &["101", "--force"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begun = std::time::Instant::now();
    while !commands(&lab).iter().any(|line| line.starts_with("qm shutdown")) {
        assert!(begun.elapsed().as_secs() < 60, "it never came to the shutdown");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(requested(&lab, "vm", 101), "ignored");
    let _ = restore_vm(&lab, &["101", "--resume", "--force"]).exits(0);
    assert_eq!(
        (requested(&lab, "vm", 101), status(&lab, "qm", "101")),
        ("started".into(), "status: running".into())
    );
}
