//! `vzdump` on a node of the simulator: what it says, what it writes, what it leaves alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, empty};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use restore_lab::sim::compress::Compression;
use restore_lab::sim::node::settings::Capacity;
use restore_lab::sim::node::{GuestKind, Settings};
use restore_lab::sim::vma::Reader;
use restore_lab::sim::vzdump;
use restore_lab::sim::{Io, Node, Parsed};
use rstest::rstest;

use crate::{noise, run, sha256};

const STORAGES: &str = "\
dir: local
	path /var/lib/vz
	content backup

dir: data
	path /srv/data
	content images,rootdir

dir: nas
	path /mnt/nas
	content backup
	prune-backups keep-last=2

dir: off
	path /mnt/off
	content backup
	disable
";
const VM: &str = "\
#My VM
agent: 1
boot: order=scsi0
efidisk0: data:100/vm-100-disk-1.raw,efitype=4m,size=528K
ide2: none,media=cdrom
memory: 512
name: web01
scsi0: data:100/vm-100-disk-0.raw,size=1M
scsi1: data:100/vm-100-disk-2.raw,backup=0,size=1M
unused0: data:100/vm-100-disk-3.raw

[before]
memory: 512
";
const CT: &str = "\
arch: amd64
hostname: ct01
mp0: data:200/vm-200-disk-1.raw,mp=/mnt/data,backup=1,size=8M
mp1: data:200/vm-200-disk-2.raw,mp=/mnt/other,size=8M
rootfs: data:200/vm-200-disk-0.raw,size=8M
unprivileged: 1
";

/// A node with a VM 100 and a container 200, and what its last command said.
struct Lab {
    root: tempfile::TempDir,
    version: u8,
}

struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Lab {
    fn new(version: u8) -> Self {
        let lab = Self { root: tempfile::tempdir().expect("a directory"), version };
        for folder in ["mnt/nas/dump", "var/lib/vz/dump"] {
            fs::create_dir_all(lab.path(folder)).expect("a folder");
        }
        for (file, content) in [
            ("etc/pve/storage.cfg", STORAGES.as_bytes()),
            ("etc/pve/qemu-server/100.conf", VM.as_bytes()),
            ("etc/pve/firewall/100.fw", b"[OPTIONS]\nenable: 1\n"),
            ("etc/pve/lxc/200.conf", CT.as_bytes()),
            ("etc/pve/nodes/other/qemu-server/300.conf", b"memory: 512\n"),
            ("srv/data/images/100/vm-100-disk-0.raw", &disk()),
            ("srv/data/images/100/vm-100-disk-1.raw", &noise(8, 540_672)),
            ("srv/data/images/200/vm-200-disk-0.raw/etc/hostname", b"ct01\n"),
            ("srv/data/images/200/vm-200-disk-0.raw/tmp/scratch", b"left out"),
            (
                "srv/data/images/200/vm-200-disk-0.raw.sim.json",
                br#"{"size":8388608,"owners":{"/etc/hostname":[7,8]}}"#,
            ),
            ("srv/data/images/200/vm-200-disk-1.raw/file.txt", b"in the mount point\n"),
            ("srv/data/images/200/vm-200-disk-2.raw/other.txt", b"not in the backup\n"),
        ] {
            lab.write(file, content);
        }
        lab
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    fn node(&self) -> Node {
        Node::open(self.root.path(), self.version).expect("a node")
    }

    fn vzdump(&self, options: &[(&str, &str)]) -> Said {
        vzdump_on(&self.node(), options)
    }

    /// The files for backups on a storage, by what follows the time in their names.
    fn shelf(&self, path: &str) -> BTreeMap<String, PathBuf> {
        let entries = fs::read_dir(self.path(path)).expect("a folder");
        let key = |path: &Path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            name.split_once('.').map_or(name.clone(), |(_, end)| end.to_owned())
        };
        entries.map(|entry| entry.expect("an entry").path()).map(|path| (key(&path), path)).collect()
    }

    fn config(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a configuration")
    }
}

fn vzdump_on(node: &Node, options: &[(&str, &str)]) -> Said {
    let params = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let call = Parsed { params: params.collect(), ..Parsed::default() };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut io = Io { stdin: &mut empty(), stdout: &mut stdout, stderr: &mut stderr };
    let status = vzdump::main(node, &call, &mut io);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { status, stdout: text(stdout), stderr: text(stderr) }
}

/// 1 MiB, half of it zero.
fn disk() -> Vec<u8> {
    [noise(7, 1 << 19), vec![0; 1 << 19]].concat()
}

impl Said {
    fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    fn has(&self, line: &str) {
        assert!(self.lines().contains(&line), "`{line}` is missing in\n{}", self.stdout);
    }
}

fn unpacked(path: &Path) -> Vec<u8> {
    let kind = Compression::of(&path.to_string_lossy());
    let mut data = Vec::new();
    let mut reader = kind.reader(fs::File::open(path).expect("an archive"), "x").expect("a decompressor");
    reader.read_to_end(&mut data).expect("a good archive");
    data
}

#[rstest]
fn a_vm_with_disks_becomes_a_vma(
    #[values(8, 9)] version: u8,
    #[values("0", "zstd", "gzip", "lzo")] compress: &str,
) {
    let lab = Lab::new(version);
    let said = lab.vzdump(&[("vmid", "100"), ("storage", "nas"), ("compress", compress)]);
    assert_eq!((said.status, said.stderr.as_str()), (0, ""), "{}", said.stdout);
    for line in [
        "INFO: Starting Backup of VM 100 (qemu)",
        "INFO: status = stopped",
        "INFO: backup mode: stop",
        "INFO: VM Name: web01",
        "INFO: include disk 'scsi0' 'data:100/vm-100-disk-0.raw' 1M",
        "INFO: exclude disk 'scsi1' 'data:100/vm-100-disk-2.raw' (backup=no)",
        "INFO: include disk 'efidisk0' 'data:100/vm-100-disk-1.raw' 528K",
        "INFO: skip unused drive 'data:100/vm-100-disk-3.raw' (not included into backup)",
        "INFO: snapshots found (not included into backup)",
        "INFO: starting kvm to execute backup task",
        "INFO: stopping kvm after backup task",
        "INFO: Backup job finished successfully",
    ] {
        said.has(line);
    }
    assert_eq!(said.stdout.contains("starting backup via QMP command"), version == 9);
    assert!(said.stdout.contains("INFO: 100% (1.5 MiB of 1.5 MiB) in 0s, read: "), "{}", said.stdout);
    let shelf = lab.shelf("mnt/nas/dump");
    let end = match compress {
        "0" => "vma",
        "zstd" => "vma.zst",
        "gzip" => "vma.gz",
        _ => "vma.lzo",
    };
    assert_eq!(shelf.keys().map(String::as_str).collect::<Vec<_>>(), ["log", end]);

    let archive = unpacked(&shelf[end]);
    let header = Reader::open(archive.as_slice()).expect("an archive").header().clone();
    let config = String::from_utf8(header.config("qemu-server.conf").expect("a configuration").to_vec())
        .expect("text");
    assert!(config.starts_with("#My VM\nagent: 1\n"), "{config}");
    let map = "#qmdump#map:scsi0:drive-scsi0:data:raw:\n#qmdump#map:efidisk0:drive-efidisk0:data:raw:\n";
    assert!(config.ends_with(map), "{config}");
    assert_eq!(header.config("qemu-server.fw"), Some(&b"[OPTIONS]\nenable: 1\n"[..]));
    let extracted =
        run(restore_lab::sim::vma::command::main, lab.root.path(), &["extract", "-", "/out"], &archive);
    assert_eq!(extracted.status, 0, "{extracted:?}");
    let scsi0 = fs::read(lab.path("out/disk-drive-scsi0.raw")).expect("extracted");
    assert_eq!(sha256(&scsi0), sha256(&disk()));
    assert_eq!(lab.config("etc/pve/qemu-server/100.conf"), VM, "the lock is gone");

    let log = fs::read_to_string(&shelf["log"]).expect("a log");
    let first = log.lines().next().expect("a line");
    assert!(first.ends_with(" INFO: Starting Backup of VM 100 (qemu)") && first.len() > 50, "{first}");
    assert!(log.contains("Finished Backup of VM 100 (00:00:0"), "{log}");
}

#[test]
fn a_running_vm_is_backed_up_in_the_mode_asked_for() {
    let lab = Lab::new(9);
    let node = lab.node();
    node.power_on(GuestKind::Vm, 100).expect("running");
    let snapshot = lab.vzdump(&[("vmid", "100"), ("storage", "nas")]);
    snapshot.has("INFO: status = running");
    snapshot.has("INFO: backup mode: snapshot");
    snapshot.has("INFO: resuming VM again");
    snapshot.has("INFO: skipping guest filesystem freeze - agent configured but not running?");
    let stop = lab.vzdump(&[("vmid", "100"), ("storage", "local"), ("mode", "stop")]);
    stop.has("INFO: stopping virtual guest");
    stop.has("INFO: resuming VM again after 0 seconds");
    assert!(node.running(GuestKind::Vm, 100).is_some());
}

#[test]
fn a_container_becomes_a_tar_with_its_configuration_first() {
    let lab = Lab::new(9);
    let said = lab.vzdump(&[("vmid", "200"), ("storage", "nas"), ("compress", "zstd")]);
    assert_eq!(said.status, 0, "{}", said.stdout);
    said.has("INFO: CT Name: ct01");
    said.has("INFO: including mount point rootfs ('/') in backup");
    said.has("INFO: including mount point mp0 ('/mnt/data') in backup");
    said.has("INFO: excluding volume mount point mp1 ('/mnt/other') from backup (disabled)");
    let bytes = unpacked(&lab.shelf("mnt/nas/dump")["tar.zst"]);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let members: Vec<(String, u64)> = archive
        .entries()
        .expect("entries")
        .map(|entry| {
            let entry = entry.expect("an entry");
            (
                String::from_utf8_lossy(&entry.path_bytes()).into_owned(),
                entry.header().uid().expect("an owner"),
            )
        })
        .collect();
    let names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "./etc/vzdump/pct.conf",
            "./etc/vzdump/pct.fw",
            "./",
            "./etc/",
            "./etc/hostname",
            "./tmp/",
            "./mnt/data/",
            "./mnt/data/file.txt"
        ]
    );
    assert_eq!(members[4].1, 7, "owners are kept although nobody here is root");
}

#[test]
fn a_running_container_is_suspended_where_volumes_have_no_snapshots() {
    let lab = Lab::new(9);
    lab.node().power_on(GuestKind::Ct, 200).expect("running");
    let said = lab.vzdump(&[("vmid", "200"), ("storage", "nas")]);
    said.has("INFO: mode failure - some volumes do not support snapshots");
    said.has("INFO: trying 'suspend' mode instead");
    said.has("INFO: backup mode: suspend");
    said.has("INFO: resuming guest");
}

#[test]
fn notes_and_protection_are_added_and_protected_backups_survive_pruning() {
    let lab = Lab::new(9);
    for day in ["09", "10", "11"] {
        lab.write(&format!("mnt/nas/dump/vzdump-qemu-100-2026_01_{day}-12_00_00.vma.zst"), b"old");
    }
    lab.write("mnt/nas/dump/vzdump-qemu-100-2026_01_09-12_00_00.vma.zst.protected", b"");
    let base = [("vmid", "100"), ("storage", "nas"), ("compress", "zstd")];
    let refused = lab.vzdump(&[&base[..], &[("remove", "0")]].concat());
    assert_eq!((refused.status, refused.stderr.as_str()), (255, "job errors\n"));
    assert!(
        refused.stdout.contains("failed - There is a max backup limit of 2 enforced"),
        "{}",
        refused.stdout
    );
    let safety = [("remove", "0"), ("protected", "1"), ("notes-template", "{{guestname}} on {{node}}")];
    let safe = lab.vzdump(&[&base[..], &safety].concat());
    assert_eq!(safe.status, 0, "{}", safe.stdout);
    let shelf = lab.shelf("mnt/nas/dump");
    assert_eq!(fs::read_to_string(&shelf["vma.zst.notes"]).expect("notes"), "web01 on pve");
    assert!(shelf.contains_key("vma.zst.protected"));

    // The protected ones do not count: of the others the two newest stay.
    lab.write("mnt/nas/dump/vzdump-qemu-100-2026_01_12-12_00_00.vma.zst", b"old");
    let pruned = lab.vzdump(&[("vmid", "100"), ("storage", "nas"), ("compress", "gzip")]);
    pruned.has("INFO: prune older backups with retention: keep-last=2");
    pruned.has("INFO: removing backup 'nas:backup/vzdump-qemu-100-2026_01_10-12_00_00.vma.zst'");
    pruned.has("INFO: pruned 2 backup(s) not covered by keep-retention policy");
    for (day, exists) in [("09", true), ("10", false), ("11", false), ("12", true)] {
        let path = lab.path(&format!("mnt/nas/dump/vzdump-qemu-100-2026_01_{day}-12_00_00.vma.zst"));
        assert_eq!(path.exists(), exists, "of January {day}");
    }
}

#[rstest]
#[case("100", "INFO: include disk 'scsi0' 'data:100/vm-100-disk-0.raw' 1M")]
#[case("200", "INFO: tar: -: Cannot write: No space left on device")]
fn a_full_storage_leaves_only_the_log(#[case] vmid: &str, #[case] line: &str) {
    let lab = Lab::new(9);
    let settings = Settings {
        storages: [("nas".into(), Capacity { total: 8192, ..Capacity::default() })].into(),
        ..Settings::default()
    };
    settings.write(lab.root.path()).expect("settings");
    let said = lab.vzdump(&[("vmid", vmid), ("storage", "nas")]);
    assert_eq!((said.status, said.stderr.as_str()), (255, "job errors\n"), "{}", said.stdout);
    said.has(line);
    said.has("INFO: Backup job finished with errors");
    assert_eq!(lab.shelf("mnt/nas/dump").keys().collect::<Vec<_>>(), ["log"]);
    assert_eq!(lab.config("etc/pve/qemu-server/100.conf"), VM);
    assert_eq!(lab.config("etc/pve/lxc/200.conf"), CT);
}

#[test]
fn a_killed_job_leaves_everything_lying_about() {
    let lab = Lab::new(9);
    let node = lab.node();
    node.set_fault(Some(100_000), None);
    let said = vzdump_on(&node, &[("vmid", "100"), ("storage", "nas"), ("compress", "zstd")]);
    assert_ne!(said.status, 0);
    assert!(!said.stdout.contains("ERROR"), "{}", said.stdout);
    assert_eq!(lab.shelf("mnt/nas/dump").keys().collect::<Vec<_>>(), ["tmp", "vma.dat"]);
    assert!(lab.config("etc/pve/qemu-server/100.conf").contains("\nlock: backup\n"));
}

#[rstest]
#[case(&[("vmid", "100"), ("storage", "nosuch")], "could not activate storage 'nosuch': storage 'nosuch' does not exist \
    could not get storage information for 'nosuch': storage 'nosuch' does not exist\n")]
#[case(&[("vmid", "100"), ("storage", "off")], "could not activate storage 'off': storage 'off' is disabled\n")]
#[case(&[("vmid", "100"), ("storage", "data")], "could not get storage information for 'data': can't use storage 'data' \
    for backups - wrong content type\n")]
#[case(&[("vmid", "100"), ("dumpdir", "/nonexistent")], "dumpdir '/nonexistent' does not exist\n")]
fn an_unusable_target_is_refused_before_the_first_line(
    #[case] options: &[(&str, &str)],
    #[case] stderr: &str,
) {
    let said = Lab::new(9).vzdump(options);
    assert_eq!((said.status, said.stdout.as_str(), said.stderr.as_str()), (255, "", stderr));
}

#[test]
fn missing_and_locked_guests_fail_alone_and_foreign_ones_are_skipped() {
    let lab = Lab::new(9);
    lab.write("etc/pve/qemu-server/101.conf", b"lock: snapshot\nmemory: 512\n");
    let said = lab.vzdump(&[("vmid", "101,200,300,999"), ("storage", "nas")]);
    assert_eq!((said.status, said.stderr.as_str()), (255, "job errors\n"));
    said.has("INFO: skip external VMs: 300");
    said.has("ERROR: Backup of VM 101 failed - VM is locked (snapshot)");
    said.has("ERROR: Backup of VM 999 failed - unable to find VM '999'");
    assert!(said.stdout.contains("INFO: Finished Backup of VM 200 ("), "{}", said.stdout);
    assert!(lab.config("etc/pve/qemu-server/101.conf").contains("lock: snapshot"), "not our lock");
    let foreign = lab.vzdump(&[("vmid", "300"), ("storage", "nas")]);
    assert_eq!((foreign.status, foreign.stdout.as_str(), foreign.stderr.as_str()), (0, "", ""));
}

#[test]
fn only_one_job_runs_at_a_time() {
    let lab = Lab::new(9);
    let settings = Settings {
        held_locks: vec!["/var/run/vzdump.lock".into()],
        lock_wait_ms: Some(0),
        ..Settings::default()
    };
    settings.write(lab.root.path()).expect("settings");
    let said = lab.vzdump(&[("vmid", "100"), ("storage", "nas")]);
    assert_eq!(said.status, 255);
    said.has("INFO: trying to get global lock - waiting...");
    assert_eq!(said.stderr, "can't acquire lock '/var/run/vzdump.lock' - got timeout\n");
}

#[test]
fn a_configuration_that_is_being_changed_is_waited_for() {
    let lab = Lab::new(9);
    let lock = "/var/lock/qemu-server/lock-100.conf";
    let settings = Settings { held_locks: vec![lock.into()], lock_wait_ms: Some(0), ..Settings::default() };
    settings.write(lab.root.path()).expect("settings");
    let said = lab.vzdump(&[("vmid", "100"), ("storage", "nas")]);
    said.has("INFO: trying to acquire lock...");
    said.has(&format!("ERROR: Backup of VM 100 failed - can't lock file '{lock}' - got timeout"));
}

#[test]
fn a_signal_ends_the_job_and_tidies_up() {
    let lab = Lab::new(9);
    let node = lab.node().interrupted_by(Arc::new(AtomicBool::new(true)));
    let said = vzdump_on(&node, &[("vmid", "100,200"), ("storage", "nas")]);
    assert_eq!((said.status, said.stderr.as_str()), (255, "interrupted by signal\n"));
    said.has("ERROR: Backup of VM 100 failed - interrupted by signal");
    said.has("ERROR: Backup job failed - interrupted by signal");
    assert!(!said.stdout.contains("VM 200"), "{}", said.stdout);
    assert_eq!(lab.shelf("mnt/nas/dump").keys().collect::<Vec<_>>(), ["log"]);
    assert_eq!(lab.config("etc/pve/qemu-server/100.conf"), VM);
}

#[test]
fn a_quiet_job_says_nothing_and_still_works() {
    let lab = Lab::new(9);
    let said = lab.vzdump(&[("vmid", "100,200"), ("storage", "nas"), ("quiet", "1")]);
    assert_eq!((said.status, said.stdout.as_str()), (0, ""));
    assert_eq!(lab.shelf("mnt/nas/dump").len(), 3, "two archives, and logs under one key");
}
