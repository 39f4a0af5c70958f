//! What goes wrong on the way costs the operator nothing.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{Guest, restore_vm};
use restore_lab::lab::{CT, Fault, Lab, LabBuilder, VM};

const NEWEST_VM: &str = "vzdump-qemu-101-2026_01_30-01_00_04.vma.zst";
const NEWEST_CT: &str = "vzdump-lxc-102-2026_01_30-01_00_04.tar.zst";

/// Volumes that no configuration names, or that are attached nowhere; locks; folders of jobs.
fn leftovers(lab: &Lab) -> Vec<String> {
    let node = lab.node().unwrap();
    let configs: String = ["/etc/pve/qemu-server", "/etc/pve/lxc"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(lab.path(folder)).unwrap())
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let volumes = node.storages().into_iter().flat_map(|storage| node.volumes(&storage));
    let orphans = volumes.map(|v| v.volid).filter(|volid| !configs.contains(&format!(": {volid},")));
    let locks =
        configs.lines().filter(|l| l.starts_with("lock:") || l.starts_with("unused")).map(str::to_owned);
    orphans.chain(locks).chain(files_of_runs(lab)).collect()
}

/// What runs left below `/var/tmp`, but for the copies that a report names.
fn files_of_runs(lab: &Lab) -> Vec<String> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(lab.path(folder)).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    let runs = names("/var/tmp/pve-restore");
    let inside = runs.iter().flat_map(|run| {
        let inside = names(run);
        if inside.is_empty() { vec![run.clone()] } else { inside }
    });
    let others = names("/var/tmp").into_iter().filter(|name| !name.ends_with("/pve-restore"));
    inside.chain(others).filter(|name| !name.ends_with("/before")).collect()
}

fn fails() -> Fault {
    Fault::Fails { exit: 255, stderr: "the disk controller caught fire".to_owned() }
}

#[rstest::rstest]
#[case::fails(fails())]
#[case::killed_early(Fault::KilledAfter(1 << 20))]
#[case::full(Fault::FullAfter(1 << 20))]
fn a_vm_restore_that_fails_leaves_the_vm_as_it_was(#[case] fault: Fault, #[values(8, 9)] pve: u8) {
    let lab = LabBuilder::new().pve(pve).start().unwrap();
    lab.write_to_guest(VM, "work since the last backup").unwrap();
    let before = Guest::of(&lab, VM);
    lab.fault(&["qmrestore"], Some(1), &fault).unwrap();
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(2).report();
    assert_eq!(Guest::of(&lab, VM), before, "{report:#}");
    assert_eq!(report["state"], "rolled back: everything is as it was before");
    assert_eq!(leftovers(&lab), [""; 0], "{report:#}");
}

#[rstest::rstest]
#[case::fails(fails())]
#[case::killed_early(Fault::KilledAfter(1 << 18))]
#[case::full(Fault::FullAfter(1 << 18))]
fn a_container_restore_that_fails_leaves_the_container_as_it_was(
    #[case] fault: Fault,
    #[values(8, 9)] pve: u8,
) {
    let lab = LabBuilder::new().pve(pve).start().unwrap();
    lab.write_to_guest(CT, "work since the last backup").unwrap();
    let before = Guest::of(&lab, CT);
    lab.fault(&["pct", "restore"], Some(1), &fault).unwrap();
    let report = restore_vm(&lab, &["102", "--force", "--json"]).exits(2).report();
    assert_eq!(Guest::of(&lab, CT), before, "{report:#}");
    assert_eq!(leftovers(&lab), [""; 0], "{report:#}");
}

#[rstest::rstest]
#[case::safety_backup(&["vzdump"])]
#[case::reading_the_archive(&["vma", "verify"])]
fn a_failure_before_anything_is_changed_exits_1(#[case] words: &[&str]) {
    let lab = Lab::start().unwrap();
    let before = Guest::of(&lab, VM);
    lab.fault(words, None, &fails()).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(1).says("nothing was changed");
    assert_eq!(Guest::of(&lab, VM), before);
}

#[test]
fn a_guest_that_does_not_stop_is_left_running() {
    let lab = Lab::start().unwrap();
    let before = Guest::of(&lab, VM);
    lab.fault(&["qm", "shutdown"], None, &fails()).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(2).says("the disk controller caught fire");
    assert_eq!(Guest::of(&lab, VM), before);
}

#[rstest::rstest]
#[case::truncated(|lab: &Lab, file: &str| lab.truncate_archive(file, 60))]
#[case::flipped(|lab: &Lab, file: &str| lab.flip_bit(file))]
fn a_corrupt_archive_is_found_before_anything_is_destroyed(
    #[case] damage: fn(&Lab, &str) -> std::io::Result<()>,
    #[values((VM, NEWEST_VM), (CT, NEWEST_CT))] of: (u32, &str),
) {
    let (vmid, newest) = of;
    let lab = Lab::start().unwrap();
    damage(&lab, newest).unwrap();
    let before = lab.inventory().unwrap();
    let older = newest.replace("01_30", "01_29");
    let _ = restore_vm(&lab, &[&vmid.to_string(), "--force"])
        .exits(1)
        .says("damaged")
        .says(&format!("restore-vm {vmid} --archive local:backup/{older}"));
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn when_every_backup_is_corrupt_that_is_said() {
    let lab = Lab::start().unwrap();
    lab.truncate_archive(NEWEST_VM, 60).unwrap();
    lab.truncate_archive(&NEWEST_VM.replace("01_30", "01_29"), 60).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"])
        .exits(1)
        .says("the only older backup of this guest is damaged as well");
}

#[test]
fn an_archive_whose_header_is_damaged_is_refused_and_an_intact_one_named() {
    let lab = Lab::start().unwrap();
    std::fs::write(lab.archive(NEWEST_VM), vec![0x55; 50_000]).unwrap();
    let before = lab.inventory().unwrap();
    let _ = restore_vm(&lab, &["101", "--force"])
        .exits(1)
        .says("cannot be read")
        .says("restore-vm 101 --archive local:backup/vzdump-qemu-101-2026_01_29-01_00_04.vma.zst");
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn a_guest_that_does_not_come_up_is_kept_and_the_way_back_is_told() {
    let lab = Lab::start().unwrap();
    lab.change_settings(|settings| settings.guests.entry(VM).or_default().never_boots = true).unwrap();
    let ran = restore_vm(&lab, &["101", "--force", "--json", "--wait", "1"]).exits(4);
    let report = ran.report();
    let back = report["kept"][0]["go_back"].as_str().unwrap();
    assert!(back.starts_with("restore-vm 101 --archive local:backup/vzdump-qemu-101-"), "{report:#}");
    assert!(report["state"].as_str().unwrap().contains("kept"), "{report:#}");
}

#[test]
fn a_guest_that_does_not_start_is_kept_and_the_way_back_is_told() {
    let lab = Lab::start().unwrap();
    lab.change_settings(|settings| settings.guests.entry(VM).or_default().start_fails = true).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(4).says("restore-vm 101 --archive local:backup/");
}

#[test]
fn a_failed_copy_leaves_nothing() {
    let lab = Lab::start().unwrap();
    lab.fault(&["qmrestore"], Some(1), &Fault::KilledAfter(1 << 20)).unwrap();
    let ran = restore_vm(&lab, &["101", "--target-id", "901", "--force"]).exits(2);
    assert_eq!(leftovers(&lab), [""; 0], "{ran}");
}

#[test]
fn without_a_safety_backup_a_failure_is_said_to_need_the_operator() {
    let lab = Lab::start().unwrap();
    lab.fault(&["qmrestore"], Some(1), &Fault::FullAfter(1 << 20)).unwrap();
    let _ = restore_vm(&lab, &["101", "--safety", "none", "--force"])
        .exits(3)
        .says("no safety backup was wanted");
}

#[test]
fn a_safety_backup_is_only_taken_by_name() {
    let lab = Lab::start().unwrap();
    let first = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    let again = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    assert_eq!(again["subject"]["archive"], first["subject"]["archive"]);
    let safety = first["kept"][0]["place"].as_str().unwrap();
    let named = restore_vm(&lab, &["101", "--archive", safety, "--force", "--json"]).exits(0).report();
    assert_eq!(named["subject"]["archive"], safety);
    for day in ["29", "30"] {
        std::fs::remove_file(lab.archive(&NEWEST_VM.replace("30-", &format!("{day}-")))).unwrap();
    }
    let _ = restore_vm(&lab, &["101", "--force"])
        .exits(1)
        .says("every backup of guest 101 is a safety backup")
        .says("restore-vm 101 --archive local:backup/vzdump-qemu-101-");
}

/// A disk and a firewall file of a guest that had the number once are nobody's by its configuration, and may be all that
/// is left of it.
#[rstest::rstest]
#[case::vm("101", "901", "/etc/pve/qemu-server/901.conf", &["qmrestore"])]
#[case::container("102", "902", "/etc/pve/lxc/902.conf", &["pct", "restore"])]
fn a_failed_copy_takes_nothing_that_an_earlier_guest_of_its_number_left(
    #[case] vmid: &str,
    #[case] target: &str,
    #[case] config: &str,
    #[case] program: &[&str],
    #[values(Fault::KilledAfter(1 << 16), Fault::FullAfter(1 << 16))] fault: Fault,
) {
    let lab = Lab::start().unwrap();
    let old = lab.path(&lab.node().unwrap().place(&format!("local-lvm:vm-{target}-disk-7")).unwrap().path);
    if vmid == "101" {
        std::fs::write(&old, vec![7; 1 << 20]).unwrap();
    } else {
        std::fs::create_dir_all(&old).unwrap();
        std::fs::write(old.join("precious"), "kept\n").unwrap();
    }
    lab.write(&format!("/etc/pve/firewall/{target}.fw"), "[OPTIONS]\nenable: 1\n").unwrap();
    let before = lab.inventory().unwrap();
    lab.fault(program, Some(1), &fault).unwrap();
    let _ = restore_vm(&lab, &[vmid, "--target-id", target, "--force"]).exits(2);
    assert!(!lab.path(config).exists());
    assert_eq!(lab.inventory().unwrap(), before);
    let _ = restore_vm(&lab, &[vmid, "--target-id", target, "--force"]).exits(0);
    assert!(old.exists());
}
