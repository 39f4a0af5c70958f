//! Several guests in one run.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{Ran, Terminal, restore_vm, restore_vm_command};
use restore_lab::lab::{Fault, Lab, LabBuilder};

const TEN: [u32; 10] = [110, 111, 112, 113, 114, 115, 116, 117, 118, 119];

fn lab() -> Lab {
    LabBuilder::new().backups(&["2026_01_30-01_00_04"]).more_vms(&TEN).start().unwrap()
}

fn config(vmid: u32) -> String {
    format!("/etc/pve/qemu-server/{vmid}.conf")
}

fn archive(vmid: u32) -> String {
    format!("vzdump-qemu-{vmid}-2026_01_30-01_00_04.vma.zst")
}

fn disk(lab: &Lab, vmid: u32) -> String {
    lab.disk_sha256(&config(vmid), "scsi0").unwrap()
}

/// The guests are gone, as after the loss of a node.
fn lose(lab: &Lab, vmids: &[u32]) {
    for vmid in vmids {
        let output = lab.on_node(&["qm", "destroy", &vmid.to_string()]).unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

fn words<'a>(numbers: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    numbers.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

fn numbers(vmids: &[u32]) -> Vec<String> {
    vmids.iter().map(u32::to_string).collect()
}

fn outcomes(report: &serde_json::Value) -> Vec<&str> {
    report["guests"].as_array().unwrap().iter().map(|guest| guest["outcome"].as_str().unwrap()).collect()
}

#[test]
fn ten_guests_are_restored_three_at_once_and_a_broken_archive_stops_no_other() {
    let lab = lab();
    let before: Vec<_> = TEN.iter().map(|vmid| disk(&lab, *vmid)).collect();
    lose(&lab, &TEN);
    lab.truncate_archive(&archive(114), 60).unwrap();
    lab.slow_down(&["qmrestore"], 200).unwrap();
    let ten = numbers(&TEN);
    let ran =
        restore_vm(&lab, &words(&ten, &["--parallel", "3", "--yes", "--check", "full", "--json"])).exits(1);
    let report = ran.report();
    assert_eq!(report["exit"], 1);
    let expected: Vec<_> =
        TEN.iter().map(|vmid| if *vmid == 114 { "nothing_changed" } else { "done" }).collect();
    assert_eq!(outcomes(&report), expected, "{report:#}");
    for (vmid, hash) in TEN.iter().zip(&before).filter(|(vmid, _)| **vmid != 114) {
        assert_eq!(disk(&lab, *vmid), *hash, "{vmid}");
    }
    let message = report["guests"][4]["error"]["message"].as_str().unwrap();
    assert!(message.contains("vzdump-qemu-114") && message.contains("is damaged"), "{message}");
    assert_eq!(lab.server().unwrap().connections(), 1);
    let most = most_at_once(&lab);
    assert!((2..=3).contains(&most), "{most} at once");
}

/// How many restores worked on the node at the same time, from its task logs.
fn most_at_once(lab: &Lab) -> usize {
    let spans: Vec<(f64, f64)> = lab
        .journal()
        .unwrap()
        .iter()
        .filter(|entry| entry["argv"][0] == "qmrestore")
        .map(|entry| (entry["begun"].as_f64().unwrap(), entry["time"].as_f64().unwrap()))
        .collect();
    spans.iter().map(|(at, _)| spans.iter().filter(|(from, to)| from <= at && at < to).count()).max().unwrap()
}

#[test]
fn in_order_one_after_the_other_unless_something_else_is_said() {
    let lab = lab();
    lose(&lab, &TEN[..3]);
    let ran = restore_vm(&lab, &["112", "110", "111", "110", "--yes", "--json"]).exits(0);
    let targets: Vec<_> = ran.report()["guests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|guest| guest["subject"]["target_id"].as_u64().unwrap())
        .collect();
    assert_eq!(targets, [112, 110, 111], "each once, in the order that was asked for");
    assert_eq!(most_at_once(&lab), 1);
}

#[test]
fn what_speaks_against_one_keeps_all_from_beginning_and_is_said_in_full() {
    let lab = lab();
    let before = lab.inventory().unwrap();
    let _ = restore_vm(&lab, &["110", "555", "666", "--yes"])
        .exits(1)
        .says("nothing was changed")
        .says("555: there is no backup of guest 555")
        .says("666: there is no backup of guest 666");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn a_failed_guest_is_rolled_back_by_itself_and_ends_the_run_only_when_asked_to() {
    let lab = lab();
    let broken = |lab: &Lab| lab.fault(&["qmrestore"], Some(1), &Fault::KilledAfter(1 << 16)).unwrap();
    broken(&lab);
    let before = disk(&lab, 110);
    let report = restore_vm(&lab, &["110", "111", "--yes", "--json"]).exits(2).report();
    assert_eq!(outcomes(&report), ["rolled_back", "done"], "{report:#}");
    assert_eq!(disk(&lab, 110), before);
    let lab = self::lab();
    broken(&lab);
    let ran = restore_vm(&lab, &["110", "111", "--yes", "--fail-fast"]).exits(2);
    let _ = ran.says("0 of 2 done").says("not begun: `restore-vm 111` restores them");
}

#[test]
fn a_list_a_tag_and_a_pool_name_guests() {
    let lab = LabBuilder::new()
        .backups(&["2026_01_30-01_00_04"])
        .more_vms(&TEN[..3])
        .file("/etc/pve/user.cfg", "user:root@pam:1:0::::::\n\npool:small::110,111:local:\n")
        .start()
        .unwrap();
    lose(&lab, &[112]);
    let list = lab.operator().home().join("guests.txt");
    std::fs::write(&list, "# the small ones\n110\n112 # web\n").unwrap();
    let file = list.display().to_string();
    let said = |ran: Ran, guests: &[&str]| {
        guests.iter().fold(ran.exits(0), |ran, guest| ran.says(guest));
    };
    said(
        restore_vm(&lab, &["--all-from", &file, "--dry-run"]),
        &["Restore 2 guests", "small-110", "small-112"],
    );
    // 112 is gone: its tag is in its backup.
    said(restore_vm(&lab, &["--tag", "small", "--dry-run"]), &["Restore 3 guests", "small-111", "small-112"]);
    said(
        restore_vm(&lab, &["--pool", "small", "--dry-run"]),
        &["Restore 2 guests", "small-110", "small-111"],
    );
    let _ = restore_vm(&lab, &["--tag", "nobody", "--dry-run"]).exits(1).says("no guest has that tag");
    std::fs::write(&list, "110\nweb\n").unwrap();
    let _ = restore_vm(&lab, &["--all-from", &file]).exits(64).says("guests.txt:2: `web` is not a VMID");
    std::fs::write(&list, "# none\n").unwrap();
    let _ = restore_vm(&lab, &["--all-from", &file]).exits(64).says("the list names no guest");
}

#[rstest::rstest]
#[case(&["--archive", "local:backup/x"])]
#[case(&["--target-id", "900"])]
#[case(&["--resume"])]
#[case(&["--rollback"])]
fn what_is_for_one_guest_is_refused_for_several(#[case] more: &[&str]) {
    let lab = Lab::start().unwrap();
    let all = [&["101", "102"], more].concat();
    let _ = restore_vm(&lab, &all).exits(64).says(&format!("`{}` is for one guest at a time", more[0]));
}

#[test]
fn a_dry_run_shows_every_plan_and_changes_nothing() {
    let lab = lab();
    let before = lab.inventory().unwrap();
    let _ = restore_vm(&lab, &["110", "101", "--dry-run"])
        .exits(0)
        .says("Restore 2 guests")
        .says("qmrestore local:backup/vzdump-qemu-110")
        .says("Back VM 101 up as it is now");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn the_question_wants_to_know_how_many_are_overwritten() {
    let lab = lab();
    lose(&lab, &[111]);
    let mut terminal = Terminal::start(restore_vm_command(&lab, &["110", "111"])).unwrap();
    terminal.wait_for("1 guest will be overwritten (110)");
    terminal.enter("110\n").unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 1, "{screen}");
    let mut terminal = Terminal::start(restore_vm_command(&lab, &["110", "111"])).unwrap();
    terminal.wait_for("1 guest will be overwritten (110)");
    terminal.enter("overwrite 1\n").unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("2 of 2 done and proven"), "{screen}");
}

#[test]
fn ctrl_c_rolls_back_what_is_at_work_and_begins_nothing_else() {
    let lab = lab();
    lab.slow_down(&["qmrestore"], 1_500).unwrap();
    let before = disk(&lab, 110);
    let mut terminal = Terminal::start(restore_vm_command(&lab, &["110", "111", "--yes"])).unwrap();
    terminal.wait_for("Restore VM 110 from");
    terminal.interrupt().unwrap();
    let (code, screen) = terminal.finish().unwrap();
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("not begun: `restore-vm 111`"), "{screen}");
    assert_eq!(disk(&lab, 110), before);
}
