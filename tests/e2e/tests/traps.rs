//! The traps of a node (the lab's `traps` tests drive the bare commands into them) that no other test is about:
//! `restore-vm` meets each, and does not fall in.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::fs;

use restore_e2e::restore_vm;
use restore_lab::lab::{Fault, Lab, LabBuilder};

const VM_CONF: &str = "/etc/pve/qemu-server/101.conf";
const CT_CONF: &str = "/etc/pve/lxc/102.conf";
const NEWEST: &str = "vzdump-qemu-101-2026_01_30-01_00_00.vma.zst";
const OLDER: &str = "vzdump-qemu-101-2026_01_29-01_00_00.vma.zst";

/// A homelab with two backups of each guest.
fn two_backups() -> Lab {
    LabBuilder::new().backups(&["2026_01_29-01_00_00", "2026_01_30-01_00_00"]).start().unwrap()
}

fn add(lab: &Lab, config: &str, line: &str) {
    lab.write(config, &format!("{}{line}\n", lab.read(config).unwrap())).unwrap();
}

fn chosen(lab: &Lab, words: &[&str]) -> String {
    let report = restore_vm(lab, &[words, &["--dry-run", "--json"]].concat()).exits(0).report();
    let volid = report["subject"]["archive"].as_str().unwrap();
    volid.rsplit('/').next().unwrap().to_owned()
}

/// Refused before anything was changed.
fn refused(lab: &Lab, words: &[&str], says: &str) {
    let before = lab.inventory().unwrap();
    let _ = restore_vm(lab, words).exits(1).says("nothing was changed").says(says);
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn trap_10_a_guest_that_a_failed_restore_did_not_touch_is_left_alone() {
    let lab = Lab::start().unwrap();
    let before = [VM_CONF, "/run/qemu-server/101.pid"].map(|file| lab.read(file).unwrap());
    // Somebody protects it while the program works: the restore ends with the line that also comes when all is lost.
    let words = "error before or during data restore, some or all disks were not completely restored. VM 101 state \
                 is NOT cleaned up.";
    let fault = Fault::Fails { exit: 255, stderr: words.to_owned() };
    lab.fault(&["qmrestore"], Some(1), &fault).unwrap();
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(2).report();
    assert_eq!(lab.read(VM_CONF).unwrap(), before[0], "{report:#}");
    let restores = lab.executions().unwrap().iter().filter(|line| line.contains("qmrestore")).count();
    assert_eq!(restores, 1, "the safety backup was restored over a guest that was whole: {report:#}");
}

#[test]
fn trap_14_an_old_disk_on_a_removed_storage_is_found_before_the_restore() {
    let lab = Lab::start().unwrap();
    add(&lab, VM_CONF, "virtio3: gone:vm-101-disk-9,size=1G");
    refused(&lab, &["101", "--force"], "`gone`");
    add(&lab, CT_CONF, "mp3: gone:vm-102-disk-9,mp=/x,size=1G");
    refused(&lab, &["102", "--force"], "`gone`");
}

#[test]
fn trap_23_a_tgz_is_refused_while_the_container_is_there() {
    let lab = LabBuilder::new().compress("gzip").start().unwrap();
    let name = "vzdump-lxc-102-2026_01_30-01_00_04.tar.gz";
    fs::rename(lab.archive(name), lab.archive(&name.replace(".tar.gz", ".tgz"))).unwrap();
    refused(&lab, &["102", "--force"], "ends in .tgz");
}

#[test]
fn trap_25_an_archive_of_another_guest_is_not_taken_for_one_of_this() {
    let lab = two_backups();
    // The newest of all, listed for 101 and with 101 as its number.
    let foreign = lab.archive("vzdump-qemu-777-101-2026_02_01-01_00_00.vma.zst");
    fs::copy(lab.archive(NEWEST), foreign).unwrap();
    assert_eq!(chosen(&lab, &["101"]), NEWEST);
    let listed = restore_vm(&lab, &["101", "--list"]).exits(0);
    assert!(!listed.stdout.contains("777"), "{listed}");
}

#[test]
fn trap_26_an_empty_archive_is_refused_and_an_older_one_named() {
    let lab = two_backups();
    fs::write(lab.archive(NEWEST), "").unwrap();
    refused(&lab, &["101", "--force"], "is empty (0 bytes)");
    let _ = restore_vm(&lab, &["101", "--force"])
        .exits(1)
        .says(&format!("`restore-vm 101 --archive local:backup/{OLDER}` restores the newest intact one"));
}

#[test]
fn trap_28_and_38_the_safety_backup_deletes_no_other_and_is_where_the_node_says() {
    let lab = LabBuilder::new()
        .backups(&["2026_01_29-01_00_00", "2026_01_30-01_00_00"])
        .storage(
            "nfs: nas\n\tserver 192.168.1.5\n\texport /b\n\tcontent backup\n\tprune-backups keep-last=1\n",
        )
        .start()
        .unwrap();
    let on_nas = "/mnt/pve/nas/dump";
    fs::create_dir_all(lab.path(on_nas)).unwrap();
    for name in [OLDER, NEWEST] {
        fs::rename(lab.archive(name), lab.path(&format!("{on_nas}/{name}"))).unwrap();
    }
    let words = ["101", "--archive", &format!("nas:backup/{OLDER}"), "--force", "--json"];
    let report = restore_vm(&lab, &words).exits(0).report();
    let safety = report["kept"][0]["place"].as_str().unwrap();
    assert!(safety.starts_with("nas:backup/vzdump-qemu-101-"), "{report:#}");
    for name in [OLDER, NEWEST, safety.rsplit('/').next().unwrap()] {
        assert!(lab.path(&format!("{on_nas}/{name}")).exists(), "{name} is gone: {report:#}");
    }
}

#[test]
fn trap_30_another_backup_job_is_waited_for_with_words_and_a_limit() {
    let lab = Lab::start().unwrap();
    lab.change_settings(|settings| {
        settings.lock_wait_ms = Some(50);
        settings.held_locks = vec!["/var/run/vzdump.lock".into()];
    })
    .unwrap();
    let before = lab.inventory().unwrap();
    let ran = restore_vm(&lab, &["101", "--force"]).exits(1);
    let ran = ran.says("waiting for another backup job on pve-prod").says("for 30 minutes at most");
    let _ = ran.says("can't acquire lock '/var/run/vzdump.lock' - got timeout");
    assert_eq!(lab.inventory().unwrap(), before);
    assert!(lab.executions().unwrap().iter().any(|line| line.contains("--lockwait 30")));
}

#[test]
fn trap_32_a_container_that_stopped_by_itself_is_restored() {
    let lab = Lab::start().unwrap();
    let output = lab.on_node(&["pct", "stop", "102"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let _ = restore_vm(&lab, &["102", "--force"]).exits(0);
}

#[test]
fn trap_35_a_state_that_is_late_is_not_believed() {
    let lab = Lab::start().unwrap();
    // That it was started is known by now, that it was stopped will not be for long.
    lab.change_settings(|settings| settings.broadcast_ms = 0).unwrap();
    let output = lab.on_node(&["qm", "stop", "101"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    lab.change_settings(|settings| settings.broadcast_ms = 600_000).unwrap();
    let query = ["pvesh", "get", "/cluster/resources", "--type", "vm", "--output-format", "json"];
    let late: serde_json::Value = serde_json::from_slice(&lab.on_node(&query).unwrap().stdout).unwrap();
    let told = late.as_array().unwrap().iter().find(|guest| guest["vmid"] == 101).unwrap();
    assert_eq!(told["status"], "running", "the lab tells the truth too early");
    let report = restore_vm(&lab, &["101", "--dry-run", "--json"]).exits(0).report();
    let steps: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| step["id"].clone()).collect();
    assert!(!steps.contains(&"stop".into()), "{report:#}");
}

#[test]
fn trap_37_what_is_pending_is_not_taken_for_what_is_there() {
    let lab = Lab::start().unwrap();
    add(&lab, VM_CONF, "\n[PENDING]\nscsi9: local-lvm:vm-101-disk-9,size=1G\nprotection: 1");
    let ran = restore_vm(&lab, &["101", "--dry-run"]).exits(0);
    assert!(!ran.stdout.contains("scsi9"), "{ran}");
}
