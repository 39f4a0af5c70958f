//! `pct restore`: what it takes with it.

use std::fs;

use restore_lab::sim::node::settings::{Behaviour, Capacity};
use rstest::rstest;

use super::{CT, Homelab, Said, value};

fn force(lab: &Homelab, archive: &str, options: &str) -> Said {
    lab.run(&format!("pct restore {CT} {archive} --force 1 {options}"))
}

/// The folder of the volume that a key of the container's configuration names.
fn volume(lab: &Homelab, key: &str) -> std::path::PathBuf {
    let config = lab.config(CT).unwrap();
    let volid = value(&config, key).unwrap().split(',').next().unwrap();
    lab.node().path(lab.well(&format!("pvesm path {volid}")).trim())
}

#[test]
fn trap_03_a_restore_that_fails_while_unpacking_leaves_nothing() {
    let lab = Homelab::new();
    lab.write("etc/pve/firewall/200.fw", b"[OPTIONS]\nenable: 1\n");
    let archive = lab.backup(CT);
    lab.cut(&archive);
    assert_eq!(force(&lab, &archive, "--storage data").status, 255);
    assert_eq!((lab.config(CT), lab.volumes(CT)), (None, Vec::new()));
    assert!(!lab.path("etc/pve/firewall/200.fw").exists());
}

#[test]
fn trap_03_without_room_for_new_volumes_the_old_ones_are_orphans() {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    let before = lab.volumes(CT);
    lab.settings(|settings| {
        settings.storages.insert("other".into(), Capacity { total: 1, ..Capacity::default() });
    });
    assert_eq!(force(&lab, &archive, "--storage other").status, 255);
    assert_eq!((lab.config(CT), lab.volumes(CT)), (None, before));
}

#[test]
fn trap_04_a_mount_point_that_is_not_in_the_backup_comes_back_empty() {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    assert!(volume(&lab, "mp1").join("file").exists());
    assert_eq!(force(&lab, &archive, "--storage data").status, 0);
    assert!(volume(&lab, "mp0").join("file").exists());
    assert_eq!(fs::read_dir(volume(&lab, "mp1")).unwrap().count(), 0);
    assert_eq!(lab.volumes(CT).len(), 3, "the old one is gone: {:?}", lab.volumes(CT));
}

#[test]
fn trap_05_without_a_storage_the_one_that_refuses_containers_is_used() {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    let said = force(&lab, &archive, "");
    let words = "storage: storage 'local' does not support container directories";
    assert!(said.status == 255 && said.err.contains(words), "{said:?}");
}

#[test]
fn trap_09_a_failed_start_of_a_container_is_not_in_the_exit_status() {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    lab.settings(|settings| {
        settings.guests.insert(CT, Behaviour { start_fails: true, ..Behaviour::default() });
    });
    let said = force(&lab, &archive, "--storage data --start 1");
    assert_eq!(said.status, 0);
    assert!(said.out.contains("startup for container '200' failed"), "{}", said.out);
    assert_eq!(lab.status(CT), "status: stopped\n");
}

#[rstest]
#[case::on_a_removed_storage("mp2: gone:200/vm-200-disk-9.raw,mp=/x,size=8M\n", false)]
#[case::on_a_disabled_storage("mp2: off:200/vm-200-disk-9.raw,mp=/x,size=8M\n", false)]
#[case::unused_on_a_removed_storage("unused0: gone:200/vm-200-disk-9.raw\n", false)]
#[case::a_missing_file("mp2: data:200/vm-200-disk-9.raw,mp=/x,size=8M\n", true)]
fn trap_14_an_old_volume_that_cannot_be_freed_costs_the_container(
    #[case] line: &str,
    #[case] succeeds: bool,
) {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    lab.add_storage("dir: off\n\tpath /srv/off\n\tcontent rootdir\n\tdisable\n");
    lab.configure(CT, line);
    let said = force(&lab, &archive, "--storage data");
    assert_eq!(said.status == 0, succeeds, "{said:?}");
    assert_eq!(lab.config(CT).is_some(), succeeds);
}

#[test]
fn trap_16_a_container_loses_its_snapshots() {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    lab.configure(CT, "parent: before\n\n[before]\nhostname: ct01\nsnaptime: 1769774400\n");
    assert!(lab.well("pct listsnapshot 200").contains("before"));
    assert_eq!(force(&lab, &archive, "--storage data").status, 0);
    assert!(!lab.well("pct listsnapshot 200").contains("before"));
}

#[test]
fn trap_22_a_plain_archive_that_ends_between_two_files_unpacks_without_an_error() {
    let lab = Homelab::new();
    let archive = lab.backup_on("local", CT, "0");
    let bytes = fs::read(lab.archive(&archive)).unwrap();
    fs::write(lab.archive(&archive), &bytes[..member(&bytes, b"root/work")]).unwrap();
    assert_eq!(force(&lab, &archive, "--storage data").status, 0);
    assert!(!volume(&lab, "rootfs").join("root/work").exists());
}

/// Where the member begins whose name ends like this.
fn member(tar: &[u8], name: &[u8]) -> usize {
    let named = |block: &[u8]| {
        let end = block.iter().position(|byte| *byte == 0).unwrap_or(block.len());
        block[..end].ends_with(name)
    };
    512 * tar.chunks(512).position(named).unwrap()
}

#[test]
fn trap_22_ignoring_errors_hides_that_files_are_missing() {
    let lab = Homelab::new();
    let archive = lab.backup(CT);
    lab.cut(&archive);
    assert_eq!(force(&lab, &archive, "--storage data --ignore-unpack-errors 1").status, 0);
    let whole = super::noise(400_000);
    assert!(fs::read(volume(&lab, "rootfs").join("root/work")).is_ok_and(|work| work.len() < whole.len()));
}

#[test]
fn trap_23_a_tgz_is_listed_and_refused_when_the_container_is_gone() {
    let lab = Homelab::new();
    let archive = lab.backup_on("local", CT, "gzip");
    let archive = lab.rename(&archive, ".tar.gz", ".tgz");
    assert!(lab.well("pvesm list local --content backup").contains(&archive));
    let said = force(&lab, &archive, "--storage data");
    assert!(said.err.contains("file does not look like a template archive"), "{said:?}");
    assert_eq!((lab.config(CT), lab.volumes(CT)), (None, Vec::new()));
}
