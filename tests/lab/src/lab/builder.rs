//! Building a homelab.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    CT, Lab, MONITORING, Server, VM,
    addresses::Addresses,
    backed_up::{snapshot_of_container, snapshot_of_vm},
    content::{DISK_SIZE, seeded, system_like},
    guests::Guests,
    monitoring,
    operator::{About, Operator},
    program_path, simulate,
};
use crate::{
    monitoring::{Options, Place, Stack},
    secrets::IN_CONFIGURATION,
    sim::{GuestKind, Node, Settings, node::power::BOOT_SIGNATURE, shell::ShellNode},
    ssh::{Embedded, KeyPair, OpenSsh, ServerOptions},
};

/// The name of the node.
pub const NODE: &str = "pve-prod";

/// The port on which the guests answer. Port 22 would need root.
pub(crate) const GUEST_PORT: u16 = 2222;

/// Which SSH server stands in front of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Front {
    /// The one in this process.
    #[default]
    Embedded,
    /// A real OpenSSH.
    OpenSsh,
}

/// What a lab is to be like.
#[derive(Clone, Debug)]
pub struct LabBuilder {
    version: u8,
    front: Front,
    compress: &'static str,
    backups: Vec<&'static str>,
    extra: Vec<(String, String)>,
    storages: String,
    /// Backup servers by the storages' names, with the times of what is on them.
    servers: Vec<(String, Vec<&'static str>)>,
    more: Vec<u32>,
    monitoring: Option<Options>,
    /// Bytes of the VM's system disk, and of the data in the guests' largest files.
    disk: u64,
    data: usize,
    /// Whether the system disk holds data up to its end.
    filled: bool,
    /// The name of the node.
    node: &'static str,
    /// Whether guests are watched.
    watched: bool,
}

impl Default for LabBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl LabBuilder {
    /// PVE 8, the embedded server, a VM and a container with two backups each.
    pub fn new() -> Self {
        let backups = vec!["2026_01_29-01_00_04", "2026_01_30-01_00_04"];
        Self {
            version: 8,
            front: Front::Embedded,
            compress: "zstd",
            backups,
            extra: Vec::new(),
            storages: String::new(),
            servers: Vec::new(),
            more: Vec::new(),
            monitoring: None,
            disk: DISK_SIZE,
            data: 1 << 20,
            filled: false,
            node: NODE,
            watched: true,
        }
    }

    /// Nobody watches the guests: none of them answers, and nothing is done for those under high availability. Many labs
    /// cost less this way.
    #[must_use]
    pub fn unwatched(mut self) -> Self {
        self.watched = false;
        self
    }

    /// Another name for the node.
    #[must_use]
    pub fn node(mut self, name: &'static str) -> Self {
        self.node = name;
        self
    }

    /// Adds small VMs with these numbers. They have no address and are not started.
    #[must_use]
    pub fn more_vms(mut self, vmids: &[u32]) -> Self {
        self.more = vmids.to_vec();
        self
    }

    /// Adds the VM `monitoring-stack`, which runs, and has backups as the others do; or only what takes care of it.
    #[must_use]
    pub fn monitoring(mut self, options: Options) -> Self {
        self.monitoring = Some(options);
        self
    }

    /// Major version of Proxmox VE.
    #[must_use]
    pub fn pve(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// The SSH server.
    #[must_use]
    pub fn front(mut self, front: Front) -> Self {
        self.front = front;
        self
    }

    /// How the backups are compressed: `zstd`, `gzip`, `lzo` or `0`.
    #[must_use]
    pub fn compress(mut self, how: &'static str) -> Self {
        self.compress = how;
        self
    }

    /// The times of the backups, oldest first, as archive names have them.
    #[must_use]
    pub fn backups(mut self, times: &[&'static str]) -> Self {
        self.backups = times.to_vec();
        self
    }

    /// The guests hold as little as they can, for tests that need speed more than data.
    #[must_use]
    pub fn small(mut self) -> Self {
        // The node rounds volumes up to 4 MiB.
        (self.disk, self.data) = (4 << 20, 128 << 10);
        self
    }

    /// The VM's system disk is this large, in bytes (rounded up to whole MiB), and has no hole.
    #[must_use]
    pub fn filled(mut self, bytes: u64) -> Self {
        (self.disk, self.filled) = (bytes.next_multiple_of(1 << 20), true);
        self
    }

    /// Adds a storage, as a section of `storage.cfg`.
    #[must_use]
    pub fn storage(mut self, section: &str) -> Self {
        self.storages.push('\n');
        self.storages.push_str(section);
        self
    }

    /// Adds a Proxmox Backup Server as a storage, with backups of the guests of these times, as volume IDs have them:
    /// `2026-01-30T01:00:00Z`. They were never verified.
    #[must_use]
    pub fn backup_server(mut self, id: &str, times: &[&'static str]) -> Self {
        self.servers.push((id.to_owned(), times.to_vec()));
        self.storage(&format!(
            "pbs: {id}\n\tdatastore main\n\tserver 10.0.0.9\n\tcontent backup\n\tusername root@pam\n"
        ))
    }

    /// Writes one more file on the node before anything starts.
    #[must_use]
    pub fn file(mut self, on_node: &str, text: &str) -> Self {
        self.extra.push((on_node.to_owned(), text.to_owned()));
        self
    }

    /// Starts the lab.
    pub fn start(self) -> io::Result<Lab> {
        let folder = tempfile::Builder::new().prefix("restore-lab-").tempdir()?;
        let simulator = program_path("pve-sim");
        if !simulator.exists() {
            return Err(io::Error::other(format!("{} is not built", simulator.display())));
        }
        let addresses = Addresses::take()?;
        let shell = ShellNode {
            root: folder.path().join("node"),
            version: self.version.to_string(),
            name: self.node.to_owned(),
        };
        lay_out(&shell.root, self.node, &addresses, &self.storages)?;
        shell.link_programs(&simulator)?;
        let node = Node::open(&shell.root, self.version)?;
        make_guests(&node, &addresses, self.disk, self.data)?;
        let mut others = self.more.clone();
        let mut running = vec![(GuestKind::Vm, VM), (GuestKind::Ct, CT)];
        if self.monitoring.as_ref().is_some_and(|options| options.vm) {
            monitoring::make(&node, &addresses.monitoring, self.disk, self.data)?;
            others.push(MONITORING);
            running.push((GuestKind::Vm, MONITORING));
        }
        if self.filled {
            fill(&node, "local-lvm:vm-101-disk-0", self.disk)?;
        }
        for vmid in &self.more {
            make_small_vm(&node, *vmid)?;
        }
        for (path, text) in &self.extra {
            node.write(path, text)?;
        }
        for time in &self.backups {
            back_up(&simulator, &shell, self.compress, time, &others)?;
        }
        for (id, times) in &self.servers {
            let storage = node.storage(id).map_err(|failure| io::Error::other(failure.text))?;
            for time in times {
                back_up_to(&simulator, &shell, &node, &storage.place(), time)?;
            }
        }
        for (kind, vmid) in running {
            node.power_on(kind, vmid).map_err(|failure| io::Error::other(failure.text))?;
        }
        drop(fs::remove_dir_all(shell.root.join("var/log")));
        self.open(folder, simulator, shell, addresses)
    }

    fn open(
        self,
        folder: tempfile::TempDir,
        simulator: PathBuf,
        shell: ShellNode,
        addresses: Addresses,
    ) -> io::Result<Lab> {
        let (host_key, client_key) = (KeyPair::generate()?, KeyPair::generate()?);
        let options = ServerOptions {
            address: SocketAddr::new(addresses.node.parse().map_err(io::Error::other)?, 0),
            host_key: host_key.clone(),
            user: "root".to_owned(),
            client_key: client_key.public_line()?,
            simulator: simulator.clone(),
            variables: shell.variables(),
        };
        let (server, address) = match self.front {
            Front::Embedded => {
                let server = Embedded::start(options)?;
                let address = server.address();
                (Server::Embedded(server), address)
            }
            Front::OpenSsh => {
                let server = OpenSsh::start(&options, &folder.path().join("sshd"))?;
                let address = server.address();
                (Server::OpenSsh(server), address)
            }
        };
        let user = match self.front {
            Front::Embedded => "root".to_owned(),
            // Only root may log anybody else in.
            Front::OpenSsh => this_user()?,
        };
        let operator = Operator::create(
            folder.path(),
            &client_key,
            &About {
                node: self.node,
                node_address: address,
                host_key: &host_key.public_line()?,
                user: &user,
                guest_port: GUEST_PORT,
                vm_address: &addresses.vm,
                ct_address: &addresses.ct,
            },
        )?;
        let at = |ip: &str, port: u16| -> io::Result<SocketAddr> {
            Ok(SocketAddr::new(ip.parse().map_err(io::Error::other)?, port))
        };
        let guests = vec![
            (GuestKind::Vm, VM, at(&addresses.vm, GUEST_PORT)?),
            (GuestKind::Ct, CT, at(&addresses.ct, GUEST_PORT)?),
        ];
        let mut stack = None;
        if let Some(options) = self.monitoring {
            let place = Place {
                address: at(&addresses.monitoring, 0)?.ip(),
                node_address: address.ip(),
                folder: &monitoring::folder(folder.path()),
                simulator: &simulator,
                client_key: client_key.public_line()?,
            };
            if options.vm {
                let node = Node::open(&shell.root, self.version)?;
                monitoring::tell(&operator, &node, &options.password, (place.address, place.node_address))?;
            }
            stack = Some(Stack::new(options, place)?);
        }
        let caretaker = stack.as_ref().map(Stack::caretaker).transpose()?;
        let guests = self.watched.then(|| Guests::watch(shell.root.clone(), self.version, guests, caretaker));
        Ok(Lab {
            shell,
            simulator,
            server: Some(server),
            guests,
            stack,
            operator,
            login: (address, user),
            _folder: folder,
            _addresses: addresses.claim,
        })
    }
}

fn lay_out(root: &Path, name: &str, addresses: &Addresses, storages: &str) -> io::Result<()> {
    let folders = [
        "root",
        "var/lib/vz/dump",
        "var/lib/vz/images",
        "var/tmp",
        "var/log",
        "run",
        "etc/pve/firewall",
        "var/lock",
    ];
    for folder in folders {
        fs::create_dir_all(root.join(folder))?;
    }
    for kind in [GuestKind::Vm, GuestKind::Ct] {
        let real = root.join("etc/pve/nodes").join(name).join(kind.folder());
        fs::create_dir_all(&real)?;
        // As on a real node, the short path is a link into the node's own folder.
        std::os::unix::fs::symlink(
            Path::new("nodes").join(name).join(kind.folder()),
            root.join("etc/pve").join(kind.folder()),
        )?;
    }
    fs::write(
        root.join("etc/pve/storage.cfg"),
        format!(
            "dir: local\n\tpath /var/lib/vz\n\tcontent iso,vztmpl,backup\n\n\
             lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\tcontent images,rootdir\n{storages}"
        ),
    )?;
    fs::create_dir_all(root.join("mnt/data"))?;
    fs::create_dir_all(root.join("etc/network"))?;
    fs::write(
        root.join("etc/network/interfaces"),
        format!(
            "auto lo\niface lo inet loopback\n\niface eno1 inet manual\n\nauto vmbr0\niface vmbr0 inet static\n\
             \taddress {}/8\n\tbridge-ports eno1\n\tbridge-stp off\n\tbridge-fd 0\n",
            addresses.node
        ),
    )?;
    fs::write(root.join("etc/hostname"), format!("{name}\n"))?;
    let settings =
        Settings { node: name.to_owned(), header_timeout_ms: 2_000, time_divisor: 60, ..Settings::default() };
    settings.write(root)
}

/// `size` is that of the VM's system disk, in whole MiB.
fn make_guests(node: &Node, addresses: &Addresses, size: u64, data: usize) -> io::Result<()> {
    node.write(
        &node.config_path(GuestKind::Vm, VM),
        &format!(
            "agent: 1\nboot: order=scsi0\ncipassword: {IN_CONFIGURATION}\ncores: 1\n\
             efidisk0: local-lvm:vm-101-disk-1,efitype=4m,size=4M\n\
             ipconfig0: ip={}/8,gw=127.0.0.1\nmemory: 512\nname: prod-web\n\
             net0: virtio=BC:24:11:00:00:65,bridge=vmbr0,firewall=1\nonboot: 1\nostype: l26\n\
             scsi0: local-lvm:vm-101-disk-0,size={}M\nscsihw: virtio-scsi-single\n\
             smbios1: uuid=11111111-2222-4333-8444-555555555555\n\
             vmgenid: 66666666-7777-4888-9999-aaaaaaaaaaaa\n",
            addresses.vm,
            size >> 20
        ),
    )?;
    node.write(&Node::firewall_path(VM), "[OPTIONS]\n\nenable: 1\n\n[RULES]\n\nIN SSH(ACCEPT) -log nolog\n")?;
    let mut system = seeded("system", 3 * data);
    system[..BOOT_SIGNATURE.len()].copy_from_slice(BOOT_SIGNATURE);
    disk(node, "local-lvm:vm-101-disk-0", size, &system)?;
    disk(node, "local-lvm:vm-101-disk-1", 4 << 20, &seeded("efi", 20_480))?;
    node.write(
        &node.config_path(GuestKind::Ct, CT),
        &format!(
            "arch: amd64\ncores: 1\nhostname: prod-dns\nmemory: 256\n\
             net0: name=eth0,bridge=vmbr0,gw=127.0.0.1,hwaddr=BC:24:11:00:00:66,ip={}/8,type=veth\n\
             onboot: 1\nostype: debian\nrootfs: local-lvm:vm-102-disk-0,size=2G\nswap: 256\nunprivileged: 1\n",
            addresses.ct
        ),
    )?;
    let place = node.place("local-lvm:vm-102-disk-0").map_err(|failure| io::Error::other(failure.text))?;
    let files: [(&str, &[u8]); 5] = [
        ("etc/debian_version", b"12.5\n"),
        ("etc/hostname", b"prod-dns\n"),
        ("sbin/init", b"#!/bin/sh\n"),
        ("root/hello.txt", b"hello\n"),
        ("var/lib/dns/zone.bin", &seeded("zone", data)),
    ];
    for (name, content) in files {
        let path = node.path(&place.path).join(name);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(path, content)?;
    }
    Ok(())
}

fn make_small_vm(node: &Node, vmid: u32) -> io::Result<()> {
    node.write(
        &node.config_path(GuestKind::Vm, vmid),
        &format!(
            "boot: order=scsi0\ncores: 1\nmemory: 128\nname: small-{vmid}\nscsi0: local-lvm:vm-{vmid}-disk-0,size=4M\ntags: small\n"
        ),
    )?;
    let mut system = seeded(&format!("small-{vmid}"), 256 << 10);
    system[..BOOT_SIGNATURE.len()].copy_from_slice(BOOT_SIGNATURE);
    disk(node, &format!("local-lvm:vm-{vmid}-disk-0"), 4 << 20, &system)
}

/// A sparse volume that begins with `content`.
pub(super) fn disk(node: &Node, volid: &str, size: u64, content: &[u8]) -> io::Result<()> {
    let place = node.place(volid).map_err(|failure| io::Error::other(failure.text))?;
    let path = node.path(&place.path);
    fs::create_dir_all(path.parent().unwrap_or(&path))?;
    let file = fs::File::create(path)?;
    file.set_len(size)?;
    file.write_all_at(content, 0)
}

/// Writes data behind the first MiB of a volume, up to its end. It packs as well as that of a system does, to about half.
fn fill(node: &Node, volid: &str, size: u64) -> io::Result<()> {
    let place = node.place(volid).map_err(|failure| io::Error::other(failure.text))?;
    let file = fs::File::options().write(true).open(node.path(&place.path))?;
    let blocks: Vec<_> = (0..DIFFERENT).map(|number| system_like(number, 1 << 20)).collect();
    (1..size >> 20)
        .zip(blocks.iter().cycle())
        .try_for_each(|(mib, block)| file.write_all_at(block, mib << 20))
}

/// So many MiB pass before one comes again: more than a compressor remembers.
const DIFFERENT: u64 = 32;

/// Makes a backup of each guest with the node's own program and gives it the time that was asked for.
fn back_up(simulator: &Path, shell: &ShellNode, compress: &str, time: &str, more: &[u32]) -> io::Result<()> {
    let dump = shell.root.join("var/lib/vz/dump");
    let before = names(&dump)?;
    let more: Vec<_> = more.iter().map(u32::to_string).collect();
    let mut words = vec!["vzdump", "101", "102"];
    words.extend(more.iter().map(String::as_str));
    words.extend(["--storage", "local", "--compress", compress, "--remove", "0"]);
    let output = simulate(simulator, shell, &words)?;
    if !output.status.success() {
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("vzdump failed in the lab: {said}")));
    }
    for name in names(&dump)?.into_iter().filter(|name| !before.contains(name)) {
        // vzdump-qemu-101-2026_01_30-12_00_00.vma.zst
        let (lead, rest) = name.split_at(name.match_indices('-').nth(2).map_or(0, |(at, _)| at + 1));
        fs::rename(dump.join(&name), dump.join(format!("{lead}{time}{}", &rest[time.len()..])))?;
    }
    Ok(())
}

/// Makes a backup of each guest as a snapshot of a backup server: by way of an archive, since the node's own program does
/// not do it in the lab.
fn back_up_to(simulator: &Path, shell: &ShellNode, node: &Node, place: &str, time: &str) -> io::Result<()> {
    let folder = "/var/tmp/for-the-server";
    fs::create_dir_all(node.path(folder))?;
    let words = ["vzdump", "101", "102", "--dumpdir", folder, "--compress", "0"];
    let output = simulate(simulator, shell, &words)?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    for name in names(&node.path(folder))? {
        let archive = node.path(folder).join(&name);
        let snapshot = |group: &str| node.path(&format!("{place}/{group}/{time}"));
        match archive.extension().and_then(std::ffi::OsStr::to_str) {
            Some("vma") => snapshot_of_vm(&archive, &snapshot(&format!("vm/{VM}")))?,
            Some("tar") => snapshot_of_container(&archive, &snapshot(&format!("ct/{CT}")))?,
            _ => {}
        }
    }
    fs::remove_dir_all(node.path(folder))
}

/// The user's name. `$USER` is not set everywhere, in a container for instance.
fn this_user() -> io::Result<String> {
    let output = Command::new("id").arg("-un").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
