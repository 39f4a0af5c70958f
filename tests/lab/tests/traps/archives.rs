//! What a listing does not tell about an archive, and what a new backup does to the old ones.

use std::fs;

use restore_lab::sim::node::settings::Capacity;
use serde_json::Value;

use super::{CT, Homelab, VM};

/// What `pvesh` lists on a storage.
fn content(lab: &Homelab, storage: &str, options: &str) -> Vec<Value> {
    let path = format!("/nodes/pve/storage/{storage}/content");
    let out = lab.well(&format!("pvesh get {path} --content backup {options} --output-format json"));
    serde_json::from_str(&out).unwrap()
}

#[test]
fn trap_24_the_time_in_a_name_is_no_time_to_go_by() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    let before = content(&lab, "local", "")[0]["ctime"].as_i64().unwrap();
    let time = archive.split_once("-100-").unwrap().1.split('.').next().unwrap();
    lab.rename(&archive, time, "2001_01_01-00_00_00");
    // The name is all there is: nothing else remembers when the backup was made.
    let after = content(&lab, "local", "")[0]["ctime"].as_i64().unwrap();
    assert!(before - after > 20 * 365 * 24 * 3600, "{before} {after}");
}

#[test]
fn trap_25_the_filter_by_number_matches_any_number_in_a_name() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    lab.rename(&archive, "vzdump-qemu-100-", "vzdump-qemu-777-100-");
    lab.backup(CT);
    let listed = content(&lab, "local", "--vmid 100");
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["vmid"], 100, "it belongs to 777, and is reported as the number asked for");
}

#[test]
fn trap_26_an_empty_file_is_listed_as_a_backup() {
    let lab = Homelab::new();
    let archive = lab.backup(VM);
    fs::write(lab.archive(&archive), "").unwrap();
    let listed = content(&lab, "local", "");
    assert_eq!((listed[0]["volid"].as_str(), listed[0]["size"].as_u64()), (Some(archive.as_str()), Some(0)));
}

#[test]
fn trap_27_a_path_is_told_for_a_file_that_does_not_exist() {
    let lab = Homelab::new();
    let path = lab.well("pvesm path local:backup/vzdump-qemu-100-2026_01_30-01_00_00.vma.zst");
    assert_eq!(path, "/var/lib/vz/dump/vzdump-qemu-100-2026_01_30-01_00_00.vma.zst\n");
    assert!(!lab.path(path.trim().trim_start_matches('/')).exists());
}

#[test]
fn trap_28_a_new_backup_deletes_the_one_to_be_restored() {
    let lab = Homelab::new();
    fs::create_dir_all(lab.path("mnt/pve/nas/dump")).unwrap();
    let old = lab.backup_on("nas", VM, "zstd");
    let old = {
        let time = old.split_once("-100-").unwrap().1.split('.').next().unwrap().to_owned();
        let named = old.replace(&time, "2026_01_30-01_00_00");
        let file = |volid: &str| lab.path("mnt/pve/nas/dump").join(volid.trim_start_matches("nas:backup/"));
        fs::rename(file(&old), file(&named)).unwrap();
        named
    };
    let listed =
        || content(&lab, "nas", "").iter().map(|item| item["volid"].as_str() == Some(&old)).collect();
    assert_eq!(listed(), [true]);
    lab.backup_on("nas", VM, "zstd");
    let left: Vec<bool> = listed();
    assert_eq!(left, [false]);
}

#[test]
fn trap_29_a_guest_of_another_node_is_not_backed_up_and_that_is_no_error() {
    let lab = Homelab::new();
    lab.write("etc/pve/nodes/other/qemu-server/300.conf", b"memory: 512\n");
    let said = lab.run("vzdump 300 --storage local --mode stop --compress zstd");
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (0, "", ""));
    assert!(content(&lab, "local", "").is_empty());
}

#[test]
fn trap_30_a_running_job_is_waited_for() {
    let lab = Homelab::new();
    lab.settings(|settings| settings.held_locks = vec!["/var/run/vzdump.lock".into()]);
    let said = lab.run("vzdump 100 --storage local --mode stop");
    assert_ne!(said.status, 0);
    let words = "trying to get global lock - waiting...";
    assert!(said.out.contains(words) || said.err.contains(words), "{said:?}");
    assert!(!said.out.contains("Starting Backup"), "{said:?}");
}

#[test]
fn trap_38_an_archive_need_not_be_below_var_lib_vz() {
    let lab = Homelab::new();
    fs::create_dir_all(lab.path("mnt/pve/nas/dump")).unwrap();
    lab.settings(|settings| {
        settings.storages.insert("nas".into(), Capacity::default());
    });
    let archive = lab.backup_on("nas", VM, "zstd");
    let path = lab.well(&format!("pvesm path {archive}"));
    assert!(path.starts_with("/mnt/pve/nas/dump/vzdump-qemu-100-"), "{path}");
}
