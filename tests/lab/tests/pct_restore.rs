//! What `pct restore` leaves behind where no recorded scenario says it.

#![allow(clippy::unwrap_used)]

use std::fs;

use restore_lab::sim::node::settings::Capacity;
use restore_lab::sim::{GuestKind, Io, Node, Settings, run};
use rstest::rstest;

const PLAIN: &str = "local:backup/vzdump-lxc-200-2026_01_30-12_05_00.tar";
const CONFIG: &str = "hostname: web\nrootfs: data:200/vm-200-disk-0.raw,size=64M\n\
                      mp0: data:200/vm-200-disk-1.raw,mp=/mnt/data,backup=1,size=32M\n";
const FILES: [(&str, usize, u64); 4] =
    [("./etc/hostname", 4, 0), ("./root/a", 3000, 0), ("./home/b", 40_000, 1000), ("./mnt/data/c", 5000, 33)];

/// A node with an archive of a container, cut after `keep` bytes.
fn node(keep: usize, settings: &Settings) -> (tempfile::TempDir, Node) {
    let root = tempfile::tempdir().unwrap();
    settings.write(root.path()).unwrap();
    let node = Node::open(root.path(), 9).unwrap();
    node.write(
        "/etc/pve/storage.cfg",
        "dir: local\n\tpath /var/lib/vz\n\tcontent backup\n\ndir: data\n\tpath /srv/data\n\tcontent rootdir\n",
    )
    .unwrap();
    fs::create_dir_all(node.path("/srv/data")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "./etc/vzdump/pct.conf", CONFIG.as_bytes(), 0);
    for (name, size, uid) in FILES {
        add(&mut tar, name, &vec![b'x'; size], uid);
    }
    let bytes = tar.into_inner().unwrap();
    let archive = node.path("/var/lib/vz/dump/vzdump-lxc-200-2026_01_30-12_05_00.tar");
    fs::create_dir_all(archive.parent().unwrap()).unwrap();
    fs::write(archive, &bytes[..keep.min(bytes.len())]).unwrap();
    (root, node)
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8], uid: u64) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(uid);
    header.set_gid(uid);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn restore(node: &Node, options: &[&str]) -> (i32, String, String) {
    let words = ["pct", "restore", "200", PLAIN].iter().chain(options);
    let argv: Vec<_> = words.map(ToString::to_string).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut io = Io { stdin: &mut std::io::empty(), stdout: &mut out, stderr: &mut err };
    let exit = run(node, &argv, &mut io);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn volumes(node: &Node) -> usize {
    node.volumes(&node.storage("data").unwrap()).len()
}

#[test]
fn an_archive_that_breaks_off_leaves_nothing() {
    let (_root, node) = node(8000, &Settings::default());
    let (exit, out, err) = restore(&node, &["--storage", "data"]);
    assert_eq!(exit, 255, "{out}");
    assert!(out.contains("tar: Unexpected EOF in archive\n") && !out.contains("Total bytes"), "{out}");
    assert!(err.ends_with("failed: exit code 2\n"), "{err}");
    assert_eq!((volumes(&node), node.find_guest(200)), (0, None));
}

#[test]
fn unpack_errors_that_are_ignored_leave_a_container_with_holes() {
    let (_root, node) = node(8000, &Settings::default());
    let (exit, out, _) = restore(&node, &["--storage", "data", "--ignore-unpack-errors", "1"]);
    assert_eq!(exit, 0, "{out}");
    assert!(!out.contains("Total bytes") && out.contains("merging backed-up"), "{out}");
    let root = node.path("/srv/data/images/200/vm-200-disk-0.raw");
    assert!(root.join("root/a").exists());
    assert!(!node.path("/srv/data/images/200/vm-200-disk-1.raw/c").exists());
}

#[rstest]
#[case(&["--storage", "data"], 1000, 33)]
#[case(&["--storage", "data", "--unprivileged", "1"], 101_000, 100_033)]
fn owners_are_mapped(#[case] options: &[&str], #[case] home: u32, #[case] data: u32) {
    let (_root, node) = node(usize::MAX, &Settings::default());
    let (exit, out, err) = restore(&node, options);
    assert_eq!(exit, 0, "{out}{err}");
    let owner = |volume: &str, path: &str| {
        node.sidecar(&format!("/srv/data/images/200/{volume}")).owners.get(path).copied()
    };
    assert_eq!(owner("vm-200-disk-0.raw", "/home/b"), Some((home, home)));
    assert_eq!(owner("vm-200-disk-1.raw", "/c"), Some((data, data)));
}

#[test]
fn a_full_storage_loses_files_without_a_word() {
    let storages = [("data".to_owned(), Capacity { total: 751_000, ..Capacity::default() })].into();
    let (_root, node) = node(usize::MAX, &Settings { storages, ..Settings::default() });
    let (exit, out, err) = restore(&node, &["--storage", "data"]);
    assert_eq!(exit, 0, "{out}{err}");
    assert!(out.contains("Total bytes read"), "{out}");
    let images = node.path("/srv/data/images/200");
    let found = |path: &str| images.join(path).exists();
    // The innermost mount is written out first and finds room.
    assert!(found("vm-200-disk-1.raw/c"));
    assert!(!found("vm-200-disk-0.raw/root/a"));
}

#[rstest]
#[case(&["--rootfs", "0.0625"], "storage 'local' does not support container directories")]
#[case(&["--rootfs", "gone:1"], "storage 'gone' does not exist")]
#[case(&["--mp0", "data:1,mp=/x", "--storage", "data"], "'rootfs' not set")]
fn where_volumes_go_is_checked_before_anything_is_changed(#[case] options: &[&str], #[case] words: &str) {
    let (_root, node) = node(usize::MAX, &Settings::default());
    let (exit, out, err) = restore(&node, options);
    assert_eq!((exit, out.as_str()), (255, ""));
    assert!(err.contains(words), "{err}");
    assert_eq!(node.find_guest(200), None);
}

#[test]
fn a_killed_restore_leaves_a_locked_number_and_its_volumes() {
    let (_root, node) = node(usize::MAX, &Settings::default());
    node.write("/etc/pve/lxc/200.conf", "hostname: old\n").unwrap();
    node.set_fault(Some(10_000), None);
    let (exit, out, _) = restore(&node, &["--storage", "data", "--force", "1"]);
    assert_ne!(exit, 0, "{out}");
    assert_eq!(volumes(&node), 2);
    assert_eq!(node.config(GuestKind::Ct, 200).unwrap().to_string(), "lock: create\n");
}
