//! `--mode restore`: one command from a broken VM to every service proven.

use restore_lab::{
    lab::{Fault as OfNode, Lab, LabBuilder, MONITORING},
    monitoring::Fault,
};

use crate::ground::{BRIEF, failed, lab_of, rebuild_monitoring, saw, stack};

const CONFIG: &str = "/etc/pve/qemu-server/151.conf";

fn lab(faults: &[Fault]) -> Option<Lab> {
    lab_of(LabBuilder::new().small(), faults)
}

/// The VM is off, and its disk boots no more.
fn break_vm(lab: &Lab) {
    let stopped = lab.on_node(&["qm", "stop", &MONITORING.to_string()]).unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    lab.break_disk(MONITORING).unwrap();
}

#[test]
fn a_broken_vm_comes_back_with_all_its_services_in_one_command() {
    let Some(lab) = lab(&[]) else { return };
    break_vm(&lab);
    let ran = rebuild_monitoring(&lab, &["--yes", "--json"]).exits(0);
    assert_eq!(failed(&ran), Vec::<String>::new());
    assert_eq!(
        saw(&ran, "targets", "passed"),
        "3 targets: monitoring-stack 1, node-exporter 1, prometheus 1"
    );
    let report = ran.report();
    assert_eq!(report["program"], "rebuild-monitoring");
    assert_eq!(report["subject"]["vmid"], MONITORING);
    assert!(report["kept"][0]["what"].as_str().unwrap().contains("safety backup"), "{ran}");
}

#[test]
fn one_target_that_is_dead_afterwards_is_exit_4_with_its_name() {
    let Some(lab) = lab(&[Fault::DeadTarget]) else { return };
    break_vm(&lab);
    let ran = rebuild_monitoring(&lab, &["--yes", "--json"]).exits(4);
    assert_eq!(failed(&ran), ["targets"], "{ran}");
    let words = saw(&ran, "targets", "failed");
    assert!(words.contains("job `node-exporter`") && words.contains("connection refused"), "{words}");
}

#[test]
fn what_the_old_stack_had_has_to_be_there_again() {
    let Some(lab) = lab(&[]) else { return };
    // It still answers; what comes back has no dashboards.
    let looked = rebuild_monitoring(&lab, &["--dry-run"]).exits(0);
    looked.says("dashboards 3");
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| rebuild_monitoring(&lab, &["--yes", "--json", "--wait", "30"]));
        while stack(&lab).is_up() {
            std::thread::park_timeout(std::time::Duration::from_millis(10));
        }
        stack(&lab).set(&[Fault::NoRules]).unwrap();
        ran.join().unwrap()
    });
    let ran = ran.exits(4);
    let rules = saw(&ran, "rules", "failed");
    assert!(rules.contains("there before, and gone: hosts, prometheus"), "{rules}");
}

#[test]
fn a_dry_run_changes_nothing() {
    let Some(lab) = lab(&[]) else { return };
    break_vm(&lab);
    let before = lab.inventory().unwrap();
    let ran = rebuild_monitoring(&lab, &["--dry-run"]).exits(0);
    ran.says("every target of Prometheus is up").says("nothing was changed");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn a_restore_that_fails_leaves_the_vm_as_it_was() {
    let Some(lab) = lab(&[]) else { return };
    break_vm(&lab);
    let before = lab.disk_sha256(CONFIG, "scsi0").unwrap();
    lab.fault(&["qmrestore"], Some(1), &OfNode::KilledAfter(64 << 10)).unwrap();
    let ran = rebuild_monitoring(&lab, &["--yes", "--wait", BRIEF]).exits(2);
    ran.says("rolled back");
    assert_eq!(lab.disk_sha256(CONFIG, "scsi0").unwrap(), before);
}
