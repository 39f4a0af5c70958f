//! `--mode rebuild`: the real Terraform makes the stack anew on a node of the lab.

use std::fs;

use restore_e2e::{Ran, Terminal, run};
use restore_lab::{
    homelab::{Homelab, HomelabBuilder},
    lab::Fault as OfNode,
    monitoring::{self, Fault},
    terraform::CANARY,
};
use serde_json::Value;

use crate::ground::{failed, saw};

/// A homelab like this whose stack works; `None` where something of it is not installed.
fn homelab_of(change: impl FnOnce(HomelabBuilder) -> HomelabBuilder) -> Option<Homelab> {
    if !monitoring::is_installed().unwrap() {
        return None;
    }
    let homelab = change(Homelab::builder().monitoring(&[])).start().unwrap()?;
    homelab.stack().unwrap().wait_until_ready().unwrap();
    Some(homelab)
}

fn homelab() -> Option<Homelab> {
    homelab_of(|builder| builder)
}

/// The program with these words, in the mode that is tried here.
fn rebuild(homelab: &Homelab, words: &[&str]) -> Ran {
    let mut command = homelab.command("rebuild-monitoring");
    command.args(["--mode", "rebuild", "--wait", "60"]).args(words);
    run(command)
}

fn destroy(homelab: &Homelab) {
    let vmid = homelab.monitoring_vmid().unwrap().to_string();
    for words in [&["qm", "stop", &vmid][..], &["qm", "destroy", &vmid]] {
        let output = homelab.on_node(words).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(homelab.monitoring_vmid(), None);
}

/// The addresses of what is in the state of the monitoring environment, in order.
fn resources(homelab: &Homelab) -> Vec<String> {
    let state = homelab.state("monitoring").unwrap();
    let address = |one: &Value| {
        let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}.{}", word("module"), word("type"), word("name"))
    };
    let mut addresses: Vec<_> = state["resources"].as_array().unwrap().iter().map(address).collect();
    addresses.sort();
    addresses
}

#[rstest::rstest]
#[case("monitoring")]
#[case("monitoring_stack")]
fn a_vm_that_is_gone_is_made_anew_whatever_the_call_is_named(#[case] call: &'static str) {
    let Some(homelab) = homelab_of(|builder| builder.monitoring_call(Some(call))) else { return };
    let (before, minio) = (resources(&homelab), homelab.minio_vmid());
    destroy(&homelab);
    let ran = rebuild(&homelab, &["--yes", "--json"]).exits(0);
    assert_eq!(failed(&ran), Vec::<String>::new());
    assert_eq!(ran.report()["subject"]["module"], format!("module.{call}"));
    assert!(saw(&ran, "targets", "passed").starts_with("3 targets"), "{ran}");
    let vmid = homelab.monitoring_vmid().unwrap();
    assert!(homelab.node().unwrap().has_stack(vmid), "its provisioner ran again");
    assert_eq!((resources(&homelab), homelab.minio_vmid()), (before, minio));
    assert!(!homelab.terraform().has_changes("monitoring").unwrap());
    assert!(!ran.to_string().contains(CANARY) && !ran.to_string().contains("canary"), "{ran}");
}

#[test]
fn a_vm_that_is_there_and_broken_is_made_anew_as_well() {
    let Some(homelab) = homelab() else { return };
    let vmid = homelab.monitoring_vmid().unwrap();
    homelab.on_node(&["qm", "stop", &vmid.to_string()]).unwrap();
    homelab.break_disk(vmid).unwrap();
    let ran = rebuild(&homelab, &["--yes"]).exits(0);
    ran.says("lost: the history of all metrics").says("ssh-keygen -R");
    assert!(homelab.node().unwrap().has_stack(homelab.monitoring_vmid().unwrap()));
}

#[test]
fn the_loss_is_confirmed_by_the_name_of_the_environment() {
    let Some(homelab) = homelab() else { return };
    let before = (homelab.inventory().unwrap(), homelab.state_versions("monitoring").unwrap());
    rebuild(&homelab, &[])
        .exits(1)
        .says("standard input is no terminal")
        .says("lost: the history of all metrics");
    for (typed, code) in [("y\n", 1), ("monitoring\n", 0)] {
        assert_eq!((homelab.inventory().unwrap(), homelab.state_versions("monitoring").unwrap()), before);
        let mut command = homelab.command("rebuild-monitoring");
        command.args(["--mode", "rebuild"]);
        let mut terminal = Terminal::start(command).unwrap();
        terminal.wait_for("type `monitoring` to go on");
        terminal.enter(typed).unwrap();
        let (ended, screen) = terminal.finish().unwrap();
        assert_eq!(ended, code, "{screen}");
    }
}

#[test]
fn a_dry_run_shows_what_terraform_would_do_and_does_nothing() {
    let Some(homelab) = homelab() else { return };
    destroy(&homelab);
    let before = (homelab.inventory().unwrap(), homelab.state_versions("monitoring").unwrap());
    let ran = rebuild(&homelab, &["--dry-run"]).exits(0);
    let ran = ran.says("create module.monitoring.proxmox_virtual_environment_vm.monitoring");
    ran.says("-replace=module.monitoring.terraform_data.stack").says("-target=module.monitoring");
    assert_eq!((homelab.inventory().unwrap(), homelab.state_versions("monitoring").unwrap()), before);
}

#[test]
fn without_such_a_module_nothing_is_applied() {
    let Some(homelab) = homelab() else { return };
    let file = homelab.terraform().environment("monitoring").join("monitoring.tf");
    let text = fs::read_to_string(&file).unwrap();
    let versions = homelab.state_versions("monitoring").unwrap();
    let refused = |words: &[&str]| {
        let ran = rebuild(&homelab, words).exits(1);
        assert_eq!(homelab.state_versions("monitoring").unwrap(), versions);
        ran
    };
    fs::remove_file(&file).unwrap();
    refused(&["--yes"]).says("no module has a source that ends in `monitoring-stack`").says("`module.minio`");
    fs::write(&file, &text).unwrap();
    refused(&["--yes", "--module", "eyes"]).says("no module is called `eyes`").says("`module.monitoring`");
    let second = text.replace("module \"monitoring\"", "module \"second\"");
    fs::write(file.with_file_name("second.tf"), second).unwrap();
    refused(&["--yes"]).says("several modules").says("`module.second`").says("`--module NAME`");
}

#[test]
fn a_provisioner_that_fails_is_said_and_the_same_command_goes_on() {
    let Some(homelab) = homelab() else { return };
    destroy(&homelab);
    let fails = OfNode::Fails { exit: 1, stderr: "VM is not running\n".to_owned() };
    homelab.fault(&["qm", "guest", "exec"], Some(2), &fails).unwrap();
    let ran = rebuild(&homelab, &["--yes"]).exits(3);
    let ran = ran.says("the apply failed: ").says("module.monitoring.terraform_data.stack");
    ran.says("mend the cause and go on: `rebuild-monitoring --mode rebuild`");
    rebuild(&homelab, &["--yes"]).exits(0);
    assert!(!homelab.terraform().has_changes("monitoring").unwrap());
}

#[test]
fn a_state_that_cannot_be_read_changes_nothing() {
    let Some(homelab) = homelab() else { return };
    homelab.stop_minio().unwrap();
    homelab.wait_for_minio(false).unwrap();
    let before = homelab.inventory().unwrap();
    let ran = rebuild(&homelab, &["--yes"]).exits(1);
    ran.says("cannot be read").says("`restore-tfstate --fallback`");
    assert_eq!(homelab.inventory().unwrap(), before);
}

#[test]
fn a_project_that_is_not_initialised_is_so_first() {
    let Some(homelab) = homelab() else { return };
    destroy(&homelab);
    fs::remove_dir_all(homelab.terraform().environment("monitoring").join(".terraform")).unwrap();
    rebuild(&homelab, &["--yes"]).exits(0).says("known after `init`");
}

#[test]
fn what_is_still_to_apply_besides_is_not_left_unsaid() {
    let Some(homelab) = homelab() else { return };
    destroy(&homelab);
    let text = "resource \"terraform_data\" \"rule\" {\n  input = 1\n}\n";
    fs::write(homelab.terraform().environment("monitoring").join("more.tf"), text).unwrap();
    let ran = rebuild(&homelab, &["--yes"]).exits(0);
    ran.says("still to apply besides module.monitoring: 1 resource (terraform_data.rule)");
}

#[test]
fn a_vm_that_its_module_protects_is_not_destroyed() {
    let Some(homelab) = homelab() else { return };
    let module = homelab.terraform().root().join("infrastructure/proxmox/modules/monitoring-stack/main.tf");
    let text = fs::read_to_string(&module).unwrap();
    let begin = "resource \"proxmox_virtual_environment_vm\" \"monitoring\" {";
    fs::write(
        &module,
        text.replace(begin, &format!("{begin}\n  lifecycle {{\n    prevent_destroy = true\n  }}\n")),
    )
    .unwrap();
    let before = homelab.inventory().unwrap();
    rebuild(&homelab, &["--yes"]).exits(1).says("Instance cannot be destroyed").says("`qm destroy`");
    assert_eq!(homelab.inventory().unwrap(), before);
    destroy(&homelab);
    rebuild(&homelab, &["--yes"]).exits(0);
}

#[test]
fn a_service_that_does_not_come_back_is_exit_4() {
    let Some(homelab) = homelab() else { return };
    destroy(&homelab);
    homelab.stack().unwrap().set(&[Fault::NoDashboards]).unwrap();
    let ran = rebuild(&homelab, &["--yes", "--json"]).exits(4);
    assert_eq!(failed(&ran), ["dashboards"], "{ran}");
}
