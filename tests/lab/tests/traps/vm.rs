//! `qmrestore`: what it costs, and what it does not tell.

use std::fs;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use restore_lab::sim::Settings;
use restore_lab::sim::node::settings::{Behaviour, Capacity};
use rstest::rstest;

use super::{Homelab, VM, value};

const DESTROYED: &str = "memory: 128\n";
const OLD_DISK: &str = "data:100/vm-100-disk-0.raw";

fn force(lab: &Homelab, archive: &str, options: &str) -> super::Said {
    lab.run(&format!("qmrestore {archive} {VM} --force 1 {options}"))
}

/// Whether the VM is lost: its configuration and the disk that the archive has as well.
fn is_lost(lab: &Homelab) -> bool {
    lab.config(VM).as_deref() == Some(DESTROYED) && !lab.volumes(VM).iter().any(|volid| volid == OLD_DISK)
}

#[test]
fn trap_01_force_destroys_before_it_verifies() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.cut(&archive);
    assert_eq!(force(&lab, &archive, "").status, 255);
    assert!(is_lost(&lab), "{:?} {:?}", lab.config(VM), lab.volumes(VM));
}

#[test]
fn trap_01_verification_does_not_see_changed_data() {
    let lab = Homelab::new();
    let archive = lab.backup_on("local", VM, "0");
    let file = lab.archive(&archive);
    let mut bytes = fs::read(&file).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&file, bytes).unwrap();
    let name = archive.trim_start_matches("local:backup/");
    lab.well(&format!("vma verify /var/lib/vz/dump/{name}"));
    let before = fs::read(lab.path("srv/data/images/100/vm-100-disk-0.raw")).unwrap();
    assert_eq!(force(&lab, &archive, "").status, 0);
    let config = lab.config(VM).unwrap();
    let volid = value(&config, "scsi0").unwrap().split(',').next().unwrap();
    let restored = fs::read(lab.node().path(lab.well(&format!("pvesm path {volid}")).trim())).unwrap();
    assert!(restored.len() == before.len() && restored != before);
}

#[test]
fn trap_02_a_destroyed_vm_looks_healthy() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.cut(&archive);
    force(&lab, &archive, "");
    assert_eq!(lab.status(VM), "status: stopped\n");
    let config = lab.well("qm config 100");
    assert!(!config.contains("lock") && !config.contains("scsi0"), "{config}");
}

#[test]
fn trap_07_a_lost_connection_kills_the_restore_after_the_old_vm_is_gone() {
    let lab = Homelab::new();
    // Several extents of the archive: data is read and written in such pieces.
    let disk = super::noise(12 << 20);
    lab.write("srv/data/images/100/vm-100-disk-0.raw", &disk);
    let archive = lab.backup_on("local", VM, "0");
    let mut child = lab.spawn(&format!("qmrestore {archive} {VM} --force 1 --bwlimit 4096"));
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("map ") {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "the restore ended early");
    }
    drop(output);
    assert!(!child.wait().unwrap().success());
    assert_eq!(lab.config(VM).as_deref(), Some(DESTROYED));
    let half = lab.node().path("/srv/data/images/100/vm-100-disk-0.raw");
    assert!(half.is_file(), "the half-written disk stays: {:?}", lab.volumes(VM));
    assert!(fs::read(half).unwrap() != disk, "it is whole");
}

#[test]
fn trap_09_a_failed_start_after_a_restore_is_not_in_the_exit_status() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.settings(|settings| {
        settings.guests.insert(VM, Behaviour { start_fails: true, ..Behaviour::default() });
    });
    let said = force(&lab, &archive, "--start 1");
    assert_eq!(said.status, 0);
    assert!(said.out.contains("start failed: QEMU exited with code 1"), "{}", said.out);
    assert_eq!(lab.status(VM), "status: stopped\n");
}

#[test]
fn trap_10_the_line_of_a_failed_restore_also_comes_when_nothing_was_touched() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.configure(VM, "protection: 1\n");
    let (config, volumes) = (lab.config(VM), lab.volumes(VM));
    let said = force(&lab, &archive, "");
    let line = "error before or during data restore, some or all disks were not completely restored. \
                VM 100 state is NOT cleaned up.\n";
    assert!(said.status == 255 && said.out.contains(line), "{said:?}");
    assert_eq!((lab.config(VM), lab.volumes(VM)), (config, volumes));
}

#[test]
fn trap_11_a_failed_restore_to_a_new_number_leaves_an_empty_vm() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    assert_eq!(lab.run(&format!("qmrestore {archive} 150 --storage local")).status, 255);
    assert_eq!(lab.config(150).as_deref(), Some(""));
    assert_eq!(lab.status(150), "status: stopped\n");
    let again = lab.run(&format!("qmrestore {archive} 150"));
    let refusal = "unable to restore VM 150 - VM 150 already exists on node 'pve'";
    assert!(again.status != 0 && again.err.contains(refusal), "{again:?}");
}

#[test]
fn trap_12_an_unreadable_archive_is_waited_for_without_output() {
    assert_eq!(Settings::default().header_timeout_ms, 60_000);
    let lab = Homelab::new();
    lab.settings(|settings| settings.header_timeout_ms = 300);
    let archive = lab.backup_on("local", VM, "0");
    fs::write(lab.archive(&archive), "").unwrap();
    let begun = Instant::now();
    let said = force(&lab, &archive, "");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(said.err.contains("got timeout reading VMA header - corrupted?"), "{said:?}");
    assert!(!said.out.contains("CFG:") && !said.out.contains("progress"), "{said:?}");
}

#[rstest]
#[case::disabled("off", "storage 'off' is disabled", true)]
#[case::full("full", "vma: restore failed - blk_pwrite to  failed (-28)", true)]
#[case::wrong_content("local", "Content type 'images' is not available on storage 'local'", false)]
fn trap_13_a_target_that_cannot_be_used_is_noticed_too_late(
    #[case] storage: &str,
    #[case] words: &str,
    #[case] costs_the_vm: bool,
) {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.add_storage("dir: off\n\tpath /srv/off\n\tcontent images\n\tdisable\n");
    lab.add_storage("dir: full\n\tpath /srv/full\n\tcontent images\n");
    lab.settings(|settings| {
        settings.storages.insert("full".into(), Capacity { total: 300_000, ..Capacity::default() });
    });
    let config = lab.config(VM);
    let said = force(&lab, &archive, &format!("--storage {storage}"));
    assert!(said.status == 255 && (said.err.clone() + &said.out).contains(words), "{said:?}");
    assert_eq!(is_lost(&lab), costs_the_vm, "{:?}", lab.volumes(VM));
    assert_eq!(lab.config(VM) == config, !costs_the_vm);
}

#[rstest]
#[case::a_disk("virtio0: gone:100/vm-100-disk-9.raw,size=1M\n", false)]
#[case::an_unused_disk("unused1: gone:100/vm-100-disk-9.raw\n", true)]
#[case::on_a_disabled_storage("virtio0: off:100/vm-100-disk-9.raw,size=1M\n", true)]
#[case::a_missing_file("virtio0: data:100/vm-100-disk-9.raw,size=1M\n", true)]
fn trap_14_an_old_disk_on_a_removed_storage_costs_the_vm(#[case] line: &str, #[case] succeeds: bool) {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.add_storage("dir: off\n\tpath /srv/off\n\tcontent images\n\tdisable\n");
    lab.configure(VM, line);
    let said = force(&lab, &archive, "");
    assert_eq!(said.status == 0, succeeds, "{said:?}");
    if !succeeds {
        assert!(said.err.contains("storage 'gone' does not exist"), "{said:?}");
        assert_eq!(lab.config(VM).as_deref(), Some(DESTROYED));
    }
}

#[test]
fn trap_15_a_disk_without_backup_is_not_attached_again() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    assert_eq!(force(&lab, &archive, "").status, 0);
    let config = lab.config(VM).unwrap();
    assert_eq!(value(&config, "scsi1"), None);
    assert!(config.contains("#scsi1%3A data%3A100/vm-100-disk-1.raw,backup=0,size=1M\n"), "{config}");
    let unused = config
        .lines()
        .any(|line| line.starts_with("unused") && line.ends_with(": data:100/vm-100-disk-1.raw"));
    assert!(unused, "{config}");
}

#[test]
fn trap_16_a_vm_loses_its_snapshots() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.configure(VM, "parent: before\n\n[before]\nmemory: 512\nsnaptime: 1769774400\n");
    assert!(lab.well("qm listsnapshot 100").contains("before"));
    assert_eq!(force(&lab, &archive, "").status, 0);
    assert!(!lab.well("qm listsnapshot 100").contains("before"));
}

#[test]
fn trap_31_the_firewall_file_is_overwritten_although_the_restore_fails() {
    let lab = Homelab::new();
    lab.write("etc/pve/firewall/100.fw", b"[OPTIONS]\nenable: 1\n");
    let archive = lab.backup(VM);
    lab.write("etc/pve/firewall/100.fw", b"[RULES]\nIN DROP\n");
    let config = lab.config(VM);
    assert_eq!(force(&lab, &archive, "--storage local").status, 255);
    assert_eq!(lab.config(VM), config);
    let firewall = lab.node().read("/etc/pve/firewall/100.fw").unwrap();
    assert_eq!(firewall, "[OPTIONS]\nenable: 1\n");
}
