//! What a node says about itself: version, quorum, clock, storages, bridges.

use std::collections::BTreeSet;

use jiff::tz::{Offset, TimeZone};
use serde::{Deserialize, Serialize};

use super::{GuestKind, NodeName, PveError, StorageId, Vmid, archive, json};
use crate::remote::{Command, Host, Output};

/// A storage, as the node sees it now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Storage {
    /// Its name.
    #[serde(rename = "storage")]
    pub id: StorageId,
    /// Plugin type: `dir`, `nfs`, `lvmthin`, `pbs`, …
    #[serde(rename = "type")]
    pub plugin: String,
    #[serde(default)]
    content: String,
    /// Switched on in the configuration, for this node.
    #[serde(default, deserialize_with = "json::flag")]
    pub enabled: bool,
    /// Reachable now.
    #[serde(default, deserialize_with = "json::flag")]
    pub active: bool,
    /// The same content on every node of the cluster.
    #[serde(default, deserialize_with = "json::flag")]
    pub shared: bool,
    #[serde(default, deserialize_with = "json::number")]
    avail: Option<i64>,
    #[serde(default, deserialize_with = "json::number")]
    total: Option<i64>,
}

impl Storage {
    /// Whether it may hold content of this type (`images`, `rootdir`, `backup`).
    pub fn allows(&self, content: &str) -> bool {
        self.content.split(',').any(|word| word == content)
    }

    /// Free bytes; `None` while it is not active.
    pub fn available(&self) -> Option<u64> {
        self.active.then(|| self.avail.and_then(|n| u64::try_from(n).ok())).flatten()
    }

    /// All bytes.
    pub fn total(&self) -> Option<u64> {
        self.total.and_then(|n| u64::try_from(n).ok())
    }

    /// Whether it is a Proxmox Backup Server, whose snapshots are no files on the node.
    pub fn is_backup_server(&self) -> bool {
        self.plugin == "pbs"
    }

    /// Lists the backups on it.
    pub fn list_backups(&self) -> Command {
        archive::list_archives(&self.id)
    }
}

/// A thin pool of LVM. It fills up in two ways: with data, and with the metadata that says where the data is.
///
/// What `pvesh` gives for it is not among the facts that this project was built from; where the answer is another one,
/// nothing is known about the pools.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ThinPool {
    /// Its volume group.
    pub vg: String,
    /// Its name there.
    pub lv: String,
    #[serde(default, deserialize_with = "json::number")]
    metadata_size: Option<i64>,
    #[serde(default, deserialize_with = "json::number")]
    metadata_used: Option<i64>,
}

impl ThinPool {
    /// How much of its metadata is in use, in percent.
    pub fn metadata_percent(&self) -> Option<u64> {
        let size = self.metadata_size.filter(|size| *size > 0)?;
        u64::try_from(self.metadata_used?.saturating_mul(100) / size).ok()
    }
}

/// How a storage is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct StorageConfig {
    storage: StorageId,
    #[serde(rename = "type", default)]
    plugin: String,
    path: Option<String>,
    #[serde(rename = "content-dirs")]
    content_dirs: Option<String>,
    vgname: Option<String>,
    thinpool: Option<String>,
    /// The nodes that may use it; all of them without any.
    nodes: Option<String>,
}

impl StorageConfig {
    fn is_for(&self, node: &str) -> bool {
        self.nodes.as_deref().is_none_or(|nodes| nodes.split(',').any(|name| name.trim() == node))
    }

    /// The folder of its backups, where they are files.
    fn backup_folder(&self) -> Option<String> {
        let mounted = || format!("/mnt/pve/{}", self.storage);
        let path = match (&self.path, self.plugin.as_str()) {
            (Some(path), "dir" | "nfs" | "cifs" | "cephfs" | "btrfs") => path.clone(),
            (None, "nfs" | "cifs" | "cephfs") => mounted(),
            _ => return None,
        };
        let named = |entry: &str| entry.trim().strip_prefix("backup=").map(str::to_owned);
        let below = self.content_dirs.as_deref().and_then(|dirs| dirs.split(',').find_map(named));
        let below = below.unwrap_or_else(|| "dump".to_owned());
        Some(format!("{}/{}", path.trim_end_matches('/'), below.trim_matches('/')))
    }
}

/// A network bridge of the node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bridge {
    /// Its name: `vmbr0`.
    pub iface: String,
}

/// A guest that the high-availability manager looks after.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HaResource {
    /// `vm:100` or `ct:200`.
    pub sid: String,
    state: Option<String>,
}

impl HaResource {
    /// Asks for all of them.
    pub fn ask() -> Command {
        json::get("/cluster/ha/resources", &[])
    }

    /// Reads the answer to [`HaResource::ask`].
    pub fn read(host: &dyn Host, command: &Command, output: &Output) -> Result<Vec<Self>, PveError> {
        json::parse(host, command, output)
    }

    /// The state that it is to be kept in.
    pub fn requested(&self) -> &str {
        match self.state.as_deref() {
            // The old word.
            None | Some("enabled") => "started",
            Some(state) => state,
        }
    }
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

/// A cluster, by what each of its nodes says alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its name. Nothing keeps two clusters from having the same one.
    pub name: String,
    /// The names of all its nodes.
    pub nodes: BTreeSet<String>,
}

impl Cluster {
    fn of(status: &[StatusEntry]) -> Option<Self> {
        let name = status.iter().find(|entry| entry.kind == "cluster")?.name.clone();
        let nodes = status.iter().filter(|entry| entry.kind == "node");
        Some(Self { name, nodes: nodes.map(|entry| entry.name.clone()).collect() })
    }
}

#[derive(Deserialize)]
struct StatusEntry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default, deserialize_with = "json::flag")]
    local: bool,
    #[serde(default, deserialize_with = "json::flag")]
    quorate: bool,
}

#[derive(Deserialize)]
struct Clock {
    #[serde(deserialize_with = "json::number")]
    time: Option<i64>,
    #[serde(deserialize_with = "json::number")]
    localtime: Option<i64>,
    #[serde(default)]
    timezone: String,
}

#[derive(Deserialize)]
struct Status {
    memory: Memory,
}

#[derive(Deserialize)]
struct Memory {
    #[serde(default, deserialize_with = "json::number")]
    total: Option<i64>,
    #[serde(default, deserialize_with = "json::number")]
    used: Option<i64>,
}

/// Where a node's clock is asked.
const TIME: &str = "/nodes/localhost/time";

/// A node as it is when the program starts to look.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Version of Proxmox VE: `8.4.21`.
    pub version: String,
    /// The cluster that it is in; `None` for a node that stands alone.
    pub cluster: Option<Cluster>,
    /// Whether the cluster can decide; true on a node that stands alone.
    pub quorate: bool,
    /// Seconds since 1970 on the node's clock, UTC.
    pub time: i64,
    /// Seconds that the node's local time is ahead of UTC.
    pub utc_offset: i32,
    /// The time zone of its clock. One that is not known here has the present offset all year.
    pub zone: TimeZone,
    /// Every storage that this node may use, in order of their names.
    pub storages: Vec<Storage>,
    /// The bridges that guests can be attached to.
    pub bridges: Vec<Bridge>,
    /// Guests under high availability.
    pub ha: Vec<HaResource>,
    /// The thin pools behind storages, where the node tells about them.
    pub thin_pools: Vec<(StorageId, ThinPool)>,
    /// Where storages keep their backups as files: absolute folders.
    pub backup_folders: Vec<(StorageId, String)>,
}

impl NodeFacts {
    /// The questions whose answers make these facts; they go together in one execution.
    pub fn questions() -> Vec<Command> {
        vec![
            json::get("/version", &[]),
            json::get("/cluster/status", &[]),
            Self::ask_time(),
            json::get("/nodes/localhost/storage", &[]),
            json::get("/nodes/localhost/network", &[("type", "any_bridge")]),
            HaResource::ask(),
            json::get("/storage", &[]),
            json::get("/nodes/localhost/disks/lvmthin", &[]),
        ]
    }

    /// What time is it there?
    pub fn ask_time() -> Command {
        json::get(TIME, &[])
    }

    /// Reads the answer to [`NodeFacts::ask_time`]: seconds since 1970, UTC.
    pub fn read_time(host: &dyn Host, question: &Command, answer: &Output) -> Result<i64, PveError> {
        let clock: Clock = json::parse(host, question, answer)?;
        clock.time.ok_or_else(|| unreadable(host, TIME, &"no time in it"))
    }

    /// How much memory is in use there?
    pub fn ask_memory() -> Command {
        json::get("/nodes/localhost/status", &[])
    }

    /// Reads the answer to [`NodeFacts::ask_memory`]: bytes that are not in use. Caches are not counted as used.
    pub fn read_memory(
        host: &dyn Host,
        question: &Command,
        answer: &Output,
    ) -> Result<Option<u64>, PveError> {
        let Memory { total, used } = json::parse::<Status>(host, question, answer)?.memory;
        Ok(total.zip(used).and_then(|(total, used)| u64::try_from(total.saturating_sub(used)).ok()))
    }

    /// Reads the answers to [`NodeFacts::questions`].
    pub fn read(host: &dyn Host, questions: &[Command], answers: &[Output]) -> Result<Self, PveError> {
        let [version, status, time, storages, bridges, ha, configs, pools] = answers else {
            return Err(unreadable(host, "the look at the node", &"not every question was answered"));
        };
        let version: Version = json::parse(host, &questions[0], version)?;
        let status: Vec<StatusEntry> = json::parse(host, &questions[1], status)?;
        let clock: Clock = json::parse(host, &questions[2], time)?;
        let mut storages: Vec<Storage> = json::parse(host, &questions[3], storages)?;
        storages.sort_by(|a, b| a.id.cmp(&b.id));
        let local = status.iter().find(|e| e.kind == "node" && e.local);
        let local = local
            .ok_or_else(|| unreadable(host, "/cluster/status", &"no node says that it is the local one"))?;
        let (Some(time), Some(localtime)) = (clock.time, clock.localtime) else {
            return Err(unreadable(host, TIME, &"no time in it"));
        };
        let configs: Vec<StorageConfig> = json::parse(host, &questions[6], configs)?;
        // A node lists what is only for others as disabled.
        let is_elsewhere = |id: &StorageId| {
            configs.iter().any(|config| config.storage == *id && !config.is_for(&local.name))
        };
        storages.retain(|storage| !is_elsewhere(&storage.id));
        let utc_offset =
            i32::try_from(localtime.saturating_sub(time)).map_err(|e| unreadable(host, TIME, &e))?;
        Ok(Self {
            name: local.name.parse().map_err(|e| unreadable(host, "/cluster/status", &e))?,
            version: version.version,
            cluster: Cluster::of(&status),
            quorate: status.iter().find(|e| e.kind == "cluster").is_none_or(|e| e.quorate),
            time,
            utc_offset,
            zone: zone(&clock.timezone, utc_offset),
            storages,
            bridges: json::parse(host, &questions[4], bridges)?,
            ha: HaResource::read(host, &questions[5], ha)?,
            backup_folders: configs
                .iter()
                .filter_map(|config| Some((config.storage.clone(), config.backup_folder()?)))
                .collect(),
            thin_pools: thin_pools(
                &configs,
                // Nodes without LVM may know nothing of thin pools.
                &json::parse::<Vec<ThinPool>>(host, &questions[7], pools).unwrap_or_default(),
            ),
        })
    }

    /// A storage by name.
    pub fn storage(&self, id: &str) -> Option<&Storage> {
        self.storages.iter().find(|s| s.id.as_str() == id)
    }
}

fn zone(name: &str, utc_offset: i32) -> TimeZone {
    let fixed = || TimeZone::fixed(Offset::from_seconds(utc_offset).unwrap_or(Offset::UTC));
    TimeZone::get(name).unwrap_or_else(|_| fixed())
}

fn thin_pools(configs: &[StorageConfig], pools: &[ThinPool]) -> Vec<(StorageId, ThinPool)> {
    let behind = |config: &StorageConfig| {
        let is_it = |pool: &&ThinPool| {
            config.vgname.as_ref() == Some(&pool.vg) && config.thinpool.as_ref() == Some(&pool.lv)
        };
        Some((config.storage.clone(), pools.iter().find(is_it)?.clone()))
    };
    configs.iter().filter_map(behind).collect()
}

fn unreadable(host: &dyn Host, command: &str, reason: &dyn std::fmt::Display) -> PveError {
    PveError::Unreadable {
        host: host.name().to_owned(),
        command: command.to_owned(),
        reason: reason.to_string(),
    }
}

/// A task of the node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Task {
    /// Its unique id.
    pub upid: String,
    /// `vzdump`, `qmrestore`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Seconds since 1970, UTC.
    #[serde(default, deserialize_with = "json::number")]
    pub starttime: Option<i64>,
    /// `root@pam`.
    #[serde(default)]
    pub user: String,
    #[serde(default)]
    id: String,
    #[serde(default, deserialize_with = "json::number")]
    endtime: Option<i64>,
}

impl Task {
    /// Asks for the running tasks of the node. A backup job of several guests has no guest's number, so it is asked for
    /// all of them.
    pub fn running() -> Command {
        json::get("/nodes/localhost/tasks", &[("source", "active")])
    }

    /// Whether it may be at work on the guest.
    pub fn concerns(&self, vmid: Vmid) -> bool {
        let is_job = self.kind == "vzdump" && self.id.is_empty();
        self.endtime.is_none() && (is_job || self.id == vmid.to_string())
    }
}

/// Reads the answer to [`Task::running`].
pub fn tasks_in(host: &dyn Host, command: &Command, output: &Output) -> Result<Vec<Task>, PveError> {
    json::parse(host, command, output)
}

/// Reads `status: running` of `qm status` or `pct status`; the word after the colon.
pub fn running_state(host: &dyn Host, command: &Command, output: &Output) -> Result<String, PveError> {
    let text = output.stdout_of(host, command)?;
    let word = text.trim().strip_prefix("status:").map(|w| w.trim().to_owned());
    word.ok_or_else(|| {
        unreadable(host, &command.to_string(), &format!("`{}` is no status line", text.trim()))
    })
}

impl GuestKind {
    /// Asks whether a guest runs.
    pub fn status_command(self, vmid: Vmid) -> Command {
        Command::read(self.tool()).args(["status", &vmid.to_string()])
    }
}
