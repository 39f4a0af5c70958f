//! Which environment and which guest is meant, and what is said when nobody can tell.

use std::fs;

use restore_lab::{
    lab::{Lab, LabBuilder, MONITORING},
    monitoring::{GRAFANA_PASSWORD, Options},
};

use crate::ground::{check, rebuild_monitoring};

/// The services are not asked here, so they need not be installed.
fn lab() -> Lab {
    LabBuilder::new().small().monitoring(Options::default()).start().unwrap()
}

/// Changes the VM's configuration on the node.
fn reconfigure(lab: &Lab, vmid: u32, from: &str, to: &str) {
    let path = format!("/etc/pve/qemu-server/{vmid}.conf");
    let text = lab.read(&path).unwrap();
    assert!(text.contains(from), "{text}");
    lab.write(&path, &text.replace(from, to)).unwrap();
}

fn tfvars(lab: &Lab, change: impl Fn(String) -> String) {
    let path = lab.operator().environment("monitoring").join("terraform.tfvars");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(path, change(text)).unwrap();
}

#[test]
fn it_is_found_by_its_address_alone_and_by_its_name_alone() {
    let lab = lab();
    reconfigure(&lab, MONITORING, "name: monitoring-stack", "name: eyes");
    rebuild_monitoring(&lab, &["--dry-run"]).exits(0).says("Restore VM 151");
    let address = lab.stack().unwrap().address();
    reconfigure(&lab, MONITORING, "name: eyes", "name: monitoring-stack");
    reconfigure(&lab, MONITORING, &format!("ip={address}/8"), "ip=dhcp");
    rebuild_monitoring(&lab, &["--dry-run"]).exits(0).says("Restore VM 151");
}

#[test]
fn two_guests_that_claim_it_are_both_named() {
    let lab = lab();
    // The address is here, the name is there.
    reconfigure(&lab, MONITORING, "name: monitoring-stack", "name: eyes");
    reconfigure(&lab, 101, "name: prod-web", "name: monitoring-stack");
    let ran = rebuild_monitoring(&lab, &["--dry-run"]).exits(1);
    ran.says("2 guests claim to be the monitoring VM: VM 101").says("VM 151").says("`--vmid ID`");
    rebuild_monitoring(&lab, &["--dry-run", "--vmid", "151"]).exits(0).says("Restore VM 151");
}

#[test]
fn one_that_is_gone_is_found_in_its_backups() {
    let lab = lab();
    let destroyed = lab.on_node(&["qm", "stop", "151"]).unwrap();
    assert!(destroyed.status.success(), "{destroyed:?}");
    let destroyed = lab.on_node(&["qm", "destroy", "151"]).unwrap();
    assert!(destroyed.status.success(), "{destroyed:?}");
    rebuild_monitoring(&lab, &["--dry-run"]).exits(0).says("Restore VM 151").says("which is gone");
}

#[test]
fn without_a_backup_the_other_way_is_shown_with_what_it_costs() {
    let lab = LabBuilder::new().small().backups(&[]).monitoring(Options::default()).start().unwrap();
    let before = lab.inventory().unwrap();
    for words in [&["--yes"][..], &["--yes", "--env", "monitoring"]] {
        let ran = rebuild_monitoring(&lab, words).exits(1);
        let ran = ran.says("there is no backup of guest 151").says("history of all metrics");
        let command = ["rebuild-monitoring"].iter().chain(&words[1..]).copied().collect::<Vec<_>>().join(" ");
        ran.says(&format!("`{command} --mode rebuild`"));
    }
    assert_eq!(lab.inventory().unwrap(), before);
    let stopped = lab.on_node(&["qm", "stop", "151"]).unwrap();
    assert!(stopped.status.success());
    lab.on_node(&["qm", "destroy", "151"]).unwrap();
    let ran = rebuild_monitoring(&lab, &["--yes"]).exits(1);
    ran.says("no node has a guest `monitoring-stack`").says("`rebuild-monitoring --mode rebuild`");
}

#[test]
fn a_node_that_cannot_be_asked_is_not_a_no() {
    let lab = lab();
    let path = lab.operator().home().join(".ssh/config");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("Port ", "Port 1 #")).unwrap();
    let ran = rebuild_monitoring(&lab, &["--yes"]).exits(1);
    assert!(!ran.to_string().contains("--mode rebuild"), "{ran}");
    ran.says("cannot reach");
}

#[test]
fn a_project_without_a_monitoring_stack_says_where_it_looked() {
    let lab = LabBuilder::new().small().backups(&[]).start().unwrap();
    for mode in [&["--check-only"][..], &["--yes"], &["--mode", "rebuild", "--yes"]] {
        let ran = rebuild_monitoring(&lab, mode).exits(1);
        ran.says("no environment has a monitoring stack").says("`monitoring`").says("restore.toml");
    }
}

#[test]
fn two_environments_with_one_are_told_apart_by_env() {
    let lab = lab();
    let folder = lab.operator().environment("lab").join("terraform.tfvars");
    let text = fs::read_to_string(&folder).unwrap() + "\nmonitoring = { vm = { ip = \"192.0.2.1\" } }\n";
    fs::write(folder, text).unwrap();
    let ran = rebuild_monitoring(&lab, &["--dry-run"]).exits(1);
    ran.says("several environments have a monitoring stack: `lab`, `monitoring`").says("`--env`");
    rebuild_monitoring(&lab, &["--dry-run", "--env", "monitoring"]).exits(0);
}

#[test]
fn what_is_wrong_in_the_tfvars_is_named_and_no_secret_with_it() {
    let lab = lab();
    tfvars(&lab, |text| text.replace("vm = {", "vm = \"x\" #{"));
    let ran = check(&lab, &[]).exits(1);
    assert!(!ran.to_string().contains(GRAFANA_PASSWORD), "{ran}");
    ran.says("`monitoring.vm` must be a map");
}

#[test]
fn without_an_address_the_key_and_its_stand_in_are_named() {
    let lab = lab();
    let address = lab.stack().unwrap().address().to_string();
    tfvars(&lab, |text| text.replace(&format!("vm = {{ ip = \"{address}\","), "vm = { ip = \"dhcp\","));
    check(&lab, &[]).exits(1).says("monitoring.vm.ip").says("`[monitoring]` in `restore.toml`");
    // The guest's own configuration tells it, where the guest is looked for.
    rebuild_monitoring(&lab, &["--dry-run"]).exits(0).says("Restore VM 151");
}
