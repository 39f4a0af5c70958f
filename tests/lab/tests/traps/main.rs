//! What the bare commands of a node do to who trusts them: a test for each trap that a restore can meet.
//!
//! Each test drives the commands as an operator would type them, and asserts the loss or the lie itself. So it tells
//! that the simulator is as dangerous as a real node, which is what tests of the restore tools build on.
//!
//! | trap | why it has no test, or half of one |
//! | --- | --- |
//! | 24, 26, 38 | only for storages of files: a snapshot on a Proxmox Backup Server cannot be restored here |
//! | 36 | which jobs cover a guest concerns coverage, no restore |

#![allow(clippy::unwrap_used)] // a test may end that way

mod archives;
mod commands;
mod container;
mod guests;
mod vm;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use restore_lab::sim::{GuestKind, Io, Node, Settings, run};

const VM: u32 = 100;
const CT: u32 = 200;

const STORAGES: &str = "\
dir: local
	path /var/lib/vz
	content iso,vztmpl,backup

dir: data
	path /srv/data
	content images,rootdir

dir: other
	path /srv/other
	content images,rootdir

nfs: nas
	server 192.168.1.5
	export /backup
	content backup
	prune-backups keep-last=1
";
const VM_CONFIG: &str = "\
boot: order=scsi0
ipconfig0: ip=192.168.1.50/24,gw=192.168.1.1
memory: 512
name: web01
net0: virtio=BC:24:11:2C:4A:9E,bridge=vmbr0
scsi0: data:100/vm-100-disk-0.raw,size=1M
scsi1: data:100/vm-100-disk-1.raw,backup=0,size=1M
smbios1: uuid=1e5f3f5e-6c4b-4bb1-9d3d-1f8f0d1b7a11
unused0: data:100/vm-100-disk-2.raw
";
const CT_CONFIG: &str = "\
arch: amd64
hostname: ct01
mp0: data:200/vm-200-disk-1.raw,mp=/mnt/kept,backup=1,size=8M
mp1: data:200/vm-200-disk-2.raw,mp=/mnt/lost,size=8M
net0: name=eth0,bridge=vmbr0,hwaddr=BC:24:11:2C:4A:9F,ip=192.168.1.60/24,type=veth
rootfs: data:200/vm-200-disk-0.raw,size=8M
";
const IMAGES: &str = "srv/data/images";

/// A node with a VM and a container, both stopped.
struct Homelab {
    root: tempfile::TempDir,
    version: u8,
}

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

impl Homelab {
    fn new() -> Self {
        Self::of(9)
    }

    fn of(version: u8) -> Self {
        let lab = Self { root: tempfile::tempdir().unwrap(), version };
        lab.settings(|settings| {
            settings.lock_wait_ms = Some(50);
            settings.header_timeout_ms = 50;
            settings.time_divisor = 1000;
        });
        let sidecar = br#"{"size": 8388608, "owners": {}}"#;
        for (path, content) in [
            ("etc/pve/storage.cfg", STORAGES.as_bytes()),
            ("etc/pve/qemu-server/100.conf", VM_CONFIG.as_bytes()),
            ("etc/pve/lxc/200.conf", CT_CONFIG.as_bytes()),
        ] {
            lab.write(path, content);
        }
        for number in 0..3 {
            lab.write(&format!("{IMAGES}/100/vm-100-disk-{number}.raw"), &noise(1 << 20));
            lab.write(&format!("{IMAGES}/200/vm-200-disk-{number}.raw.sim.json"), sidecar);
        }
        for (path, content) in [
            ("disk-0.raw/etc/hostname", b"ct01\n".to_vec()),
            ("disk-0.raw/root/work", noise(400_000)),
            ("disk-1.raw/file", b"in the backup\n".to_vec()),
            ("disk-2.raw/file", b"only here\n".to_vec()),
        ] {
            lab.write(&format!("{IMAGES}/200/vm-200-{path}"), &content);
        }
        lab
    }

    fn node(&self) -> Node {
        Node::open(self.root.path(), self.version).unwrap()
    }

    fn settings(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings::read(self.root.path()).unwrap();
        change(&mut settings);
        settings.write(self.root.path()).unwrap();
    }

    /// Runs a command line whose words have no blanks in them.
    fn run(&self, line: &str) -> Said {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io { stdin: &mut std::io::empty(), stdout: &mut out, stderr: &mut err };
        let status = run(&self.node(), &argv, &mut io);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { status, out: text(out), err: text(err) }
    }

    /// Runs a command that has to end well; gives its output.
    fn well(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.status, 0, "{line}: {said:?}");
        said.out
    }

    /// Starts a command as a process of its own, its output in a pipe.
    fn spawn(&self, line: &str) -> std::process::Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pve-sim"));
        command.arg("--root").arg(self.root.path()).args(["--pve", &self.version.to_string(), "--"]);
        command.args(line.split_whitespace()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Backs a guest up on a storage; gives the volume ID of the archive.
    fn backup_on(&self, storage: &str, vmid: u32, compress: &str) -> String {
        let out = self.well(&format!("vzdump {vmid} --storage {storage} --mode stop --compress {compress}"));
        let (_, rest) = out.split_once("archive '").unwrap();
        let path = rest.split_once('\'').unwrap().0;
        format!("{storage}:backup/{}", path.rsplit('/').next().unwrap())
    }

    fn backup(&self, vmid: u32) -> String {
        self.backup_on("local", vmid, "zstd")
    }

    /// The file of an archive on `local`.
    fn archive(&self, volid: &str) -> PathBuf {
        self.path("var/lib/vz/dump").join(volid.trim_start_matches("local:backup/"))
    }

    /// Cuts an archive in the middle of its data.
    fn cut(&self, volid: &str) {
        let file = fs::File::options().write(true).open(self.archive(volid)).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }

    /// Gives an archive another name; tells its volume ID.
    fn rename(&self, volid: &str, from: &str, to: &str) -> String {
        let named = volid.replace(from, to);
        assert_ne!(named, volid);
        fs::rename(self.archive(volid), self.archive(&named)).unwrap();
        named
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn config(&self, vmid: u32) -> Option<String> {
        let kind = if vmid < CT { GuestKind::Vm } else { GuestKind::Ct };
        let node = self.node();
        node.read(&node.config_path(kind, vmid))
    }

    /// Adds lines to the end of a guest's configuration.
    fn configure(&self, vmid: u32, lines: &str) {
        let folder = if vmid < CT { "qemu-server" } else { "lxc" };
        let config = self.config(vmid).unwrap_or_default() + lines;
        self.write(&format!("etc/pve/{folder}/{vmid}.conf"), config.as_bytes());
    }

    /// Adds a storage.
    fn add_storage(&self, section: &str) {
        let text = fs::read_to_string(self.path("etc/pve/storage.cfg")).unwrap();
        self.write("etc/pve/storage.cfg", format!("{text}\n{section}").as_bytes());
    }

    /// The volumes of a guest on all storages.
    fn volumes(&self, vmid: u32) -> Vec<String> {
        let node = self.node();
        let all = node.storages().into_iter().flat_map(|storage| node.volumes(&storage));
        all.filter(|volume| volume.owner == vmid).map(|volume| volume.volid).collect()
    }

    fn status(&self, vmid: u32) -> String {
        let tool = if vmid < CT { "qm" } else { "pct" };
        self.well(&format!("{tool} status {vmid}"))
    }
}

/// The value of a key in a configuration.
fn value<'a>(config: &'a str, key: &str) -> Option<&'a str> {
    config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

/// Bytes that do not compress, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..length).map(|_| next()).collect()
}
