//! Restores that are interrupted, killed or cannot be written, run as real processes.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use restore_lab::sim::journal::Effect;
use restore_lab::sim::vma::{CLUSTER, Config, Device, Header, Writer};
use restore_lab::sim::{GuestKind, Node};

const ARCHIVE: &str = "local:backup/vzdump-qemu-100-2026_01_30-12_00_00.vma";
const STORAGES: &str = "dir: local\n\tpath /var/lib/vz\n\tcontent backup\n\n\
                        dir: data\n\tpath /srv/data\n\tcontent images\n\n\
                        lvmthin: thin\n\tvgname pve\n\tthinpool data\n\tcontent images\n\n";
const CONFIG: &str = "boot: order=scsi0\nmemory: 512\nname: web\nnet0: virtio=BC:24:11:2C:4A:9E,bridge=vmbr0\n\
                      scsi0: data:100/vm-100-disk-0.raw,size=2M\n\
                      smbios1: uuid=1e5f3f5e-6c4b-4bb1-9d3d-1f8f0d1b7a11\n\
                      #qmdump#map:scsi0:drive-scsi0:data:raw:\n";
const CLUSTERS: u32 = 32;

struct Lab {
    root: tempfile::TempDir,
}

impl Lab {
    /// A node with one archive of a VM, whose disk is full of data.
    fn new() -> Self {
        let lab = Self { root: tempfile::tempdir().unwrap() };
        let node = lab.node();
        node.write("/etc/pve/storage.cfg", STORAGES).unwrap();
        let config = Config { name: "qemu-server.conf".into(), data: CONFIG.into() };
        let size = u64::from(CLUSTERS) * CLUSTER as u64;
        let device = Device { id: 1, name: "drive-scsi0".into(), size };
        let header = Header { uuid: [1; 16], ctime: 0, configs: vec![config], devices: vec![device] };
        let mut writer = Writer::new(Vec::new(), &header).unwrap();
        for cluster in 0..CLUSTERS {
            writer.cluster(1, cluster, &vec![b'x'; CLUSTER]).unwrap();
        }
        let folder = node.path("/var/lib/vz/dump");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("vzdump-qemu-100-2026_01_30-12_00_00.vma"), writer.finish().unwrap()).unwrap();
        lab
    }

    fn node(&self) -> Node {
        Node::open(self.root.path(), 9).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pve-sim"));
        command.arg("--root").arg(self.root.path()).args(["--pve", "9", "--"]).args(args);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts a slow restore and waits until data is being written.
    fn restore_in_progress(&self) -> (Child, BufReader<std::process::ChildStdout>) {
        let mut command = self.command(&["qmrestore", ARCHIVE, "100", "--bwlimit", "512"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("map ") {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the restore ended early");
        }
        (child, output)
    }

    fn config(&self) -> String {
        let node = self.node();
        node.read(&node.config_path(GuestKind::Vm, 100)).unwrap()
    }

    fn volumes(&self) -> Vec<String> {
        let node = self.node();
        let volumes = node.storages().into_iter().flat_map(|storage| node.volumes(&storage));
        volumes.map(|volume| volume.volid).collect()
    }

    fn task_log(&self) -> String {
        let tasks = self.node().path("/var/log/pve/tasks");
        let folders =
            fs::read_dir(tasks).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
        let logs = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
        logs.map(|log| fs::read_to_string(log.unwrap().path()).unwrap()).collect()
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_kills_the_worker_and_leaves_half_a_disk() {
    let lab = Lab::new();
    let (mut child, output) = lab.restore_in_progress();
    drop(output);
    assert!(!child.wait().unwrap().success());
    assert_eq!(lab.config(), "memory: 128\n");
    assert_eq!(lab.volumes(), ["data:100/vm-100-disk-0.raw"]);
    assert!(lab.task_log().ends_with("\nTASK ERROR: broken pipe\n"));
    assert!(lab.node().path("/var/tmp").read_dir().unwrap().count() > 0);
}

#[test]
fn a_killed_program_writes_no_last_line_into_its_log() {
    let lab = Lab::new();
    let (mut child, _output) = lab.restore_in_progress();
    signal(&child, "KILL");
    child.wait().unwrap();
    assert_eq!(lab.config(), "memory: 128\n");
    assert_eq!(lab.volumes(), ["data:100/vm-100-disk-0.raw"]);
    assert!(!lab.task_log().contains("TASK "));
}

#[test]
fn a_terminated_program_removes_the_new_disks() {
    let lab = Lab::new();
    let (mut child, mut output) = lab.restore_in_progress();
    signal(&child, "TERM");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(255));
    assert!(rest.contains("temporary volume 'data:100/vm-100-disk-0.raw' successfully removed"), "{rest}");
    assert!(lab.task_log().ends_with("failed: interrupted by signal\n"));
    assert_eq!((lab.config().as_str(), lab.volumes()), ("memory: 128\n", Vec::new()));
}

#[test]
fn left_over_disks_become_unused_at_the_next_restore() {
    let lab = Lab::new();
    let faults = r#"[{"match": ["qmrestore"], "nth": 1, "action": {"kill_after_bytes": 300000}}]"#;
    lab.node().write("/etc/pve-sim-faults.json", faults).unwrap();
    assert_eq!(lab.run(&["qmrestore", ARCHIVE, "100"]).status.code(), Some(137));
    assert_eq!(lab.volumes(), ["data:100/vm-100-disk-0.raw"]);
    let output = lab.run(&["qmrestore", ARCHIVE, "100", "--force", "1"]);
    assert!(output.status.success(), "{output:?}");
    let config = lab.config();
    assert!(config.contains("scsi0: data:100/vm-100-disk-1.raw,size=2M\n"), "{config}");
    assert!(config.contains("unused0: data:100/vm-100-disk-0.raw\n"), "{config}");
}

#[test]
fn a_storage_can_be_full_at_a_chosen_byte() {
    let lab = Lab::new();
    let faults = r#"[{"match": ["qmrestore"], "action": {"no_space_after_bytes": 300000}}]"#;
    lab.node().write("/etc/pve-sim-faults.json", faults).unwrap();
    let output = lab.run(&["qmrestore", ARCHIVE, "100"]);
    assert_eq!(output.status.code(), Some(255));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("vma: restore failed - blk_pwrite to  failed (-28)\n"), "{text}");
    assert_eq!(lab.volumes(), Vec::<String>::new());
}

#[test]
fn a_command_can_be_made_to_fail_before_it_does_anything() {
    let lab = Lab::new();
    let faults = r#"[{"match": ["qm", "status"], "nth": 2, "action": {"exit": 4, "stderr": "no luck"}}]"#;
    lab.node().write("/etc/pve-sim-faults.json", faults).unwrap();
    lab.run(&["qmrestore", ARCHIVE, "100"]);
    assert!(lab.run(&["qm", "status", "100"]).status.success());
    let output = lab.run(&["qm", "status", "100"]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(4), b"no luck\n".as_slice()));
    let journal = lab.node().journal();
    let told: Vec<_> =
        journal.iter().map(|entry| (entry.argv[0].as_str(), entry.effect, entry.exit)).collect();
    let (destroy, read) = (Effect::Destroy, Effect::Read);
    assert_eq!(told, [("qmrestore", destroy, 0), ("qm", read, 0), ("qm", read, 4)]);
}

#[test]
fn unique_gives_new_addresses_and_a_new_identity_and_another_storage_takes_the_disk() {
    let lab = Lab::new();
    let output = lab.run(&["qmrestore", ARCHIVE, "101", "--unique", "1", "--storage", "thin"]);
    assert!(output.status.success(), "{output:?}");
    let config = fs::read_to_string(lab.root.path().join("etc/pve/qemu-server/101.conf")).unwrap();
    assert!(config.contains("scsi0: thin:vm-101-disk-0,size=4M\n"), "{config}");
    assert!(!config.contains("BC:24:11:2C:4A:9E") && config.contains("net0: virtio=BC:24:11:"), "{config}");
    assert!(!config.contains("1e5f3f5e-6c4b-4bb1-9d3d-1f8f0d1b7a11"), "{config}");
    let disk = fs::read(lab.root.path().join("dev/pve/vm-101-disk-0")).unwrap();
    assert!(disk[..CLUSTERS as usize * CLUSTER].iter().all(|byte| *byte == b'x'));
}

#[test]
fn an_archive_without_a_header_costs_a_time_out_and_no_disk() {
    let lab = Lab::new();
    lab.run(&["qmrestore", ARCHIVE, "100"]);
    let before = (lab.config(), lab.volumes());
    lab.node().write("/etc/pve-sim.json", r#"{"header-timeout-ms": 50}"#).unwrap();
    fs::write(lab.node().path("/var/lib/vz/dump/vzdump-qemu-100-2026_01_30-12_00_00.vma"), "").unwrap();
    let output = lab.run(&["qmrestore", ARCHIVE, "100", "--force", "1"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.ends_with("failed: got timeout reading VMA header - corrupted?\n"), "{text}");
    assert_eq!((lab.config(), lab.volumes()), before);
}

#[test]
fn a_vm_answers_only_when_its_disk_holds_a_system() {
    let lab = Lab::new();
    lab.run(&["qmrestore", ARCHIVE, "100"]);
    lab.run(&["qm", "set", "100", "--agent", "1", "--ipconfig0", "ip=192.168.1.50/24,gw=192.168.1.1"]);
    let ping = || lab.run(&["qm", "guest", "cmd", "100", "network-get-interfaces"]);
    let error = |output: Output| String::from_utf8(output.stderr).unwrap();
    assert_eq!(error(ping()), "VM 100 is not running\n");
    assert!(lab.run(&["qm", "start", "100"]).status.success());
    assert_eq!(error(ping()), "QEMU guest agent is not running\n");
    lab.node().sign_boot_disk("/srv/data/images/100/vm-100-disk-0.raw").unwrap();
    let answer = String::from_utf8(ping().stdout).unwrap();
    assert!(answer.contains(r#""ip-address": "192.168.1.50""#), "{answer}");
    assert!(lab.run(&["qm", "shutdown", "100"]).status.success());
    assert_eq!(lab.run(&["qm", "status", "100"]).stdout, b"status: stopped\n");
}
