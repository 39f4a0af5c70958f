//! A node: its state below a root folder, in the real formats.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub mod cluster;
pub mod config;
pub mod lock;
pub mod power;
pub mod property;
pub mod qcow2;
pub mod random;
pub mod services;
pub mod settings;
pub mod storage;
pub mod task;
pub mod volume;

pub use config::GuestConfig;
pub use lock::FileLock;
pub use services::{Activity, Service};
pub use settings::Settings;
pub use storage::Storage;
pub use task::Task;
pub use volume::{Volume, VolumeWriter};

/// Which kind of guest a number names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GuestKind {
    /// A virtual machine.
    Vm,
    /// A container.
    Ct,
}

impl GuestKind {
    /// `VM` or `CT`, as messages say it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Vm => "VM",
            Self::Ct => "CT",
        }
    }

    /// The folder of its configurations.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Vm => "qemu-server",
            Self::Ct => "lxc",
        }
    }

    /// `vm` or `ct`, as HA resources say it.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Ct => "ct",
        }
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The text for standard error.
    pub text: String,
    /// The exit status when it fails outside a task.
    pub status: i32,
    /// The process is gone: nothing may be cleaned up.
    pub killed: bool,
}

impl Failure {
    /// An ordinary failure, status 255.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: 255, killed: false }
    }

    /// A failure with another exit status outside a task.
    pub fn with_status(text: impl Into<String>, status: i32) -> Self {
        Self { status, ..Self::new(text) }
    }

    /// The worker was killed: it cleans nothing up.
    pub fn killed(text: impl Into<String>, status: i32) -> Self {
        Self { text: text.into(), status, killed: true }
    }

    /// The same failure with words in front.
    #[must_use]
    pub fn prefixed(mut self, prefix: &str) -> Self {
        if !self.killed {
            self.text = format!("{prefix}{}", self.text);
        }
        self
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(crate::sim::tool::strerror(&error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a command ends with.
pub type Outcome<T = ()> = Result<T, Failure>;

/// A simulated node.
pub struct Node {
    root: PathBuf,
    version: u8,
    settings: Settings,
    interrupted: Arc<AtomicBool>,
    /// Bytes until a fault strikes; see [`crate::sim::fault`].
    meter: Meter,
    last_worker: RefCell<Option<String>>,
}

/// Counts the data of one command towards a fault.
#[derive(Default)]
struct Meter {
    kill_after: Cell<Option<u64>>,
    full_after: Cell<Option<u64>>,
    killed: Cell<bool>,
    warned: RefCell<Vec<String>>,
}

impl Node {
    /// The node whose files are below `root`, of PVE `version` 8 or 9.
    pub fn open(root: impl Into<PathBuf>, version: u8) -> io::Result<Self> {
        let root = root.into();
        let settings = Settings::read(&root)?;
        let node = Self {
            root,
            version,
            settings,
            interrupted: Arc::default(),
            meter: Meter::default(),
            last_worker: RefCell::default(),
        };
        for folder in ["/etc/pve", "/var/log/pve/tasks", "/var/log/pve-sim", "/var/tmp", "/run"] {
            fs::create_dir_all(node.path(folder))?;
        }
        Ok(node)
    }

    /// Sets the flag that a signal handler raises.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupted = flag;
        self
    }

    /// Whether SIGTERM or SIGINT has arrived.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// 8 or 9.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.settings.node
    }

    /// What files in real formats cannot tell.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The folder that stands for `/`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a path of the node really is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Reads a text file of the node; nothing if it does not exist.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// Replaces a file of the node in one step, as the cluster file system does.
    pub fn write(&self, path: &str, text: &str) -> io::Result<()> {
        let target = self.path(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let temporary = target.with_extension(format!("tmp.{}", std::process::id()));
        fs::write(&temporary, text)?;
        fs::rename(temporary, target)
    }

    /// Removes a file of the node, if it is there.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.path(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The configuration file of a guest on this node.
    pub fn config_path(&self, kind: GuestKind, vmid: u32) -> String {
        let folder = kind.folder();
        let own = format!("/etc/pve/nodes/{}/{folder}", self.name());
        if self.path(&own).is_dir() && !self.path(&format!("/etc/pve/{folder}/{vmid}.conf")).is_file() {
            return format!("{own}/{vmid}.conf");
        }
        format!("/etc/pve/{folder}/{vmid}.conf")
    }

    /// The configuration of a guest on this node.
    pub fn config(&self, kind: GuestKind, vmid: u32) -> Outcome<GuestConfig> {
        let Some(text) = self.read(&self.config_path(kind, vmid)) else {
            let (node, folder) = (self.name(), kind.folder());
            return Err(Failure::with_status(
                format!("Configuration file 'nodes/{node}/{folder}/{vmid}.conf' does not exist"),
                2,
            ));
        };
        Ok(GuestConfig::parse(&text))
    }

    /// Replaces the configuration of a guest.
    pub fn write_config(&self, kind: GuestKind, vmid: u32, config: &GuestConfig) -> Outcome {
        let path = self.config_path(kind, vmid);
        match self.find_guest(vmid) {
            Some((other, node)) if other != kind || node != self.name() => {
                let (own, folder) = (self.name(), kind.folder());
                let file = format!("/etc/pve/nodes/{own}/{folder}/{vmid}.conf");
                Err(Failure::new(format!("close (rename) atomic file '{file}' failed: File exists")))
            }
            _ => Ok(self.write(&path, &config.to_string())?),
        }
    }

    /// Removes the configuration of a guest.
    pub fn remove_config(&self, kind: GuestKind, vmid: u32) -> Outcome {
        Ok(self.remove(&self.config_path(kind, vmid))?)
    }

    /// Which guest has a number, anywhere in the cluster: its kind and its node.
    pub fn find_guest(&self, vmid: u32) -> Option<(GuestKind, String)> {
        for kind in [GuestKind::Vm, GuestKind::Ct] {
            if self.path(&self.config_path(kind, vmid)).is_file() {
                return Some((kind, self.name().to_owned()));
            }
        }
        for node in self.other_nodes() {
            for kind in [GuestKind::Vm, GuestKind::Ct] {
                let folder = kind.folder();
                if self.path(&format!("/etc/pve/nodes/{node}/{folder}/{vmid}.conf")).is_file() {
                    return Some((kind, node));
                }
            }
        }
        None
    }

    /// The names of the other nodes of the cluster, sorted.
    pub fn other_nodes(&self) -> Vec<String> {
        let mut nodes = names(&self.path("/etc/pve/nodes"));
        nodes.retain(|node| node != self.name());
        nodes
    }

    /// The numbers of the guests of one kind on this node, sorted.
    pub fn guests(&self, kind: GuestKind) -> Vec<u32> {
        let folder = kind.folder();
        let mut found = Vec::new();
        for place in [format!("/etc/pve/{folder}"), format!("/etc/pve/nodes/{}/{folder}", self.name())] {
            found.extend(
                names(&self.path(&place))
                    .iter()
                    .filter_map(|name| name.strip_suffix(".conf")?.parse::<u32>().ok()),
            );
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The guest's firewall file.
    pub fn firewall_path(vmid: u32) -> String {
        format!("/etc/pve/firewall/{vmid}.fw")
    }

    /// Sets when faults strike in this command's data.
    pub fn set_fault(&self, kill_after: Option<u64>, full_after: Option<u64>) {
        self.meter.kill_after.set(kill_after);
        self.meter.full_after.set(full_after);
    }

    /// Counts `bytes` of data about to be written; tells when a fault strikes or a signal has come.
    pub fn spend(&self, bytes: u64) -> io::Result<()> {
        if self.is_interrupted() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        if let Some(left) = self.meter.kill_after.get() {
            if left < bytes {
                self.meter.killed.set(true);
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.meter.kill_after.set(Some(left - bytes));
        }
        if let Some(left) = self.meter.full_after.get() {
            if left < bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.meter.full_after.set(Some(left - bytes));
        }
        Ok(())
    }

    /// Whether a fault has killed this command.
    pub fn is_killed(&self) -> bool {
        self.meter.killed.get()
    }

    /// Notes a warning that the running task prints when it gets to it.
    pub fn warn(&self, text: impl Into<String>) {
        self.meter.warned.borrow_mut().push(text.into());
    }

    /// The warnings since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.meter.warned.borrow_mut())
    }
}

/// The names in a folder, sorted; none if it does not exist.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
