//! Guests come back: over both SSH servers, on both versions, from every kind of archive.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{restore_vm, settings, start};
use restore_lab::lab::{CT, Front, Lab, LabBuilder, VM};

const VM_CONF: &str = "/etc/pve/qemu-server/101.conf";
const CT_CONF: &str = "/etc/pve/lxc/102.conf";

fn passed(report: &serde_json::Value) -> Vec<&str> {
    let checks = report["checks"].as_array().unwrap().iter();
    checks.filter(|c| c["status"] == "passed").map(|c| c["id"].as_str().unwrap()).collect()
}

fn restored_vm(lab: &Lab) {
    let hashes = || ["scsi0", "efidisk0"].map(|key| lab.disk_sha256(VM_CONF, key).unwrap());
    let (before, config) = (hashes(), settings(lab, VM_CONF).unwrap());
    lab.break_disk(VM).unwrap();
    assert_ne!(hashes(), before);

    let ran = restore_vm(lab, &["101", "--force", "--json"]).exits(0);
    let report = ran.report();
    assert_eq!((&report["schema"], &report["outcome"]), (&1.into(), &"done".into()));
    assert_eq!(passed(&report), ["configuration", "running", "agent", "ssh", "ping"], "{report:#}");
    assert_eq!(hashes(), before);
    assert_eq!(settings(lab, VM_CONF).unwrap(), config);
    let safety = report["kept"][0]["place"].as_str().unwrap().rsplit('/').next().unwrap();
    assert!(lab.archive(safety).exists(), "{report:#}");
    assert!(lab.archive(&format!("{safety}.protected")).exists(), "{report:#}");
}

fn restored_ct(lab: &Lab) {
    let before = lab.disk_sha256(CT_CONF, "rootfs").unwrap();
    let config = settings(lab, CT_CONF).unwrap();
    lab.break_container(CT).unwrap();
    assert_ne!(lab.disk_sha256(CT_CONF, "rootfs").unwrap(), before);

    let report = restore_vm(lab, &["102", "--force", "--json"]).exits(0).report();
    assert_eq!(passed(&report), ["configuration", "running", "ssh", "ping"], "{report:#}");
    assert_eq!(lab.disk_sha256(CT_CONF, "rootfs").unwrap(), before);
    assert_eq!(settings(lab, CT_CONF).unwrap(), config);
}

#[rstest::rstest]
fn a_broken_vm_comes_back(#[values(8, 9)] pve: u8, #[values(Front::Embedded, Front::OpenSsh)] front: Front) {
    let Some(lab) = start(LabBuilder::new().pve(pve), front) else { return };
    restored_vm(&lab);
}

#[rstest::rstest]
fn a_broken_container_comes_back(
    #[values(8, 9)] pve: u8,
    #[values(Front::Embedded, Front::OpenSsh)] front: Front,
) {
    let Some(lab) = start(LabBuilder::new().pve(pve), front) else { return };
    restored_ct(&lab);
}

#[rstest::rstest]
fn every_compression_restores(#[values("gzip", "lzo", "0")] how: &'static str) {
    let lab = LabBuilder::new().compress(how).start().unwrap();
    restored_vm(&lab);
    restored_ct(&lab);
}

#[test]
fn a_guest_that_is_gone_comes_back_without_a_safety_backup() {
    let lab = Lab::start().unwrap();
    let before = lab.disk_sha256(VM_CONF, "scsi0").unwrap();
    assert!(lab.on_node(&["qm", "stop", "101"]).unwrap().status.success());
    assert!(lab.on_node(&["qm", "destroy", "101"]).unwrap().status.success());
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    assert_eq!(report["kept"].as_array().unwrap().len(), 0, "{report:#}");
    assert_eq!(lab.disk_sha256(VM_CONF, "scsi0").unwrap(), before);
}

#[test]
fn the_backups_are_listed_newest_first() {
    let lab = Lab::start().unwrap();
    let ran = restore_vm(&lab, &["101", "--list"]).exits(0);
    let newest = ran.stdout.find("101-2026_01_30-01_00_04.vma.zst").unwrap();
    assert!(newest < ran.stdout.find("101-2026_01_29-01_00_04.vma.zst").unwrap(), "{ran}");
    let list = restore_vm(&lab, &["102", "--list", "--json"]).exits(0).report();
    assert_eq!(list["backups"][0]["archive"], "local:backup/vzdump-lxc-102-2026_01_30-01_00_04.tar.zst");
    assert_eq!(list["backups"].as_array().unwrap().len(), 2);
}

#[test]
fn a_day_and_an_archive_choose_the_older_backup() {
    let lab = Lab::start().unwrap();
    let older = "local:backup/vzdump-qemu-101-2026_01_29-01_00_04.vma.zst";
    for words in [["101", "--date", "2026-01-29"], ["101", "--archive", older]] {
        let report = restore_vm(&lab, &[&words[..], &["--dry-run", "--json"]].concat()).exits(0).report();
        assert_eq!(report["subject"]["archive"], older);
    }
    let report = restore_vm(&lab, &["101", "--date", "2026-01-29", "--force", "--json"]).exits(0).report();
    assert_eq!(report["subject"]["archive"], older);
}

#[test]
fn a_copy_stands_beside_the_original() {
    let lab = Lab::start().unwrap();
    let original = lab.read(VM_CONF).unwrap();
    let disk = lab.disk_sha256(VM_CONF, "scsi0").unwrap();
    let report = restore_vm(&lab, &["101", "--target-id", "901", "--force", "--json"]).exits(0).report();
    assert_eq!(lab.read(VM_CONF).unwrap(), original, "the original is not touched");
    assert_eq!(lab.disk_sha256("/etc/pve/qemu-server/901.conf", "scsi0").unwrap(), disk);
    let copy = lab.read("/etc/pve/qemu-server/901.conf").unwrap();
    assert!(!copy.contains("BC:24:11:00:00:65"), "the copy has the original's MAC address: {copy}");
    assert!(
        report["next"][0].as_str().unwrap().contains("qm start 901"),
        "its address is in use: {report:#}"
    );
    let status = lab.on_node(&["qm", "status", "901"]).unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout).trim(), "status: stopped");
}

#[test]
fn a_copy_of_a_container_goes_to_the_storage_that_is_named() {
    let lab =
        LabBuilder::new().storage("dir: data\n\tpath /mnt/data\n\tcontent images,rootdir\n").start().unwrap();
    let words = ["102", "--target-id", "902", "--target-storage", "data", "--no-start", "--force"];
    let ran = restore_vm(&lab, &words).exits(0);
    let copy = lab.read("/etc/pve/lxc/902.conf").unwrap();
    assert!(copy.contains("rootfs: data:902/"), "{copy}\n{ran}");
    assert!(!copy.contains("BC:24:11:00:00:66"), "{copy}");
}

#[test]
fn what_the_backup_does_not_contain_is_kept() {
    let lab = Lab::start().unwrap();
    let node = lab.node().unwrap();
    let volume = |volid: &str| lab.path(&node.place(volid).unwrap().path);
    let disk = volume("local-lvm:vm-101-disk-7");
    std::fs::write(&disk, vec![7; 1 << 20]).unwrap();
    let line = "scsi1: local-lvm:vm-101-disk-7,backup=0,size=1M";
    lab.write(VM_CONF, &format!("{}{line}\n", lab.read(VM_CONF).unwrap())).unwrap();
    let folder = volume("local-lvm:vm-102-disk-7");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("precious"), "kept\n").unwrap();
    let mount = "mp0: local-lvm:vm-102-disk-7,mp=/data,size=1G";
    lab.write(CT_CONF, &format!("{}{mount}\n", lab.read(CT_CONF).unwrap())).unwrap();

    let _ = restore_vm(&lab, &["101", "--force"]).exits(0).says("kept");
    let config = lab.read(VM_CONF).unwrap();
    assert_eq!(config.lines().filter(|l| *l == line).count(), 1, "{config}");
    assert!(!config.contains("unused"), "{config}");
    assert_eq!(std::fs::read(&disk).unwrap(), vec![7; 1 << 20]);
    let _ = restore_vm(&lab, &["102", "--force"]).exits(0).says("kept");
    let config = lab.read(CT_CONF).unwrap();
    assert!(config.contains(mount), "{config}");
    assert_eq!(std::fs::read_to_string(folder.join("precious")).unwrap(), "kept\n");
}

#[rstest::rstest]
#[case("101", "qmrestore ")]
#[case("102", "pct restore ")]
fn a_limit_holds_for_the_safety_backup_and_the_restore(#[case] vmid: &str, #[case] restore: &str) {
    let lab = Lab::start().unwrap();
    let report = restore_vm(&lab, &[vmid, "--bwlimit", "50000", "--force", "--json"]).exits(0).report();
    let ran = lab.journal().unwrap();
    let line = |entry: &serde_json::Value| {
        let words = entry["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        words.collect::<Vec<_>>().join(" ")
    };
    let limited = |start: &str| {
        ran.iter().map(line).any(|line| line.starts_with(start) && line.contains(" --bwlimit 50000"))
    };
    assert!(limited("vzdump ") && limited(restore), "{report:#}");
}
