//! A dry run shows the very plan of the real run, and changes nothing.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{Ran, restore_vm};
use restore_lab::{
    lab::{Lab, LabBuilder},
    sim::GuestKind,
};

/// Facts, steps and commands as they are shown before the question: up to the line that only one of the runs has.
fn plan(ran: &Ran) -> Vec<&str> {
    let ends = ["This is a dry run", "[1/"];
    let lines = ran.stderr.lines().map(str::trim_end);
    let before = lines.take_while(|line| !ends.iter().any(|end| line.trim_start().starts_with(end)));
    before.filter(|line| !line.is_empty()).collect()
}

fn nothing(_: &Lab) {}

fn vm_is_gone(lab: &Lab) {
    for verb in ["stop", "destroy"] {
        assert!(lab.on_node(&["qm", verb, "101"]).unwrap().status.success());
    }
}

/// A disk that the backups do not contain.
fn excluded_disk(lab: &Lab) {
    let disk = lab.node().unwrap().place("local-lvm:vm-101-disk-7").unwrap().path;
    std::fs::write(lab.path(&disk), vec![7; 1 << 20]).unwrap();
    lab.add_to_config(GuestKind::Vm, 101, "scsi1: local-lvm:vm-101-disk-7,backup=0,size=1M").unwrap();
}

#[rstest::rstest]
#[case::over_a_vm(&["101"], nothing)]
#[case::over_a_container(&["102"], nothing)]
#[case::a_guest_that_is_gone(&["101"], vm_is_gone)]
#[case::a_copy_of_a_vm(&["101", "--target-id", "901"], nothing)]
#[case::a_copy_of_a_container(&["102", "--target-id", "902"], nothing)]
#[case::to_another_storage(&["102", "--target-storage", "data"], nothing)]
#[case::keeping_an_excluded_disk(&["101"], excluded_disk)]
#[case::without_a_safety_backup(&["101", "--safety", "none", "--no-start"], nothing)]
fn a_dry_run_only_reads_and_shows_the_plan_of_the_real_run(
    #[case] words: &[&str],
    #[case] prepare: fn(&Lab),
    #[values(8, 9)] pve: u8,
) {
    let storage = "dir: data\n\tpath /mnt/data\n\tcontent images,rootdir\n";
    let lab = LabBuilder::new().pve(pve).storage(storage).start().unwrap();
    prepare(&lab);
    let before = lab.inventory().unwrap();
    let told = lab.journal().unwrap().len();

    let dry = restore_vm(&lab, &[words, &["--dry-run"]].concat()).exits(0);
    assert_eq!(lab.inventory().unwrap(), before, "{dry}");
    let asked = lab.journal().unwrap().split_off(told);
    assert!(!asked.is_empty(), "the node was asked nothing: {dry}");
    let writes: Vec<_> = asked.iter().filter(|command| command["effect"] != "read").collect();
    assert!(writes.is_empty(), "{writes:?}\n{dry}");

    let real = restore_vm(&lab, &[words, &["--force"]].concat()).exits(0);
    assert!(plan(&dry).iter().any(|line| line.trim_start().starts_with("1. ")), "no plan: {dry}");
    assert_eq!(plan(&dry), plan(&real), "{dry}\n{real}");
    assert_ne!(lab.inventory().unwrap(), before, "the real run did nothing: {real}");
}
