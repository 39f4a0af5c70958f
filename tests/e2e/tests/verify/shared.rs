//! Nodes of one cluster, which share a storage.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use restore_e2e::{join, verify_backups};
use restore_lab::lab::{Lab, LabBuilder, NODE};
use serde_json::Value;

use super::deep::{cut, is_good, of_archive, size, unpackings};

const OTHER: &str = "pve-second";
const NAS: &str = "dir: nas\n\tpath /mnt/data/nas\n\tcontent backup\n\tshared 1\n";
const FOLDER: &str = "/mnt/data/nas/dump";

/// Two nodes, which know nothing of each other: 101 and 102 on the first, 300 on the second, backups of all of them in one
/// folder.
fn strangers() -> (Lab, Lab) {
    let node = || LabBuilder::new().small().backups(&[]).storage(NAS);
    let lab = node().start().unwrap();
    let other = node().node(OTHER).more_vms(&[300]).start().unwrap();
    for config in ["qemu-server/101.conf", "lxc/102.conf"] {
        fs::remove_file(other.path("/etc/pve").join(config)).unwrap();
    }
    fs::create_dir_all(lab.path("/mnt/data/nas")).unwrap();
    std::os::unix::fs::symlink(lab.path("/mnt/data/nas"), other.path("/mnt/data/nas")).unwrap();
    for (node, vmids) in [(&lab, ["101", "102"].as_slice()), (&other, &["300"])] {
        let words: Vec<&str> =
            ["vzdump", "--compress", "zstd", "--storage", "nas"].iter().chain(vmids).copied().collect();
        let output = node.on_node(&words).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    join(&lab, &other, "lab").unwrap();
    (lab, other)
}

/// The same as the two nodes of a cluster.
fn cluster() -> (Lab, Lab) {
    let (lab, other) = strangers();
    for (node, neighbour) in [(&lab, OTHER), (&other, NODE)] {
        fs::create_dir_all(node.path("/etc/pve/nodes").join(neighbour).join("qemu-server")).unwrap();
    }
    (lab, other)
}

fn deep(lab: &Lab, more: &[&str]) -> Value {
    let words: Vec<&str> =
        ["--deep", "--no-state", "--json", "--max-age", "90000d"].iter().chain(more).copied().collect();
    verify_backups(lab, &words).report()
}

/// The guests of each node in a report, with how many backups it has of them.
fn stock(report: &Value) -> Vec<Vec<(u64, usize)>> {
    let guest =
        |guest: &Value| (guest["vmid"].as_u64().unwrap(), guest["archives"].as_array().unwrap().len());
    let node = |node: &Value| node["guests"].as_array().unwrap().iter().map(guest).collect();
    report["nodes"].as_array().unwrap().iter().map(node).collect()
}

fn archive(lab: &Lab, guest: &str) -> String {
    let names =
        fs::read_dir(lab.path(FOLDER)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let is_it =
        |name: &String| name.contains(guest) && (name.ends_with(".vma.zst") || name.ends_with(".tar.zst"));
    names.into_iter().find(is_it).unwrap()
}

/// How often an archive was read, on both nodes.
fn readings(nodes: [&Lab; 2]) -> usize {
    nodes.into_iter().map(unpackings).sum()
}

#[test]
fn what_the_nodes_of_a_cluster_share_is_told_and_read_once() {
    let (lab, other) = cluster();
    let report = deep(&lab, &[]);
    // Without the shared one, each node would have all three guests.
    let mut stock = stock(&report);
    stock.sort();
    assert_eq!(stock, [vec![(101, 1), (102, 1)], vec![(300, 1)]], "{report:#}");
    assert_eq!(report["totals"]["archives"], 3);
    assert_eq!(readings([&lab, &other]), 3);
    for (guest, node) in [("qemu-101", OTHER), ("lxc-102", OTHER), ("qemu-300", NODE)] {
        let file = archive(&lab, guest);
        assert!(is_good(&report, &file), "{report:#}");
        let also = of_archive(&report, &file)["also_on"].as_array().unwrap();
        assert_eq!(also.len(), 1);
        assert!(also[0].as_str().unwrap().starts_with(node), "{also:?}");
    }
}

#[test]
fn the_same_storage_of_nodes_that_are_no_cluster_is_told_by_each() {
    let (lab, other) = strangers();
    let report = deep(&lab, &[]);
    assert_eq!(report["totals"]["archives"], 6);
    assert_eq!(readings([&lab, &other]), 6);
}

#[test]
fn what_is_wrong_on_a_shared_storage_is_told_once() {
    let (lab, _other) = cluster();
    let folder = lab.path(FOLDER);
    cut(&folder.join(archive(&lab, "qemu-300")), 0);
    fs::write(folder.join("vzdump-qemu-101-2026_01_30-01_00_04.vma.dat"), "half").unwrap();
    let report = deep(&lab, &[]);
    let text = report.to_string();
    for code in ["archive-empty", "backup-unfinished"] {
        assert_eq!(text.matches(&format!("\"code\":\"{code}\"")).count(), 1, "{report:#}");
    }
}

#[test]
fn the_node_that_answers_tells_about_all_of_it() {
    let (lab, other) = cluster();
    drop(other);
    // The folder is the first node's own in this lab.
    let report = deep(&lab, &[]);
    assert_eq!(report["totals"]["nodes_not_reached"], 1);
    assert!(is_good(&report, &archive(&lab, "qemu-300")), "{report:#}");
}

#[test]
fn a_guest_that_has_moved_is_not_without_backups() {
    let (lab, other) = cluster();
    let output = lab.on_node(&["vzdump", "101", "--compress", "zstd", "--storage", "local"]).unwrap();
    assert!(output.status.success());
    let on_nas = archive(&lab, "qemu-101");
    for file in [on_nas.replace(".vma.zst", ".log"), on_nas] {
        fs::remove_file(lab.path(FOLDER).join(file)).unwrap();
    }
    move_vm(&lab, &other);
    let look = |more: &[&str]| verify_backups(&lab, &[&["--no-state", "-v"], more].concat());
    let ran =
        look(&["--max-age", "90000d"]).says("101: guest-backup-elsewhere: local:backup/vzdump-qemu-101");
    assert!(!ran.stdout.contains("guest-no-backup"), "{ran}");
    let begun = Instant::now();
    while !look(&["--max-age", "1s"]).stdout.contains("101: backup-stale") {
        assert!(begun.elapsed() < Duration::from_secs(60), "its age is judged there");
    }
}

/// What another node of the cluster writes there this one does not know.
#[test]
fn what_another_node_may_be_writing_is_not_accused() {
    let (lab, other) = cluster();
    drop(other);
    let half = lab.path(FOLDER).join("vzdump-qemu-300-2026_01_30-01_00_04.vma.dat");
    fs::write(&half, "half").unwrap();
    let look = || verify_backups(&lab, &["--no-state", "--max-age", "90000d"]);
    assert!(!look().stdout.contains("backup-unfinished"));
    let yesterday = SystemTime::now() - Duration::from_hours(25);
    fs::File::options().write(true).open(&half).unwrap().set_modified(yesterday).unwrap();
    let _ = look().says("backup-unfinished");
}

/// Makes 101 a guest of the other node.
fn move_vm(lab: &Lab, other: &Lab) {
    let config = |node: &Lab| node.path("/etc/pve/qemu-server/101.conf");
    fs::copy(config(lab), config(other)).unwrap();
    fs::remove_file(config(lab)).unwrap();
}

#[test]
fn a_guest_that_moves_takes_its_record_along() {
    let (lab, other) = cluster();
    let _ = deep(&lab, &[]);
    move_vm(&lab, &other);
    let report = deep(&lab, &["--skip-verified", "30"]);
    assert_eq!(readings([&lab, &other]), 3, "nothing was read again");
    // Changed since, although another node had read it.
    let file = lab.path(FOLDER).join(archive(&lab, "qemu-101"));
    assert_eq!(of_archive(&report, &archive(&lab, "qemu-101"))["verified"]["now"], false);
    cut(&file, size(&file) - 1);
    let text = verify_backups(&lab, &["--no-state", "--max-age", "90000d"]).exits(2);
    let _ = text.says("archive-changed");
}
