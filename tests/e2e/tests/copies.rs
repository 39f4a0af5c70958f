//! Copies beside the original: an identity of their own, and an address that nobody else has.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{fs, os::unix::fs::PermissionsExt as _};

use restore_e2e::{Ran, restore_vm};
use restore_lab::lab::{CT, Lab, LabBuilder, VM};
use serde_json::Value;

const COPY: &str = "/etc/pve/qemu-server/901.conf";

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["id"] == id);
    found.unwrap_or_else(|| panic!("no check `{id}`: {report:#}"))
}

#[track_caller]
fn saw(report: &Value, id: &str, status: &str, words: &str) {
    let check = check(report, id);
    assert!(check["status"] == status && check["saw"].as_str().unwrap().contains(words), "{check:#}");
}

fn state(lab: &Lab, tool: &str, vmid: &str) -> String {
    let status = lab.on_node(&[tool, "status", vmid]).unwrap();
    String::from_utf8_lossy(&status.stdout).trim().to_owned()
}

fn stop(lab: &Lab, tool: &str, vmid: &str) {
    assert!(lab.on_node(&[tool, "stop", vmid]).unwrap().status.success());
}

fn destroy(lab: &Lab, tool: &str, vmid: &str) {
    stop(lab, tool, vmid);
    assert!(lab.on_node(&[tool, "destroy", vmid]).unwrap().status.success());
}

fn address(lab: &Lab, vmid: u32) -> String {
    lab.guest_address(vmid).unwrap().ip().to_string()
}

/// The MAC address of a guest's first card.
fn mac(config: &str) -> &str {
    let line = config.lines().find(|line| line.starts_with("net0:")).unwrap();
    let parts = line.split([',', ' ']).filter_map(|part| part.split_once('='));
    parts.map(|(_, value)| value).find(|value| value.matches(':').count() == 5).unwrap()
}

#[rstest::rstest]
fn the_identity_of_a_copy_is_compared_with_the_originals(#[values(8, 9)] pve: u8) {
    let lab = LabBuilder::new().pve(pve).start().unwrap();
    let report = restore_vm(&lab, &["101", "--target-id", "901", "--force", "--json"]).exits(0).report();
    saw(&report, "identity", "passed", mac(&lab.read(COPY).unwrap()));
    saw(&report, "identity", "passed", "SMBIOS UUID");
    let words = ["102", "--target-id", "902", "--force", "--json"];
    let report = restore_vm(&lab, &words).exits(0).report();
    saw(&report, "identity", "passed", mac(&lab.read("/etc/pve/lxc/902.conf").unwrap()));
}

#[test]
fn a_copy_that_got_the_originals_mac_address_fails_its_proof() {
    let lab = Lab::start().unwrap();
    // The original's card was replaced since the backup, and the copy happens to get the same address.
    let config = lab.read("/etc/pve/lxc/102.conf").unwrap();
    let link = lab.path("/.bin/pct");
    let simulator = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    let script = format!(
        "#!/bin/bash\n(exec -a pct {} \"$@\") || exit\n[ \"$1\" = restore ] || exit 0\n\
         sed -i 's/hwaddr=[^,]*/hwaddr={}/' {}\n",
        simulator.display(),
        mac(&config),
        lab.path("/etc/pve/lxc/902.conf").display(),
    );
    fs::write(&link, script).unwrap();
    fs::set_permissions(&link, fs::Permissions::from_mode(0o755)).unwrap();
    let report = restore_vm(&lab, &["102", "--target-id", "902", "--force", "--json"]).exits(4).report();
    saw(&report, "identity", "failed", &format!("the same as of 102 before: net0 {}", mac(&config)));
}

fn left_stopped(lab: &Lab, ran: Ran, who: &str) {
    let said = format!("left stopped: {who} has its address {}", address(lab, VM));
    let _ = ran.says(&said).says("--start").says("--link-down").says("qm start 901");
    assert_eq!(state(lab, "qm", "901"), "status: stopped");
}

#[test]
fn a_copy_stays_stopped_while_the_original_runs() {
    let lab = Lab::start().unwrap();
    let ran = restore_vm(&lab, &["101", "--target-id", "901", "--force"]).exits(0);
    left_stopped(&lab, ran, "VM 101 `prod-web` on pve-prod");
}

#[test]
fn a_copy_is_started_when_the_original_does_not_run() {
    let lab = Lab::start().unwrap();
    stop(&lab, "qm", "101");
    let report = restore_vm(&lab, &["101", "--target-id", "901", "--force", "--json"]).exits(4).report();
    // The lab has no server at its address for a copy, so only the node can tell.
    saw(&report, "running", "passed", "running");
    saw(&report, "agent", "passed", "answers");
    saw(&report, "ssh", "failed", "connection refused");
}

#[test]
fn a_guest_of_another_node_that_has_the_address_is_found() {
    let lab = Lab::start().unwrap();
    stop(&lab, "qm", "101");
    let other = lab.path("/etc/pve/nodes/pve2/lxc");
    fs::create_dir_all(&other).unwrap();
    let config = format!(
        "arch: amd64\nhostname: squatter\nnet0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:99,ip={}/8,type=veth\n",
        address(&lab, VM)
    );
    fs::write(other.join("300.conf"), config).unwrap();
    let dry_run = ["101", "--target-id", "901", "--dry-run"];
    let _ = restore_vm(&lab, &dry_run).exits(0).says("afterwards started and checked");
    fs::create_dir_all(lab.path("/run/lxc")).unwrap();
    lab.write("/run/lxc/300.pid", "1").unwrap();
    let ran = restore_vm(&lab, &["101", "--target-id", "901", "--force"]).exits(0);
    left_stopped(&lab, ran, "container 300 `squatter` on pve2");
}

/// Whoever is outside the cluster shows only by answering.
#[test]
fn somebody_who_answers_at_the_address_is_found() {
    let lab = Lab::start().unwrap();
    stop(&lab, "qm", "101");
    fs::write(lab.operator().home().join("bin/ping"), "#!/bin/sh\nexit 0\n").unwrap();
    let ran = restore_vm(&lab, &["101", "--target-id", "901", "--force"]).exits(0);
    left_stopped(&lab, ran, "a machine that answers to ping");
}

/// Gives the node a neighbour table that always says this.
fn neighbour(lab: &Lab, said: &str) {
    let ip = lab.path("/.bin/ip");
    fs::write(&ip, format!("#!/bin/sh\necho '{said}'\n")).unwrap();
    fs::set_permissions(&ip, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn somebody_whom_the_node_has_heard_is_found_but_not_the_guest_itself() {
    let lab = Lab::start().unwrap();
    stop(&lab, "qm", "101");
    neighbour(&lab, "127.0.0.9 dev vmbr0 lladdr bc:24:11:00:00:65 STALE");
    let dry_run = ["101", "--target-id", "901", "--dry-run"];
    let _ = restore_vm(&lab, &dry_run).exits(0).says("afterwards started and checked");
    neighbour(&lab, "127.0.0.9 dev vmbr0 lladdr 00:11:22:33:44:55 REACHABLE");
    let ran = restore_vm(&lab, &["101", "--target-id", "901", "--force"]).exits(0);
    left_stopped(&lab, ran, "the machine with the MAC address 00:11:22:33:44:55, which pve-prod heard");
}

#[test]
fn a_copy_that_is_started_all_the_same_is_not_proven_by_the_originals_answers() {
    let lab = Lab::start().unwrap();
    let words = ["101", "--target-id", "901", "--start", "--force", "--json"];
    let report = restore_vm(&lab, &words).exits(0).report();
    assert_eq!(state(&lab, "qm", "901"), "status: running");
    let why = "VM 101 `prod-web` on pve-prod has the address";
    for id in ["ssh", "ping"] {
        saw(&report, id, "skipped", why);
    }
    assert!(report["warnings"].to_string().contains("two with one address disturb each other"), "{report:#}");
}

#[rstest::rstest]
#[case::vm("101", "qm", "/etc/pve/qemu-server/901.conf")]
#[case::container("102", "pct", "/etc/pve/lxc/901.conf")]
fn a_copy_with_its_links_down_runs_beside_the_original(
    #[case] vmid: &str,
    #[case] tool: &str,
    #[case] config: &str,
    #[values(8, 9)] pve: u8,
) {
    let lab = LabBuilder::new().pve(pve).start().unwrap();
    let project = lab.operator().project().join("restore.toml");
    let overrides = fs::read_to_string(&project).unwrap();
    let own = format!(
        "[[guests.{vmid}.checks]]\nname = \"web\"\nhttp = \"http://{{address}}:2222/\"\n\
         [[guests.{vmid}.checks]]\ncommand = [\"hostname\"]\n"
    );
    fs::write(&project, overrides + &own).unwrap();
    let words = [vmid, "--target-id", "901", "--link-down", "--force"];
    let ran = restore_vm(&lab, &[&words[..], &["--dry-run"]].concat()).exits(0);
    let _ = ran.says("started with its links down, and checked").says("Set the links of net0 down");
    let report = restore_vm(&lab, &[&words[..], &["--json"]].concat()).exits(0).report();
    assert_eq!(state(&lab, tool, "901"), "status: running");
    let copy = lab.read(config).unwrap();
    let card = copy.lines().find(|line| line.starts_with("net0:")).unwrap();
    assert!(
        card.contains("link_down=1") && card.contains(mac(&copy)) && card.contains("bridge=vmbr0"),
        "{card}"
    );
    saw(&report, "links", "passed", "net0");
    for id in ["ssh", "ping", "own"] {
        saw(&report, id, "skipped", "its links are down");
    }
    let mut checks = report["checks"].as_array().unwrap().iter();
    let hostname = checks.find(|check| check["title"] == "`hostname` succeeds in the guest").unwrap();
    assert_eq!(hostname["status"], "passed", "by the node, which needs no link: {hostname:#}");

    // What the report says brings the links up does so. The lab changes the cards of a VM only while it is stopped.
    stop(&lab, tool, "901");
    let next = report["next"].as_array().unwrap().last().unwrap().as_str().unwrap();
    let command = next.split('`').nth(1).unwrap();
    assert!(lab.on_node(&command.split(' ').collect::<Vec<_>>()).unwrap().status.success(), "{next}");
    assert_eq!(lab.read(config).unwrap(), copy.replace(",link_down=1", ""));
}

#[test]
fn links_are_for_copies_only() {
    let lab = Lab::start().unwrap();
    let _ = restore_vm(&lab, &["101", "--link-down"]).exits(64).says("--target-id");
}

#[test]
fn a_url_that_names_the_original_does_not_prove_the_copy() {
    let lab = Lab::start().unwrap();
    destroy(&lab, "pct", "102");
    let project = lab.operator().project().join("restore.toml");
    let own = format!(
        "[guests.102]\nports = []\nping = false\n[[guests.102.checks]]\nname = \"web\"\nhttp = \"http://{}:2222/\"\n",
        address(&lab, VM)
    );
    fs::write(&project, own).unwrap();
    let report = restore_vm(&lab, &["102", "--target-id", "902", "--force", "--json"]).exits(0).report();
    saw(&report, "own", "skipped", "its URL does not ask the copy; write `{address}` in it");
}

/// The original is gone, and somebody took its address.
#[test]
fn a_guest_that_comes_back_to_a_taken_address_is_warned_about() {
    let lab = Lab::start().unwrap();
    let config = lab.read("/etc/pve/lxc/102.conf").unwrap();
    destroy(&lab, "qm", "101");
    lab.write("/etc/pve/lxc/102.conf", &config.replace(&address(&lab, CT), &address(&lab, VM))).unwrap();
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    let warned = format!("container 102 `prod-dns` on pve-prod has its address {} by now", address(&lab, VM));
    assert!(report["warnings"].to_string().contains(&warned), "{report:#}");
    saw(&report, "ssh", "skipped", "container 102 `prod-dns` on pve-prod has the address");
    assert_eq!(state(&lab, "qm", "101"), "status: running");
}
