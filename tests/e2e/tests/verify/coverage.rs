//! Guests, jobs and disks that no backup covers.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::fs;

use restore_e2e::{Ran, verify_backups};
use restore_lab::{
    lab::{CT, Lab, LabBuilder, VM},
    sim::GuestKind,
};

const JOBS: &str = "/etc/pve/jobs.cfg";

fn lab(jobs: &str) -> Lab {
    LabBuilder::new().small().file(JOBS, jobs).start().unwrap()
}

fn any_age(lab: &Lab) -> Ran {
    verify_backups(lab, &["--max-age", "90000d", "-v"])
}

fn job(id: &str, settings: &str) -> String {
    format!("vzdump: {id}\n\tschedule 21:00\n\tstorage local\n{settings}\n")
}

#[test]
fn a_guest_without_any_backup_is_an_error() {
    let lab = lab(&job("all", "\tall 1\n"));
    let config = "/etc/pve/qemu-server/105.conf";
    lab.write(config, "memory: 512\nname: forgotten\n").unwrap();
    let _ = any_age(&lab).exits(2).says("105: guest-no-backup").says("forgotten");
    fs::remove_file(lab.path(config)).unwrap();
    let _ = any_age(&lab).exits(0);
}

#[rstest::rstest]
#[case::none("", &["job-missing", "101: guest-in-no-job: no job names it"])]
#[case::disabled("\tall 1\n\tenabled 0\n", &["job-disabled", "job-missing", "101: guest-in-no-job: job j names it and is disabled"])]
#[case::excluded("\tall 1\n\texclude 101\n", &["101: guest-in-no-job: no job names it"])]
#[case::listed("\tvmid 102,999\n", &["101: guest-in-no-job: no job names it"])]
#[case::elsewhere("\tall 1\n\tnode pve9\n", &["101: guest-in-no-job: job j names it and runs on another node"])]
fn a_guest_in_no_enabled_job_is_found(#[case] settings: &str, #[case] found: &[&str]) {
    let jobs = if settings.is_empty() { String::new() } else { job("j", settings) };
    let ran = any_age(&lab(&jobs)).exits(1);
    let ran = found.iter().fold(ran, |ran, words| ran.says(words));
    let only_101 = settings.contains("101") || settings.contains("102");
    assert_eq!(ran.stdout.contains("102: guest-in-no-job"), !only_101, "{ran}");
}

#[test]
fn the_age_of_the_newest_backup_counts_against_the_schedule_or_the_option() {
    let lab = lab(&job("night", "\tall 1\n"));
    let ran = verify_backups(&lab, &[]).exits(1);
    let ran = ran.says("101: backup-stale: the newest is").says("1 d 06 h are allowed (job night: 21:00)");
    assert_eq!(ran.stdout.matches("101: backup-stale").count(), 1, "older backups are no fault: {ran}");
    let _ = verify_backups(&lab, &["--max-age", "48h"]).exits(1).says("2 d 00 h are allowed (--max-age)");
    let _ = verify_backups(&lab, &["--max-age", "90000d"]).exits(0);
}

#[test]
fn disks_in_no_backup_are_told() {
    let lab = lab(&job("all", "\tall 1\n"));
    lab.add_to_config(GuestKind::Vm, VM, "scsi7: local-lvm:vm-101-disk-7,backup=0,size=1G").unwrap();
    lab.add_to_config(GuestKind::Ct, CT, "mp5: /srv/share,mp=/srv/share").unwrap();
    let _ = any_age(&lab).exits(0).says("101: disk-excluded: scsi7").says("102: disk-excluded: mp5");
    lab.add_to_config(GuestKind::Ct, CT, "mp6: local-lvm:vm-102-disk-6,mp=/data,size=1G").unwrap();
    let _ = any_age(&lab).exits(1).says("102: disk-not-backed-up: mp6");
}

#[test]
fn a_guest_that_a_failed_restore_left_is_an_error() {
    let lab = lab(&job("all", "\tall 1\n"));
    lab.write("/etc/pve/qemu-server/101.conf", "memory: 128\n").unwrap();
    let _ = any_age(&lab).exits(2).says("101: guest-left-by-restore").says("restore-vm VMID");
}

#[rstest::rstest]
#[case::nearly(88, 1, "storage-nearly-full: local: 8")]
#[case::full(97, 2, "storage-full: local: 9")]
fn a_full_storage_is_found(#[case] percent: u64, #[case] code: i32, #[case] words: &str) {
    let lab = lab(&job("all", "\tall 1\n"));
    lab.change_settings(|settings| {
        let local = settings.storages.entry("local".to_owned()).or_default();
        local.reserved = local.total / 100 * percent;
    })
    .unwrap();
    let _ = any_age(&lab).exits(code).says(words);
}

#[test]
fn a_storage_that_is_switched_off_is_told_from_one_that_is_down() {
    let old = "dir: old\n\tpath /mnt/data\n\tcontent backup\n\tdisable\n";
    let lab = LabBuilder::new().small().storage(old).file(JOBS, &job("all", "\tall 1\n")).start().unwrap();
    let ran = any_age(&lab).exits(1).says("storage-disabled: old");
    assert!(!ran.stdout.contains("storage-inactive"), "{ran}");
}

#[test]
fn what_is_switched_off_or_for_another_node_hides_nothing() {
    let old = "dir: old\n\tpath /mnt/data\n\tcontent backup\n\tdisable\n";
    let others = "dir: others\n\tpath /mnt/others\n\tcontent backup\n\tnodes pve-other\n";
    let lab = LabBuilder::new().small().storage(old).storage(others).file(JOBS, &job("all", "\tall 1\n"));
    let lab = lab.start().unwrap();
    lab.write("/etc/pve/qemu-server/105.conf", "memory: 512\nname: forgotten\n").unwrap();
    let ran = verify_backups(&lab, &["--no-state", "-v"]).exits(2).says("105: guest-no-backup");
    let ran = ran.says("101: backup-stale").says("storage-disabled: old");
    assert!(!ran.stdout.contains("others"), "{ran}");
}

#[test]
fn backups_of_a_vm_are_none_of_a_container_with_its_number() {
    let lab = lab(&job("all", "\tall 1\n"));
    fs::remove_file(lab.path("/etc/pve/lxc/102.conf")).unwrap();
    lab.write("/etc/pve/qemu-server/102.conf", "memory: 512\nname: newcomer\n").unwrap();
    let ran = any_age(&lab).exits(2).says("102: guest-no-backup").says("newcomer").says("(only backups)");
    assert_eq!(ran.stdout.matches("guest-no-backup:").count(), 1 + 1, "a finding and what to do: {ran}");
}

#[test]
fn the_age_on_one_storage_is_judged_when_it_is_asked_for() {
    let lab = lab(&job("all", "\tall 1\n"));
    lab.write("/etc/pve/qemu-server/105.conf", "memory: 512\nname: elsewhere\n").unwrap();
    let of_storage =
        |more: &[&str]| verify_backups(&lab, &[&["--no-state", "-v", "--storage", "local"], more].concat());
    assert!(!of_storage(&[]).stdout.contains("backup-stale"), "newer ones may be on another");
    let ran = of_storage(&["--max-age", "48h"]).exits(1).says("101: backup-stale");
    assert!(!ran.stdout.contains("105: guest-no-backup"), "its backups may be on another: {ran}");
}

#[test]
fn silence_of_a_storage_is_never_taken_for_no_backup() {
    let lab = lab(&job("all", "\tall 1\n"));
    lab.change_settings(|settings| settings.storages.entry("local".to_owned()).or_default().online = false)
        .unwrap();
    let ran = any_age(&lab).exits(2).says("storage-inactive: local");
    assert!(!ran.stdout.contains("guest-no-backup"), "{ran}");
}

#[test]
fn a_failed_last_run_is_found_and_a_warning_is_none() {
    let lab = lab(&job("all", "\tall 1\n"));
    ended(&lab, "6A7C3E00", "", "WARNINGS: 1");
    let _ = any_age(&lab).exits(0);
    ended(&lab, "6A7C3E01", "", "ERROR: job errors");
    ended(&lab, "6A7C3E02", "102", "ERROR: no space");
    let ran = any_age(&lab).exits(2).says("102: backup-failed: no space").says("job-failed: 2026-");
    assert!(!ran.stdout.contains("101: backup-failed"), "{ran}");
    ended(&lab, "6A7C3E03", "", "OK");
    assert!(!any_age(&lab).stdout.contains("job-failed"), "only the last run counts");
}

/// The last run of all, which was another job's, says nothing about it.
#[test]
fn a_job_that_failed_is_found_behind_another_that_did_not() {
    let jobs = job("early", "\tall 1\n").replace("21:00", "*:33")
        + &job("late", "\tall 1\n").replace("21:00", "*:50");
    let lab = lab(&jobs);
    // At 33 minutes past an hour, and at 50.
    ended(&lab, "6A7C3E00", "", "ERROR: job errors");
    ended(&lab, "6A7C41FC", "", "OK");
    let _ = any_age(&lab).exits(2).says("job-failed: 2026-");
    // An hour later.
    ended(&lab, "6A7C4C10", "", "OK");
    assert!(!any_age(&lab).stdout.contains("job-failed"), "its last run went well");
}

#[test]
fn a_schedule_that_names_days_of_the_month_is_what_counts() {
    let lab = lab(&job("all", "\tall 1\n").replace("21:00", "sat *-1..7 15:00"));
    let ran = verify_backups(&lab, &["--no-state", "-v"]).exits(1);
    // 35 days and a quarter of that.
    let _ = ran.says("43 d 18 h are allowed (job all: sat *-1..7 15:00)");
}

/// A backup task that ended.
fn ended(lab: &Lab, began: &str, guest: &str, how: &str) {
    let upid = format!("UPID:pve-prod:00001234:00112233:{began}:vzdump:{guest}:root@pam:");
    let log = lab.node().unwrap().task_log(&upid);
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    fs::write(log, format!("INFO: starting\n\nTASK {how}\n")).unwrap();
}

#[test]
fn a_backup_that_left_only_its_log_is_found() {
    let lab = lab(&job("all", "\tall 1\n"));
    let log = "vzdump-qemu-101-2026_02_01-01_00_04.log";
    let said = "INFO: Starting Backup of VM 101\nERROR: Backup of VM 101 failed - no space\n";
    fs::write(lab.archive(log), said).unwrap();
    let _ = any_age(&lab).exits(2).says("101: backup-failed: Backup of VM 101 failed - no space");
}
