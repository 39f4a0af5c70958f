//! What a real node does to whoever restores on it, and what the operator hears about it.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::{restore_vm, settings};
use restore_lab::{
    lab::{CT, Fault, Lab, LabBuilder, VM},
    sim::clock,
};

const VM_CONF: &str = "/etc/pve/qemu-server/101.conf";
const CT_CONF: &str = "/etc/pve/lxc/102.conf";

/// Adds lines to the settings of a guest.
fn add(lab: &Lab, config: &str, lines: &str) {
    let text = lab.read(config).unwrap();
    lab.write(config, &format!("{text}{lines}")).unwrap();
}

fn change(lab: &Lab, config: &str, from: &str, to: &str) {
    let text = lab.read(config).unwrap();
    assert!(text.contains(from), "no `{from}` in:\n{text}");
    lab.write(config, &text.replace(from, to)).unwrap();
}

fn ok(lab: &Lab, words: &[&str]) {
    let output = lab.on_node(words).unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

fn refused(lab: &Lab, words: &[&str], says: &[&str]) {
    let before = lab.inventory().unwrap();
    let mut ran = restore_vm(lab, words).exits(1).says("nothing was changed");
    for words in says {
        ran = ran.says(words);
    }
    assert_eq!(lab.inventory().unwrap(), before);
}

#[test]
fn snapshots_are_named_and_lost_only_after_a_yes() {
    let lab = Lab::start().unwrap();
    add(
        &lab,
        VM_CONF,
        "\n[before-upgrade]\nmemory: 512\nscsi0: local-lvm:vm-101-disk-0,size=8M\nsnaptime: 1\n",
    );
    let _ = restore_vm(&lab, &["101", "--dry-run"])
        .exits(0)
        .says("snapshots will be lost, also when the restore is taken back: before-upgrade");
    lab.fault(&["qmrestore"], Some(1), &Fault::KilledAfter(1 << 20)).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(2).says("without the snapshots there were");
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

#[test]
fn a_template_with_linked_clones_is_refused_and_one_without_is_restored() {
    let lab = Lab::start().unwrap();
    ok(&lab, &["qm", "stop", "101"]);
    add(&lab, VM_CONF, "template: 1\n");
    let clone = "/etc/pve/qemu-server/105.conf";
    lab.write(clone, "memory: 512\nname: clone\nscsi0: local-lvm:base-101-disk-0/vm-105-disk-0,size=8M\n")
        .unwrap();
    let says = ["VM 101 is a template with linked clones (105)", "`--target-id` restores beside it"];
    refused(&lab, &["101", "--force"], &says);
    std::fs::remove_file(lab.path(clone)).unwrap();
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

#[test]
fn a_linked_clone_is_said_to_become_whole() {
    let lab = Lab::start().unwrap();
    add(&lab, VM_CONF, "scsi3: local-lvm:base-100-disk-0/vm-101-disk-3,size=8M\n");
    let _ = restore_vm(&lab, &["101", "--dry-run"])
        .exits(0)
        .says("is a linked clone: its restored disks are whole");
}

#[test]
fn replication_and_pool_are_kept_and_said() {
    let lab = LabBuilder::new()
        .file("/etc/pve/replication.cfg", "local: 101-0\n\ttarget pve2\n\tschedule */15\n")
        .file("/etc/pve/user.cfg", "user:root@pam:1:0::::::\n\npool:prod::101,102:local:\n")
        .start()
        .unwrap();
    let before = (lab.read("/etc/pve/replication.cfg").unwrap(), lab.read("/etc/pve/user.cfg").unwrap());
    let _ = restore_vm(&lab, &["101", "--dry-run"])
        .exits(0)
        .says("the replication job 101-0 to pve2 begins again from nothing")
        .says("prod, which it stays in");
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
    assert_eq!(
        (lab.read("/etc/pve/replication.cfg").unwrap(), lab.read("/etc/pve/user.cfg").unwrap()),
        before
    );
}

#[test]
fn devices_of_the_node_are_named_unless_the_guest_has_them_already() {
    let lab = LabBuilder::new().backups(&[]).start().unwrap();
    add(&lab, VM_CONF, "hostpci0: 0000:01:00.0,pcie=1\nusb0: host=1234:5678\n");
    ok(&lab, &["vzdump", "101", "--storage", "local", "--compress", "zstd"]);
    let words = "the guest starts only where the node has these devices";
    let ran = restore_vm(&lab, &["101", "--dry-run"]).exits(0);
    assert!(!ran.to_string().contains(words), "{ran}");
    change(&lab, VM_CONF, "hostpci0: 0000:01:00.0,pcie=1\nusb0: host=1234:5678\n", "");
    let _ =
        restore_vm(&lab, &["101", "--dry-run"]).exits(0).says(words).says("hostpci0 (0000:01:00.0,pcie=1)");
}

#[test]
fn a_change_of_privilege_is_said() {
    let lab = Lab::start().unwrap();
    change(&lab, CT_CONF, "unprivileged: 1\n", "");
    let _ = restore_vm(&lab, &["102", "--dry-run"])
        .exits(0)
        .says("the backup is of an unprivileged container, container 102 is a privileged one now");
}

#[test]
fn a_thin_pool_whose_metadata_is_full_is_refused() {
    let lab = Lab::start().unwrap();
    let fill = |percent| {
        lab.change_settings(|settings| {
            settings.storages.entry("local-lvm".into()).or_default().metadata_percent = percent;
        })
        .unwrap();
    };
    fill(95);
    let says =
        ["the metadata of the thin pool `pve/data` behind storage `local-lvm` is 94 % full", "lvextend"];
    refused(&lab, &["101", "--force"], &says);
    fill(50);
    let _ = restore_vm(&lab, &["101", "--force"]).exits(0);
}

#[test]
fn the_storage_of_the_backup_is_disabled() {
    let lab = Lab::start().unwrap();
    ok(&lab, &["pvesm", "set", "local", "--disable", "1"]);
    refused(&lab, &["101", "--force"], &["could not look everywhere: storage `local`: it is disabled"]);
}

const SECOND: &str = "dir: tank\n\tpath /var/lib/data/tank\n\tcontent images,rootdir\n";

fn with_tank() -> LabBuilder {
    LabBuilder::new().storage(SECOND)
}

#[test]
fn a_vms_disks_follow_the_map() {
    let lab = with_tank().start().unwrap();
    let before = lab.disk_sha256(VM_CONF, "scsi0").unwrap();
    let ran = restore_vm(&lab, &["101", "--force", "--storage-map", "local-lvm=tank"]).exits(0);
    assert!(lab.read(VM_CONF).unwrap().contains("scsi0: tank:101/vm-101-disk-"), "{ran}");
    assert_eq!(lab.disk_sha256(VM_CONF, "scsi0").unwrap(), before);
    refused(
        &lab,
        &["101", "--force", "--storage-map", "gone=tank"],
        &["no disk of the backup is on storage `gone`"],
    );
}

/// A container with a mount point on another storage, a bind mount, and a backup of both.
fn spread_container() -> Lab {
    let lab = with_tank().backups(&[]).start().unwrap();
    ok(&lab, &["pct", "stop", "102"]);
    let volume = lab.path("/var/lib/data/tank/images/102/vm-102-disk-1.raw");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("kept.txt"), "data of the mount point").unwrap();
    add(
        &lab,
        CT_CONF,
        "mp0: tank:102/vm-102-disk-1.raw,mp=/srv/data,backup=1,size=1G\nmp1: /mnt/data,mp=/srv/bound\n",
    );
    ok(&lab, &["vzdump", "102", "--storage", "local", "--compress", "zstd"]);
    ok(&lab, &["pct", "start", "102"]);
    lab
}

#[test]
fn a_containers_volumes_follow_the_map_and_its_bind_mounts_stay() {
    let lab = spread_container();
    let before = lab.disk_sha256(CT_CONF, "rootfs").unwrap();
    let ran = restore_vm(&lab, &["102", "--force", "--storage-map", "local-lvm=local-lvm"]).exits(0);
    let config = lab.read(CT_CONF).unwrap();
    for line in ["rootfs: local-lvm:", "mp0: tank:", "mp1: /mnt/data,mp=/srv/bound"] {
        assert!(config.contains(line), "no `{line}` in\n{config}\n{ran}");
    }
    assert_eq!(lab.disk_sha256(CT_CONF, "rootfs").unwrap(), before);
}

#[test]
fn without_a_map_a_containers_volumes_go_together_and_that_is_said() {
    let lab = spread_container();
    let _ = restore_vm(&lab, &["102", "--dry-run"])
        .exits(0)
        .says("lay on several storages; all of them go to `local-lvm`");
}

#[test]
fn a_container_on_several_storages_comes_back_to_them() {
    let lab = spread_container();
    lab.write_to_guest(CT, "work since the last backup").unwrap();
    let of = |key| lab.disk_sha256(CT_CONF, key).unwrap();
    let before = (settings(&lab, CT_CONF).unwrap(), of("rootfs"), of("mp0"));
    lab.fault(&["pct", "restore"], Some(1), &Fault::KilledAfter(1 << 18)).unwrap();
    let ran = restore_vm(&lab, &["102", "--force"]).exits(2);
    assert_eq!((settings(&lab, CT_CONF).unwrap(), of("rootfs"), of("mp0")), before, "{ran}");
}

#[test]
fn a_cloud_init_drive_an_efi_disk_and_a_tpm_come_back() {
    let lab = LabBuilder::new().backups(&[]).start().unwrap();
    ok(&lab, &["qm", "stop", "101"]);
    ok(&lab, &["pvesm", "alloc", "local-lvm", "101", "vm-101-disk-2", "4M"]);
    ok(&lab, &["pvesm", "alloc", "local-lvm", "101", "vm-101-cloudinit", "4M"]);
    add(
        &lab,
        VM_CONF,
        "ide2: local-lvm:vm-101-cloudinit,media=cdrom\ntpmstate0: local-lvm:vm-101-disk-2,size=4M,version=v2.0\n",
    );
    ok(&lab, &["vzdump", "101", "--storage", "local", "--compress", "zstd"]);
    ok(&lab, &["qm", "start", "101"]);
    let of = |key| lab.disk_sha256(VM_CONF, key).unwrap();
    let before = (of("scsi0"), of("efidisk0"), of("tpmstate0"));
    lab.break_disk(VM).unwrap();
    let ran = restore_vm(&lab, &["101", "--force"]).exits(0);
    assert_eq!((of("scsi0"), of("efidisk0"), of("tpmstate0")), before, "{ran}");
    assert!(lab.read(VM_CONF).unwrap().contains("ide2: local-lvm:vm-101-cloudinit,media=cdrom"), "{ran}");
}

/// The only backup of the VM, renamed as if it had begun that many seconds from now.
fn backup_from_ahead(lab: &Lab, seconds: i64) -> String {
    let dump = lab.path("/var/lib/vz/dump");
    let name = format!("vzdump-qemu-101-{}.vma.zst", clock::stamp(clock::now() + seconds));
    std::fs::rename(dump.join("vzdump-qemu-101-2026_01_30-01_00_00.vma.zst"), dump.join(&name)).unwrap();
    name
}

#[test]
fn a_safety_backup_never_gets_the_name_of_the_backup_that_is_restored() {
    let lab = LabBuilder::new().backups(&["2026_01_30-01_00_00"]).start().unwrap();
    let name = backup_from_ahead(&lab, 2);
    let report = restore_vm(&lab, &["101", "--force", "--json"]).exits(0).report();
    let kept = report["kept"].to_string();
    let safety = kept.split('/').find(|part| part.starts_with("vzdump-qemu-101-")).unwrap();
    assert!(*safety > *name, "made in or before the second of {name}: {kept}");
}

#[test]
fn a_backup_that_is_far_ahead_of_the_nodes_clock_is_not_put_at_risk() {
    let lab = LabBuilder::new().backups(&["2026_01_30-01_00_00"]).start().unwrap();
    let _ = backup_from_ahead(&lab, 1800);
    let before = lab.inventory().unwrap();
    let _ = restore_vm(&lab, &["101"]).exits(1).says("nothing was changed").says("ahead of the clock");
    assert_eq!(lab.inventory().unwrap(), before);
    let _ = restore_vm(&lab, &["101", "--dry-run", "--safety", "none"]).exits(0);
}
