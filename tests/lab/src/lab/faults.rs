//! Breaking things on purpose.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{Lab, content::seeded};
use crate::{
    sim::GuestKind,
    sim::node::{Settings, power::boot_disk},
    sim::shell::TOOLS,
};

/// What goes wrong with a command of the node.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It fails before it does anything.
    Fails {
        /// Its exit status.
        exit: i32,
        /// What it says.
        stderr: String,
    },
    /// It is killed after so many bytes of data.
    KilledAfter(u64),
    /// The storage is full after so many bytes of data.
    FullAfter(u64),
}

impl Lab {
    /// The next (or the `nth`) command that begins with these words goes wrong.
    pub fn fault(&self, words: &[&str], nth: Option<usize>, fault: &Fault) -> io::Result<()> {
        let action = match fault {
            Fault::Fails { exit, stderr } => serde_json::json!({ "exit": exit, "stderr": stderr }),
            Fault::KilledAfter(bytes) => serde_json::json!({ "kill_after_bytes": bytes }),
            Fault::FullAfter(bytes) => serde_json::json!({ "no_space_after_bytes": bytes }),
        };
        let mut entry = serde_json::json!({ "match": words, "action": action });
        if let Some(nth) = nth {
            entry["nth"] = nth.into();
        }
        self.add_fault(&entry)
    }

    /// From now on these tools of the node's system can go wrong as well, and are in the journal: `find`, `install`,
    /// `rm`, `tee`.
    pub fn watch_tools(&self) -> io::Result<()> {
        self.shell.link(TOOLS, &self.simulator)
    }

    fn add_fault(&self, entry: &serde_json::Value) -> io::Result<()> {
        let path = self.path("/etc/pve-sim-faults.json");
        let known = fs::read_to_string(&path).unwrap_or_else(|_| "[]".to_owned());
        let mut faults: Vec<serde_json::Value> = serde_json::from_str(&known).map_err(io::Error::other)?;
        faults.push(entry.clone());
        fs::write(path, serde_json::to_string(&faults).map_err(io::Error::other)?)
    }

    /// Every command that begins with these words takes so much longer.
    pub fn slow_down(&self, words: &[&str], milliseconds: u64) -> io::Result<()> {
        self.add_fault(&serde_json::json!({ "match": words, "action": { "delay_ms": milliseconds } }))
    }

    /// The node's settings that no real file can tell, changed.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) -> io::Result<()> {
        let mut settings = Settings::read(self.root())?;
        change(&mut settings);
        settings.write(self.root())
    }

    /// Where the disk that a VM boots from is on this machine.
    pub(crate) fn system_disk(&self, vmid: u32) -> io::Result<std::path::PathBuf> {
        let node = self.node()?;
        let config = node.config(GuestKind::Vm, vmid).map_err(|e| io::Error::other(e.text))?;
        let disk = boot_disk(&config.main);
        let volid = disk.as_ref().and_then(|d| d.volume()).ok_or_else(|| io::Error::other("no disk"))?;
        let place = node.place(volid).map_err(|e| io::Error::other(e.text))?;
        Ok(self.path(&place.path))
    }

    /// Overwrites the VM's system disk with garbage, the boot sector included.
    pub fn break_disk(&self, vmid: u32) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(self.system_disk(vmid)?)?;
        file.write_all_at(&seeded("garbage", 1 << 20), 0)
    }

    /// Removes the system of a container.
    pub fn break_container(&self, vmid: u32) -> io::Result<()> {
        let node = self.node()?;
        let config = node.config(GuestKind::Ct, vmid).map_err(|e| io::Error::other(e.text))?;
        let rootfs = config.main.get("rootfs").map(str::to_owned).unwrap_or_default();
        let volid = rootfs.split(',').next().unwrap_or_default();
        let place = node.place(volid).map_err(|e| io::Error::other(e.text))?;
        let folder = self.path(&place.path);
        fs::remove_dir_all(folder.join("etc"))?;
        fs::write(folder.join("ransom.txt"), "all your files are belong to us\n")
    }

    /// Changes something in a guest, as its users do after the last backup. It still boots.
    pub fn write_to_guest(&self, vmid: u32, text: &str) -> io::Result<()> {
        let node = self.node()?;
        let (kind, key) =
            if vmid == super::CT { (GuestKind::Ct, "rootfs") } else { (GuestKind::Vm, "scsi0") };
        let config = node.config(kind, vmid).map_err(|e| io::Error::other(e.text))?;
        let volid = config.main.get(key).and_then(|v| v.split(',').next()).unwrap_or_default();
        let path = self.path(&node.place(volid).map_err(|e| io::Error::other(e.text))?.path);
        match kind {
            GuestKind::Ct => fs::write(path.join("root/work.txt"), text),
            GuestKind::Vm => {
                let disk = fs::OpenOptions::new().write(true).open(path)?;
                // Behind the system's own data.
                disk.write_all_at(text.as_bytes(), disk.metadata()?.len() / 2)
            }
        }
    }

    /// Adds a line to a guest's configuration, at its top.
    pub fn add_to_config(&self, kind: GuestKind, vmid: u32, line: &str) -> io::Result<()> {
        let path = format!("/etc/pve/{}/{vmid}.conf", kind.folder());
        let text = self.read(&path)?;
        self.write(&path, &format!("{line}\n{text}"))
    }

    /// The path of an archive on this machine.
    pub fn archive(&self, file: &str) -> std::path::PathBuf {
        self.path("/var/lib/vz/dump").join(file)
    }

    /// Cuts an archive off after so many percent.
    pub fn truncate_archive(&self, file: &str, percent: u64) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).open(self.archive(file))?;
        let size = file.metadata()?.len();
        file.set_len(size * percent / 100)
    }

    /// Flips one bit in the middle of an archive.
    pub fn flip_bit(&self, file: &str) -> io::Result<()> {
        let path = self.archive(file);
        let mut bytes = fs::read(&path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::File::create(path)?.write_all(&bytes)
    }
}

/// How long killed processes may take to be gone.
const END: Duration = Duration::from_secs(5);

/// Ends what still runs on a node: detached jobs outlive their connection, but not the lab.
pub(super) fn end_processes_of(root: &Path) {
    end_processes_with(&of_node(root));
}

/// Ends every process that has this variable, as `NAME=VALUE`.
pub(crate) fn end_processes_with(variable: &str) {
    let deadline = Instant::now() + END;
    // What was started while the list was made is found in the next round.
    loop {
        let pids = processes_with(variable);
        if pids.is_empty() || Instant::now() > deadline {
            return;
        }
        drop(Command::new("kill").arg("-KILL").args(pids).stderr(Stdio::null()).status());
    }
}

/// The processes that were started on the node, told by their environment.
pub(super) fn processes_of(root: &Path) -> Vec<String> {
    processes_with(&of_node(root))
}

fn of_node(root: &Path) -> String {
    format!("PVE_SIM_ROOT={}", root.display())
}

/// The processes that have this variable, as `NAME=VALUE`.
pub(crate) fn processes_with(wanted: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_this_lab = processes.filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let environ = fs::read(entry.path().join("environ")).ok()?;
        let is_its = environ.split(|b| *b == 0).any(|variable| variable == wanted.as_bytes());
        (is_its && pid.parse::<u32>().is_ok()).then_some(pid)
    });
    of_this_lab.collect()
}
