//! `/etc/pve-sim.json`: facts about a node that files in real formats cannot tell.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Every field may be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// The node's name.
    pub node: String,
    /// Its processors.
    pub cpus: u32,
    /// Its memory in bytes.
    pub memory: u64,
    /// Whether the cluster has quorum.
    pub quorum: bool,
    /// File locks held by another process, such as `/var/lock/qemu-server/lock-100.conf`.
    pub held_locks: Vec<String>,
    /// How long commands wait for a lock instead of the real node's 1, 5 or 10 seconds.
    pub lock_wait_ms: Option<u64>,
    /// How long a restore waits for the header of an archive.
    pub header_timeout_ms: u64,
    /// How long a guest takes to shut down, and what `--timeout` counts, is divided by this.
    pub time_divisor: u64,
    /// How many hours the node's clock is ahead of UTC.
    pub hours_ahead: i8,
    /// How late the HA service notices that its resources were changed; at once when 0.
    pub ha_lag_ms: u64,
    /// How long `/cluster/resources` goes on telling what a guest's state was before it changed.
    pub broadcast_ms: u64,
    /// Storages by ID: how large they are.
    pub storages: BTreeMap<String, Capacity>,
    /// Guests by number: how they behave when started.
    pub guests: BTreeMap<u32, Behaviour>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "pve".into(),
            cpus: 4,
            memory: 16 << 30,
            quorum: true,
            held_locks: Vec::new(),
            lock_wait_ms: None,
            header_timeout_ms: 60_000,
            time_divisor: 1,
            hours_ahead: 0,
            ha_lag_ms: 0,
            broadcast_ms: 10_000,
            storages: BTreeMap::new(),
            guests: BTreeMap::new(),
        }
    }
}

/// How large a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Capacity {
    /// Bytes.
    pub total: u64,
    /// Bytes taken by something that is not below the node's root.
    pub reserved: u64,
    /// Whether the storage answers.
    pub online: bool,
    /// For thin pools: how much of the metadata is in use.
    pub metadata_percent: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { total: 100 << 30, reserved: 0, online: true, metadata_percent: 1 }
    }
}

/// How a guest behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Behaviour {
    /// It starts but never gets as far as its agent.
    pub never_boots: bool,
    /// The hypervisor fails to start it.
    pub start_fails: bool,
    /// It does not react to a shutdown.
    pub ignores_shutdown: bool,
    /// How long it takes from start to a working agent.
    pub boot_ms: u64,
}

impl Settings {
    /// The file, below a node's root.
    pub const FILE: &str = "etc/pve-sim.json";

    /// Seconds that the node's clock is ahead of UTC.
    pub fn seconds_ahead(&self) -> i64 {
        i64::from(self.hours_ahead) * 3600
    }

    /// Reads the settings below `root`; defaults when there is no file.
    pub fn read(root: &Path) -> io::Result<Self> {
        let path = root.join(Self::FILE);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Writes the settings below `root`.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        let path = root.join(Self::FILE);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, serde_json::to_vec_pretty(self)?)
    }
}
