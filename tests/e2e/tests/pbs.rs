//! Guests come back from a Proxmox Backup Server with the same command, and cost nothing when it lets them down.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{Guest, restore_vm};
use restore_lab::{
    lab::{CT, Fault, Lab, LabBuilder, VM},
    sim::backup_server::{ROOT, Verification},
};

const VM_CONF: &str = "/etc/pve/qemu-server/101.conf";
const CT_CONF: &str = "/etc/pve/lxc/102.conf";
/// Newer than every archive of a lab.
const NEWEST: &str = "2026-01-31T01:00:00Z";
const NEWEST_VM: &str = "pbs:backup/vm/101/2026-01-31T01:00:00Z";
const NEWEST_CT: &str = "pbs:backup/ct/102/2026-01-31T01:00:00Z";
const OLDER_VM: &str = "pbs:backup/vm/101/2026-01-29T23:30:00Z";
const ARCHIVE_VM: &str = "local:backup/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst";
/// The system disk of the VM on the server.
const IMAGE: &str = "drive-scsi0.img.fidx";

fn lab(pve: u8) -> Lab {
    LabBuilder::new().pve(pve).backup_server("pbs", &["2026-01-29T23:30:00Z", NEWEST]).start().unwrap()
}

/// The server has verified a backup; two days after it was made, as far as the times here go.
fn verified(lab: &Lab, volid: &str, state: &str) {
    let found = Verification::new(state, 1_770_000_000);
    lab.change_snapshot(volid, |about| about.verification = Some(found)).unwrap();
}

/// The server has lost a chunk in the middle of a file.
fn lose(lab: &Lab, volid: &str, file: &str) {
    lab.change_snapshot(volid, |about| about.missing = [(file.to_owned(), 1 << 20)].into()).unwrap();
}

/// Volumes that no configuration names, locks, and volumes that are attached nowhere.
fn leftovers(lab: &Lab) -> Vec<String> {
    let node = lab.node().unwrap();
    let configs = [VM_CONF, CT_CONF].map(|path| lab.read(path).unwrap()).concat();
    let volumes = node.storages().into_iter().flat_map(|storage| node.volumes(&storage));
    let orphans = volumes.map(|v| v.volid).filter(|volid| !configs.contains(&format!(": {volid},")));
    let marks = configs.lines().filter(|l| l.starts_with("lock:") || l.starts_with("unused"));
    orphans.chain(marks.map(str::to_owned)).collect()
}

/// Nothing is changed, and this is said.
#[track_caller]
fn refused(lab: &Lab, words: &[&str], says: &[&str]) {
    let before = lab.inventory().unwrap();
    let mut ran = restore_vm(lab, words).exits(1).says("nothing was changed");
    for words in says {
        ran = ran.says(words);
    }
    assert_eq!(lab.inventory().unwrap(), before);
}

/// The restores that the node was asked for.
fn restores(lab: &Lab) -> Vec<String> {
    let journal = lab.journal().unwrap();
    let lines = journal.iter().map(|entry| {
        let words = entry["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        words.collect::<Vec<_>>().join(" ")
    });
    lines.filter(|line| line.starts_with("qmrestore ") || line.starts_with("pct restore ")).collect()
}

#[rstest::rstest]
fn a_vm_comes_back(#[values(8, 9)] pve: u8) {
    let lab = lab(pve);
    verified(&lab, NEWEST_VM, "ok");
    let before = Guest::of(&lab, VM);
    lab.break_disk(VM).unwrap();
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["archive"], NEWEST_VM);
    assert_eq!(report["subject"]["server"]["verification"], "ok");
    assert_eq!(Guest::of(&lab, VM), before, "{report:#}");
    let ids: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| step["id"].clone()).collect();
    assert_eq!(ids, ["check", "safety-backup", "safety-check", "copy-files", "stop", "restore", "start"]);
    let kept = report["kept"][0]["place"].as_str().unwrap();
    assert!(kept.starts_with("local:backup/vzdump-qemu-101-"), "{report:#}");
    assert_eq!(restores(&lab), [format!("qmrestore {NEWEST_VM} 101 --force 1")]);
}

#[rstest::rstest]
fn a_container_comes_back(#[values(8, 9)] pve: u8) {
    let lab = lab(pve);
    verified(&lab, NEWEST_CT, "ok");
    let before = Guest::of(&lab, CT);
    lab.break_container(CT).unwrap();
    let report = restore_vm(&lab, &["102", "--force", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["archive"], NEWEST_CT);
    assert_eq!(Guest::of(&lab, CT), before, "{report:#}");
}

#[rstest::rstest]
fn a_copy_is_made_of_it_and_an_older_one_by_name() {
    let lab = lab(9);
    let disk = lab.disk_sha256(VM_CONF, "scsi0").unwrap();
    let words = ["101", "--archive", OLDER_VM, "--target-id", "901", "--force", "--json"];
    let report = restore_vm(&lab, &words).exits(0).report();
    assert_eq!(report["subject"]["archive"], OLDER_VM);
    assert_eq!(lab.disk_sha256("/etc/pve/qemu-server/901.conf", "scsi0").unwrap(), disk);
}

#[test]
fn what_the_server_says_is_in_the_plan_and_a_dry_run_changes_nothing() {
    let lab = lab(9);
    verified(&lab, NEWEST_VM, "ok");
    lab.change_snapshot(NEWEST_VM, |about| about.encrypted = Some("1f:e2".to_owned())).unwrap();
    lab.node().unwrap().write("/etc/pve/priv/storage/pbs.enc", "{}").unwrap();
    let before = lab.inventory().unwrap();
    let ran = restore_vm(&lab, &["101", "--dry-run"]).exits(0).says(NEWEST_VM).says("verified 2");
    let ran = ran.says("days ago, encrypted").says("Ask the backup server again what it knows of the backup");
    assert!(!ran.stderr.contains("never verified") && !ran.stdout.contains("never verified"), "{ran}");
    assert!(!ran.stderr.contains("Read the backup to its end"), "{ran}");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn all_backups_are_listed_together_newest_first() {
    let lab = lab(8);
    verified(&lab, NEWEST_VM, "failed");
    lab.change_snapshot(OLDER_VM, |about| about.encrypted = Some("1".to_owned())).unwrap();
    let ran = restore_vm(&lab, &["101", "--list"]).exits(0);
    let ran =
        ran.says("4 backups of guest 101").says("VERIFICATION FAILED").says("never verified, encrypted");
    let at = |volid: &str| ran.stdout.find(volid).unwrap_or_else(|| panic!("no {volid}: {ran}"));
    assert!(at(NEWEST_VM) < at(ARCHIVE_VM) && at(ARCHIVE_VM) < at(OLDER_VM), "{ran}");
    let list = restore_vm(&lab, &["101", "--list", "--json"]).exits(0).report();
    assert_eq!(list["backups"][0]["server"]["verification"], "failed", "{list:#}");
    assert!(list["backups"][1].get("server").is_none(), "{list:#}");
}

#[test]
fn one_that_was_found_damaged_is_passed_over_and_refused() {
    let lab = lab(9);
    verified(&lab, NEWEST_VM, "failed");
    let report = restore_vm(&lab, &["101", "--dry-run", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["archive"], ARCHIVE_VM);
    let _ = restore_vm(&lab, &["101", "--dry-run"]).exits(0).says(&format!(
        "`{NEWEST_VM}` is newer and was passed over: its server found it damaged when it verified it"
    ));
    let hint = format!("`restore-vm 101 --archive {ARCHIVE_VM}` restores the newest other one");
    let damaged = "is not restored: its server found it damaged when it verified it";
    refused(&lab, &["101", "--archive", NEWEST_VM, "--force"], &[damaged, &hint]);
    // When there is nothing else, that is not "no backup".
    verified(&lab, OLDER_VM, "failed");
    refused(
        &lab,
        &["101", "--storage", "pbs", "--force"],
        &["no backup of guest 101 can be used", NEWEST_VM],
    );
}

/// Between the plan and its execution may lie hours.
#[test]
fn one_that_is_found_damaged_meanwhile_is_not_used() {
    let lab = lab(9);
    verified(&lab, NEWEST_VM, "ok");
    let before = Guest::of(&lab, VM);
    lab.fault(
        &["pvesh", "get", "/nodes/localhost/storage/pbs/content"],
        Some(2),
        &Fault::Fails { exit: 255, stderr: "storage 'pbs' is not online".to_owned() },
    )
    .unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(1).says("storage 'pbs' is not online");
    assert_eq!(Guest::of(&lab, VM), before);
    assert!(restores(&lab).is_empty());
}

#[test]
fn one_that_was_never_verified_is_warned_about_and_restored() {
    let lab = lab(9);
    let warning =
        "its server never verified this backup: if it is damaged, that shows when the guest is gone";
    let ran = restore_vm(&lab, &["101", "--bwlimit", "50000", "--force"]).exits(0).says(warning);
    let ran = ran.says("a restore from a backup server may not keep to `--bwlimit`");
    assert_eq!(restores(&lab).len(), 1, "{ran}");
}

#[test]
fn one_that_is_not_finished_is_passed_over() {
    let lab = lab(9);
    lab.change_snapshot(NEWEST_VM, |about| about.unfinished = true).unwrap();
    let _ = restore_vm(&lab, &["101", "--list"]).exits(0).says("unfinished");
    let ran = restore_vm(&lab, &["101", "--dry-run"]).exits(0).says("passed over: it is not finished");
    let _ = ran.says(ARCHIVE_VM);
}

#[rstest::rstest]
fn a_lost_chunk_leaves_the_vm_as_it_was(#[values(8, 9)] pve: u8) {
    let lab = lab(pve);
    lose(&lab, NEWEST_VM, IMAGE);
    lab.write_to_guest(VM, "work since the last backup").unwrap();
    let before = Guest::of(&lab, VM);
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(2).report();
    assert_eq!(Guest::of(&lab, VM), before, "{report:#}");
    assert_eq!(report["state"], "rolled back: everything is as it was before");
    assert_eq!(leftovers(&lab), [""; 0], "{report:#}");
}

#[rstest::rstest]
fn a_lost_chunk_leaves_the_container_as_it_was(#[values(8, 9)] pve: u8) {
    let lab = lab(pve);
    lose(&lab, NEWEST_CT, ROOT);
    lab.write_to_guest(CT, "work since the last backup").unwrap();
    let before = Guest::of(&lab, CT);
    let report = restore_vm(&lab, &["102", "--force", "--json"]).exits(2).report();
    assert_eq!(Guest::of(&lab, CT), before, "{report:#}");
    assert_eq!(leftovers(&lab), [""; 0], "{report:#}");
}

#[test]
fn a_restore_that_is_killed_leaves_the_vm_as_it_was() {
    let lab = lab(9);
    let before = Guest::of(&lab, VM);
    lab.fault(&["qmrestore"], Some(1), &Fault::KilledAfter(1 << 20)).unwrap();
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(2).report();
    assert_eq!(Guest::of(&lab, VM), before, "{report:#}");
    assert_eq!(leftovers(&lab), [""; 0], "{report:#}");
}

#[test]
fn a_server_that_does_not_answer_hides_no_other_backup() {
    let lab = lab(9);
    lab.change_settings(|settings| settings.storages.entry("pbs".to_owned()).or_default().online = false)
        .unwrap();
    let ran = restore_vm(&lab, &["101", "--dry-run"]).exits(0).says(ARCHIVE_VM);
    let _ =
        ran.says("storage `pbs` could not be listed (it is not active): there may be a newer backup on it");
    let _ = restore_vm(&lab, &["101", "--list"]).exits(0).says("not listed: storage `pbs`: it is not active");
    refused(
        &lab,
        &["101", "--archive", NEWEST_VM, "--force"],
        &[&format!("cannot look for `{NEWEST_VM}`: storage `pbs`: it is not active")],
    );
}

#[test]
fn an_encrypted_backup_without_its_key_is_refused_in_time() {
    let lab = lab(9);
    lab.change_snapshot(NEWEST_VM, |about| about.encrypted = Some("1f:e2".to_owned())).unwrap();
    refused(
        &lab,
        &["101", "--force"],
        &["it is encrypted: `pvesm set pbs --encryption-key FILE` gives the node its key", ARCHIVE_VM],
    );
}

/// A volume id carries UTC; a day is a day of the node's clock.
#[test]
fn a_day_is_one_of_the_nodes_clock() {
    let lab = LabBuilder::new()
        .backups(&[])
        .backup_server("pbs", &["2026-01-29T23:30:00Z", NEWEST])
        .start()
        .unwrap();
    lab.change_settings(|settings| settings.hours_ahead = 2).unwrap();
    let chosen = |day: &str| {
        let report = restore_vm(&lab, &["101", "--date", day, "--dry-run", "--json"]).exits(0).report();
        (report["subject"]["archive"].clone(), report["subject"]["archive_time"].clone())
    };
    assert_eq!(chosen("2026-01-30"), (OLDER_VM.into(), "2026-01-30 01:30:00".into()));
    let nearest = "the nearest before is none, the nearest after 2026-01-30 01:30:00";
    refused(&lab, &["101", "--date", "2026-01-29", "--force"], &[nearest]);
}

#[test]
fn where_only_a_server_takes_backups_a_safety_backup_is_refused() {
    let lab = lab(9);
    let storages = lab.read("/etc/pve/storage.cfg").unwrap().replace("iso,vztmpl,backup", "iso,vztmpl");
    lab.write("/etc/pve/storage.cfg", &storages).unwrap();
    refused(&lab, &["101", "--force"], &["takes a safety backup", "`--safety none` does without one"]);
    let _ = restore_vm(&lab, &["101", "--safety", "none", "--force"]).exits(0);
}

#[rstest::rstest]
fn a_live_restore_starts_the_vm_itself(#[values(8, 9)] pve: u8) {
    let lab = lab(pve);
    verified(&lab, NEWEST_VM, "ok");
    let before = Guest::of(&lab, VM);
    lab.break_disk(VM).unwrap();
    let ran = restore_vm(&lab, &["101", "--live-restore", "--dry-run"]).exits(0);
    let _ = ran.says("the guest runs while its data still comes").says("what it wrote until then is lost");
    let report = restore_vm(&lab, &["101", "--live-restore", "--force", "--json"]).exits(0).report();
    assert_eq!(Guest::of(&lab, VM), before, "{report:#}");
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["id"] != "start"), "{report:#}");
    assert_eq!(restores(&lab), [format!("qmrestore {NEWEST_VM} 101 --live-restore 1 --force 1")]);
}

#[rstest::rstest]
#[case::a_chunk_is_lost(None)]
#[case::the_node_kills_it(Some(Fault::KilledAfter(1 << 20)))]
fn a_live_restore_that_fails_leaves_the_vm_as_it_was(#[case] fault: Option<Fault>) {
    let lab = lab(9);
    verified(&lab, NEWEST_VM, "ok");
    match fault {
        Some(fault) => lab.fault(&["qmrestore"], Some(1), &fault).unwrap(),
        None => lose(&lab, NEWEST_VM, IMAGE),
    }
    lab.write_to_guest(VM, "work since the last backup").unwrap();
    let before = Guest::of(&lab, VM);
    let report = restore_vm(&lab, &["101", "--live-restore", "--force", "--json"]).exits(2).report();
    assert_eq!(Guest::of(&lab, VM), before, "{report:#}");
    assert_eq!(leftovers(&lab), [""; 0], "{report:#}");
}

#[test]
fn a_live_copy_that_fails_leaves_nothing() {
    let lab = lab(9);
    verified(&lab, NEWEST_VM, "ok");
    lab.fault(&["qmrestore"], Some(1), &Fault::KilledAfter(1 << 20)).unwrap();
    let before = Guest::of(&lab, VM);
    let words = ["101", "--target-id", "901", "--live-restore", "--start", "--force", "--json"];
    let report = restore_vm(&lab, &words).exits(2).report();
    assert!(!lab.path("/etc/pve/qemu-server/901.conf").exists(), "{report:#}");
    assert!(!lab.path("/run/qemu-server/901.pid").exists(), "it runs without a configuration: {report:#}");
    assert_eq!((Guest::of(&lab, VM), leftovers(&lab)), (before, Vec::new()), "{report:#}");
}

#[test]
fn a_live_restore_is_refused_where_it_cannot_be() {
    let lab = lab(9);
    let live = |words: &[&'static str]| [words, &["--live-restore", "--force"][..]].concat();
    refused(&lab, &live(&["101"]), &["the server never verified", "`--check none` does without"]);
    refused(&lab, &live(&["102"]), &["container 102 cannot be restored live: only VMs can"]);
    refused(&lab, &live(&["101", "--archive", ARCHIVE_VM]), &["needs a backup on a Proxmox Backup Server"]);
    verified(&lab, NEWEST_VM, "ok");
    refused(&lab, &live(&["101", "--target-id", "901"]), &["which is to stay stopped", "has its address"]);
    let config = lab.read(VM_CONF).unwrap();
    lab.write(VM_CONF, &format!("{config}scsi1: local-lvm:vm-101-disk-7,backup=0,size=1M\n")).unwrap();
    refused(&lab, &live(&["101"]), &["scsi1 can only be attached again before", "`--discard-excluded`"]);
    lab.write(VM_CONF, &config).unwrap();
    lab.change_snapshot(NEWEST_VM, |about| about.verification = None).unwrap();
    let _ = restore_vm(&lab, &live(&["101", "--check", "none"])).exits(0).says("never verified this backup");
}
