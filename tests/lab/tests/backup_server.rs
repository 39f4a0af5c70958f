//! Backups on a Proxmox Backup Server, with the bare commands of the node.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Output, Stdio};

use restore_lab::sim::Node;
use restore_lab::sim::backup_server::{ABOUT, About, ROOT, Verification};

const STORAGES: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent backup\n\n\
                        dir: data\n\tpath /srv/data\n\tcontent images,rootdir\n\n\
                        pbs: pbs\n\tdatastore main\n\tserver 10.0.0.9\n\tcontent backup\n\tusername root@pam\n\n";
const VM: &str = "pbs:backup/vm/100/2026-01-30T23:30:00Z";
const CT: &str = "pbs:backup/ct/200/2026-01-30T12:00:00Z";
const VM_CONFIG: &str = "agent: 1\nboot: order=scsi0\nmemory: 512\nname: web\n\
                         efidisk0: data:100/vm-100-disk-0.raw,size=64K\nscsi0: data:100/vm-100-disk-1.raw,size=1M\n\
                         #qmdump#map:efidisk0:drive-efidisk0:data:raw:\n#qmdump#map:scsi0:drive-scsi0:data:raw:\n";
const CT_CONFIG: &str =
    "arch: amd64\nhostname: dns\nmemory: 128\nrootfs: data:200/vm-200-disk-0.raw,size=1G\n";
/// What is left of the VM by a restore that failed too late.
const WRECK: &str = "memory: 128\n";
const MIB: usize = 1 << 20;

struct Lab {
    root: tempfile::TempDir,
    pve: &'static str,
}

impl Lab {
    /// A node, and a server with a backup of a VM and one of a container. Both guests are there as well.
    fn new(pve: &'static str) -> Self {
        let lab = Self { root: tempfile::tempdir().unwrap(), pve };
        let node = lab.node();
        node.write("/etc/pve/storage.cfg", STORAGES).unwrap();
        let vm = lab.snapshot(VM, &About::default());
        fs::write(vm.join("qemu-server.conf.blob"), VM_CONFIG).unwrap();
        fs::write(vm.join("fw.conf.blob"), "[OPTIONS]\nenable: 1\n").unwrap();
        fs::write(vm.join("drive-efidisk0.img.fidx"), vec![b'e'; 64 << 10]).unwrap();
        let mut system = vec![b's'; MIB];
        system[..8].copy_from_slice(b"LABBOOT1");
        fs::write(vm.join("drive-scsi0.img.fidx"), system).unwrap();
        let ct = lab.snapshot(CT, &About::default());
        fs::write(ct.join("pct.conf.blob"), CT_CONFIG).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in [("./etc/hostname", b"dns\n".to_vec()), ("./srv/zone", vec![b'z'; MIB])] {
            let mut header = tar::Header::new_gnu();
            // The crate would take the leading `./` away.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_slice()).unwrap();
        }
        fs::write(ct.join(ROOT), tar.into_inner().unwrap()).unwrap();
        assert!(lab.run(&["qmrestore", VM, "100"]).status.success());
        assert!(lab.run(&["pct", "restore", "200", CT, "--storage", "data"]).status.success());
        lab
    }

    fn node(&self) -> Node {
        Node::open(self.root.path(), 9).unwrap()
    }

    /// Sets what the server knows of a snapshot; gives the folder with its files.
    fn snapshot(&self, volid: &str, about: &About) -> std::path::PathBuf {
        let folder = self.node().place(volid).unwrap().path.replace("/backup/", "/");
        let folder = self.node().path(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(ABOUT), serde_json::to_string(about).unwrap()).unwrap();
        folder
    }

    /// The server has lost a chunk of a file.
    fn lose(&self, volid: &str, file: &str, at: u64) {
        self.snapshot(volid, &About { missing: [(file.to_owned(), at)].into(), ..About::default() });
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pve-sim"));
        command.arg("--root").arg(self.root.path()).args(["--pve", self.pve, "--"]).args(args);
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// What a command says, which has to succeed.
    #[track_caller]
    fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says on both streams, which has to fail.
    #[track_caller]
    fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{output:?}");
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
    }

    fn listing(&self) -> Vec<serde_json::Value> {
        let path = "/nodes/localhost/storage/pbs/content";
        let words = ["pvesh", "get", path, "--content", "backup", "--output-format", "json"];
        serde_json::from_str(&self.says(&words)).unwrap()
    }

    fn config(&self, path: &str) -> Option<String> {
        self.node().read(path)
    }

    fn vm(&self) -> String {
        self.config("/etc/pve/qemu-server/100.conf").unwrap()
    }

    /// The volumes there are, with their content.
    fn volumes(&self) -> Vec<(String, Vec<u8>)> {
        let node = self.node();
        let volumes = node.volumes(&node.storage("data").unwrap());
        volumes.into_iter().map(|v| (v.volid, fs::read(node.path(&v.path)).unwrap_or_default())).collect()
    }
}

#[rstest::rstest]
fn a_listing_shows_what_the_server_knows(#[values("8", "9")] pve: &'static str) {
    let lab = Lab::new(pve);
    let about = About {
        encrypted: Some("1f:e2".to_owned()),
        verification: Some(Verification::new("ok", 1_769_900_000)),
        protected: true,
        notes: Some("web\nsecond line".to_owned()),
        ..About::default()
    };
    lab.snapshot(VM, &about);
    lab.snapshot(CT, &About { unfinished: true, ..About::default() });
    let [ct, vm] = &lab.listing()[..] else { panic!("not two: {:?}", lab.listing()) };
    assert_eq!((&ct["volid"], &ct["format"], &ct["subtype"]), (&CT.into(), &"pbs-ct".into(), &"lxc".into()));
    assert_eq!((&ct["size"], &ct["vmid"]), (&1.into(), &200.into()), "it is not finished: {ct:#}");
    assert!(
        ct.get("verification").is_none() && ct.get("encrypted").is_none() && ct.get("protected").is_none()
    );
    assert_eq!((&vm["volid"], &vm["format"], &vm["subtype"]), (&VM.into(), &"pbs-vm".into(), &"qemu".into()));
    assert_eq!((&vm["encrypted"], &vm["protected"]), (&"1f:e2".into(), &1.into()));
    assert_eq!((&vm["verification"]["state"], &vm["notes"]), (&"ok".into(), &"web\nsecond line".into()));
    let table = lab.says(&["pvesm", "list", "pbs", "--vmid", "100"]);
    assert!(table.contains(VM) && table.contains("pbs-vm") && !table.contains(CT), "{table}");
}

#[test]
fn trap_24_the_time_of_a_volume_id_is_utc_whatever_the_nodes_clock_shows() {
    let lab = Lab::new("9");
    lab.node().write("/etc/pve-sim.json", r#"{"hours-ahead": 2}"#).unwrap();
    assert_eq!(lab.listing()[1]["ctime"], 1_769_815_800);
}

#[test]
fn trap_38_no_backup_of_it_is_a_file_on_the_node() {
    let lab = Lab::new("9");
    let path = lab.says(&["pvesm", "path", VM]);
    assert_eq!(path.trim(), "pbs://root@pam@10.0.0.9:main/vm/100/2026-01-30T23:30:00Z");
    // A path is given for what does not exist, too; a restore knows.
    let gone = VM.replace("23:30", "11:11");
    assert!(lab.says(&["pvesm", "path", &gone]).contains("11:11"));
    let said = lab.fails(&["qmrestore", &gone, "101"]);
    assert_eq!(said, format!("volume '{gone}' does not exist\n"));
    assert!(lab.says(&["pvesm", "extractconfig", VM]).contains("#qmdump#map:scsi0:drive-scsi0:data:raw:"));
    assert!(lab.says(&["pvesm", "extractconfig", CT]).contains("hostname: dns"));
}

#[rstest::rstest]
fn each_disk_is_restored_with_a_progress_of_its_own(#[values("8", "9")] pve: &'static str) {
    let lab = Lab::new(pve);
    let said = lab.says(&["qmrestore", VM, "100", "--force", "1"]);
    for words in [
        "new volume ID is 'data:100/vm-100-disk-0.raw'\n",
        "restore proxmox backup image: /usr/bin/pbs-restore --repository root@pam@10.0.0.9:main \
         vm/100/2026-01-30T23:30:00Z drive-scsi0.img.fidx /srv/data/images/100/vm-100-disk-1.raw --verbose --format raw",
        "connecting to repository 'root@pam@10.0.0.9:main'\n",
        "starting to restore snapshot 'vm/100/2026-01-30T23:30:00Z'\n",
        "progress 50% (read 524288 bytes, zeroes = 0% (0 bytes), duration 0 sec)\n",
        "restore image complete (bytes=1048576, duration=",
        "rescan volumes...\n",
    ] {
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    }
    assert_eq!(said.matches("progress 100%").count(), 2, "{said}");
    assert_eq!(said.matches("restore image complete").count(), 2, "{said}");
    let config = lab.vm();
    assert!(
        config.contains("scsi0: data:100/vm-100-disk-1.raw,size=1M\n") && !config.contains("lock"),
        "{config}"
    );
    assert_eq!(lab.config("/etc/pve/firewall/100.fw").unwrap(), "[OPTIONS]\nenable: 1\n");
    let volumes = lab.volumes();
    assert!(volumes.iter().any(|(_, data)| data.starts_with(b"LABBOOT1sss") && data.len() == MIB));
}

#[test]
fn a_container_is_restored() {
    let lab = Lab::new("9");
    let said = lab.says(&["pct", "restore", "200", CT, "--force", "1", "--storage", "data"]);
    assert!(said.starts_with(&format!("recovering backed-up configuration from '{CT}'\n")), "{said}");
    assert!(said.contains(&format!("restoring '{CT}' now..\n")), "{said}");
    let config = lab.config("/etc/pve/lxc/200.conf").unwrap();
    assert!(config.contains("rootfs: data:200/vm-200-disk-1.raw,size=1G\n"), "{config}");
    let root = lab.node().path("/srv/data/images/200/vm-200-disk-1.raw");
    assert_eq!(fs::read(root.join("srv/zone")).unwrap(), vec![b'z'; MIB]);
}

/// A backup that is listed may be of no use, and that shows when the guest is gone.
#[rstest::rstest]
fn trap_26_a_listed_backup_that_lacks_a_chunk_costs_the_vm(#[values("8", "9")] pve: &'static str) {
    let lab = Lab::new(pve);
    lab.lose(VM, "drive-scsi0.img.fidx", 512 << 10);
    let said = lab.fails(&["qmrestore", VM, "100", "--force", "1"]);
    assert!(said.contains("progress 50% (read 524288 bytes"), "{said}");
    assert!(said.contains("failed: exit code 255") && said.contains("state is NOT cleaned up"), "{said}");
    assert!(!said.contains("no lock found"), "{said}");
    assert_eq!(lab.vm(), WRECK);
    assert!(!lab.volumes().iter().any(|(volid, _)| volid.contains("/vm-100-")), "its disks are gone");
}

#[test]
fn trap_26_a_listed_backup_that_lacks_a_chunk_costs_the_container() {
    let lab = Lab::new("9");
    lab.lose(CT, ROOT, 512 << 10);
    let said = lab.fails(&["pct", "restore", "200", CT, "--force", "1", "--storage", "data"]);
    assert!(said.contains("failed: exit code 255"), "{said}");
    assert_eq!(lab.config("/etc/pve/lxc/200.conf"), None);
    assert!(!lab.volumes().iter().any(|(volid, _)| volid.contains("/vm-200-")));
}

/// A verification that failed, or none, keeps nobody from trying: nothing of the node looks at it.
#[test]
fn a_failed_verification_keeps_nobody_from_restoring() {
    let lab = Lab::new("9");
    let failed = About { verification: Some(Verification::new("failed", 1_769_900_000)), ..About::default() };
    lab.snapshot(VM, &failed);
    lab.says(&["qmrestore", VM, "100", "--force", "1"]);
}

#[test]
fn without_the_key_nothing_is_destroyed() {
    let lab = Lab::new("9");
    lab.snapshot(VM, &About { encrypted: Some("1f:e2".to_owned()), ..About::default() });
    let before = (lab.vm(), lab.volumes());
    let said = lab.fails(&["qmrestore", VM, "100", "--force", "1"]);
    assert!(said.contains("Could not extract backed up config: Error: missing key"), "{said}");
    assert!(lab.fails(&["pvesm", "extractconfig", VM]).contains("missing key"));
    assert_eq!((lab.vm(), lab.volumes()), before);
    lab.node().write("/etc/pve/priv/storage/pbs.enc", "{}").unwrap();
    let said = lab.says(&["qmrestore", VM, "100", "--force", "1"]);
    assert!(said.contains(" --keyfile /etc/pve/priv/storage/pbs.enc"), "{said}");
}

#[test]
fn a_server_that_does_not_answer_is_an_inactive_storage() {
    let lab = Lab::new("9");
    lab.node().write("/etc/pve-sim.json", r#"{"storages": {"pbs": {"online": false}}}"#).unwrap();
    let said = lab.fails(&["pvesh", "get", "/nodes/localhost/storage/pbs/content"]);
    assert!(said.contains("storage 'pbs' is not online"), "{said}");
    let words = ["pvesh", "get", "/nodes/localhost/storage/pbs/status", "--output-format", "json"];
    let status: serde_json::Value = serde_json::from_str(&lab.says(&words)).unwrap();
    assert_eq!((&status["active"], &status["type"]), (&0.into(), &"pbs".into()));
    let before = lab.vm();
    assert!(lab.fails(&["qmrestore", VM, "100", "--force", "1"]).contains("is not online"));
    assert_eq!(lab.vm(), before);
}

#[test]
fn a_backup_of_the_other_kind_is_refused_in_time() {
    let lab = Lab::new("9");
    let before = (lab.vm(), lab.config("/etc/pve/lxc/200.conf"), lab.volumes());
    lab.fails(&["qmrestore", CT, "100", "--force", "1"]);
    lab.fails(&["pct", "restore", "200", VM, "--force", "1", "--storage", "data"]);
    assert_eq!((lab.vm(), lab.config("/etc/pve/lxc/200.conf"), lab.volumes()), before);
}

#[rstest::rstest]
fn a_live_restore_runs_the_vm_before_its_data_is_there(#[values("8", "9")] pve: &'static str) {
    let lab = Lab::new(pve);
    let said = lab.says(&["qmrestore", VM, "100", "--force", "1", "--live-restore", "1"]);
    assert_eq!(said.matches("restore proxmox backup image").count(), 1, "only the EFI disk: {said}");
    assert_eq!(lab.says(&["qm", "status", "100"]), "status: running\n");
    assert!(!lab.vm().contains("lock"), "{}", lab.vm());
    assert!(lab.volumes().iter().any(|(_, data)| data.starts_with(b"LABBOOT1sss") && data.len() == MIB));
}

/// What is left looks whole, and is not.
#[test]
fn a_live_restore_that_fails_leaves_half_a_disk_under_a_whole_configuration() {
    let lab = Lab::new("9");
    lab.lose(VM, "drive-scsi0.img.fidx", 512 << 10);
    let said = lab.fails(&["qmrestore", VM, "100", "--force", "1", "--live-restore", "1"]);
    assert!(said.ends_with("live-restore failed\n"), "{said}");
    assert_eq!(lab.says(&["qm", "status", "100"]), "status: stopped\n");
    let config = lab.vm();
    assert!(config.contains("name: web\n") && !config.contains("lock"), "{config}");
    let half = lab.volumes().into_iter().find(|(_, data)| data.starts_with(b"LABBOOT1")).unwrap().1;
    assert!(half.ends_with(&[0; 1024]));
}

#[test]
fn a_killed_live_restore_leaves_the_vm_running_and_locked() {
    let lab = Lab::new("9");
    let faults = r#"[{"match": ["qmrestore"], "action": {"kill_after_bytes": 300000}}]"#;
    lab.node().write("/etc/pve-sim-faults.json", faults).unwrap();
    assert_eq!(
        lab.run(&["qmrestore", VM, "100", "--force", "1", "--live-restore", "1"]).status.code(),
        Some(137)
    );
    assert_eq!(lab.says(&["qm", "status", "100"]), "status: running\n");
    assert!(lab.vm().contains("lock: create\n"), "{}", lab.vm());
    assert!(lab.fails(&["qm", "stop", "100"]).contains("VM is locked (create)"));
}

#[test]
fn live_restore_is_for_backup_servers_only() {
    let lab = Lab::new("9");
    lab.says(&["vzdump", "100", "--storage", "local", "--compress", "0"]);
    let listed = lab.says(&["pvesm", "list", "local"]);
    let archive = listed.lines().nth(1).unwrap().split(' ').next().unwrap();
    let before = lab.vm();
    let said = lab.fails(&["qmrestore", archive, "100", "--force", "1", "--live-restore", "1"]);
    assert!(said.contains("live-restore is only compatible with backup images from a Proxmox Backup Server"));
    assert_eq!(lab.vm(), before);
}
