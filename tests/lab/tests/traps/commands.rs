//! Commands that take their arguments otherwise than one thinks, and exit codes that do not tell.

use super::{CT, Homelab, VM};

#[test]
fn trap_06_a_restore_that_starts_the_vm_exists_from_9_1_on() {
    let lab = Homelab::of(8);
    let archive = lab.backup(VM);
    let said = lab.run(&format!("qmrestore {archive} 150 --start 1"));
    assert_ne!(said.status, 0);
    assert!(said.err.contains("Unknown option: start"), "{said:?}");
    assert_eq!(lab.config(150), None);
}

#[test]
fn trap_08_a_failed_task_of_the_api_ends_well() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.cut(&archive);
    let restored = lab.run(&format!("pvesh create /nodes/pve/qemu --vmid 150 --archive {archive}"));
    assert_eq!(restored.status, 0, "{restored:?}");
    assert!(lab.volumes(150).is_empty() && !restored.err.is_empty(), "{restored:?}");

    lab.well(&format!("pvesh set /nodes/pve/storage/local/content/{archive} --protected 1"));
    let freed = lab.run(&format!("pvesm free {archive}"));
    assert_eq!(freed.status, 0);
    assert!(freed.err.contains("cannot remove protected volume"), "{freed:?}");
    assert!(lab.archive(&archive).exists());
}

#[test]
fn trap_20_a_flag_swallows_the_word_behind_it() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    let config = lab.config(VM);
    let said = lab.run(&format!("qmrestore --force {archive} {VM}"));
    assert_ne!(said.status, 0);
    assert_eq!(lab.config(VM), config);
    assert_eq!(lab.run(&format!("qmrestore {archive} {VM} --force 1")).status, 0);
}

#[test]
fn trap_21_destroying_first_costs_what_force_keeps() {
    let lab = Homelab::new();
    lab.write("etc/pve/user.cfg", b"pool:production::100,200::\n");
    lab.write("etc/pve/firewall/100.fw", b"[OPTIONS]\nenable: 1\n");
    let unused = "data:100/vm-100-disk-2.raw".to_owned();
    let pools = || lab.node().read("/etc/pve/user.cfg").unwrap();
    let archive = lab.backup(VM);

    assert_eq!(lab.run(&format!("qmrestore {archive} {VM} --force 1")).status, 0);
    assert!(pools().contains("100") && lab.path("etc/pve/firewall/100.fw").exists());
    assert!(lab.volumes(VM).contains(&unused), "{:?}", lab.volumes(VM));

    lab.well("qm destroy 100");
    assert!(!pools().contains("100"), "{}", pools());
    assert!(!lab.path("etc/pve/firewall/100.fw").exists());
    assert!(!lab.volumes(VM).contains(&unused), "{:?}", lab.volumes(VM));
}

#[test]
fn trap_32_stopping_a_stopped_container_is_an_error() {
    let lab = Homelab::new();
    for command in ["stop", "shutdown"] {
        assert_eq!(lab.run(&format!("qm {command} {VM}")).status, 0);
        let said = lab.run(&format!("pct {command} {CT}"));
        assert!(said.status != 0 && said.err.contains("CT 200 not running"), "{said:?}");
    }
}
