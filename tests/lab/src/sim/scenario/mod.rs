//! Scenarios: a node before, a command, and the node after, as seen on real programs.
//!
//! [`Scenario::check`] lays the node out in a temporary folder, runs the command on the simulator and tells every
//! disagreement.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{Io, Node, Settings};

mod archive;
mod compare;
mod given;
mod observe;

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
pub struct Scenario {
    /// `GROUP/what (PVE VERSION)`
    pub name: String,
    /// 8 or 9.
    pub pve: u8,
    /// The number in front of the name.
    pub group: u32,
    given: Given,
    run: Vec<String>,
    then: Then,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Given {
    storages: Vec<StorageGiven>,
    guests: BTreeMap<String, GuestGiven>,
    archives: BTreeMap<String, ArchiveGiven>,
    volumes: BTreeMap<String, VolumeState>,
    firewall: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
    node: NodeGiven,
    note: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct NodeGiven {
    name: Option<String>,
    cpus: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
struct StorageGiven {
    id: String,
    path: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    content: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    shared: bool,
    prune: Option<String>,
    total: Option<u64>,
    free: Option<u64>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Deserialize)]
struct GuestGiven {
    #[serde(rename = "type")]
    kind: String,
    config: String,
    #[serde(default)]
    volumes: BTreeMap<String, VolumeState>,
    status: Option<String>,
    node: Option<String>,
}

/// A volume before or after.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct VolumeState {
    size: u64,
    #[serde(default)]
    sha256: String,
    #[serde(rename = "virtual-size")]
    virtual_size: Option<u64>,
    #[serde(rename = "content-sha256")]
    content_sha256: Option<String>,
    files: Option<BTreeMap<String, Option<FileState>>>,
}

/// A file in a container volume or archive; folders have no size.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct FileState {
    size: Option<u64>,
    sha256: Option<String>,
    uid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
struct ArchiveGiven {
    kind: String,
    config: Option<String>,
    firewall: Option<String>,
    #[serde(default)]
    disks: serde_json::Map<String, Value>,
    #[serde(default)]
    files: serde_json::Map<String, Value>,
    #[serde(default)]
    file: Value,
    defect: Option<String>,
    notes: Option<String>,
    #[serde(default)]
    protected: bool,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Then {
    exit: i32,
    stdout: String,
    stderr: String,
    guests: BTreeMap<String, Option<GuestGiven>>,
    volumes: BTreeMap<String, VolumeState>,
    firewall: BTreeMap<String, String>,
    tasks: Option<Vec<TaskState>>,
    archives: Option<BTreeMap<String, Value>>,
    files: Option<BTreeMap<String, String>>,
    may_vary: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct TaskState {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    result: String,
}

/// What a command printed and ended with.
struct Ran {
    exit: i32,
    stdout: String,
    stderr: String,
}

/// Reads a file of scenarios: JSON, compressed with zstd if its name ends so.
pub fn load(path: &Path) -> io::Result<Vec<Scenario>> {
    let mut text = Vec::new();
    let file = fs::File::open(path)?;
    if path.extension().is_some_and(|end| end == "zst") {
        zstd::stream::read::Decoder::new(file)?.read_to_end(&mut text)?;
    } else {
        io::BufReader::new(file).read_to_end(&mut text)?;
    }
    Ok(serde_json::from_slice(&text)?)
}

impl Scenario {
    /// The program that the scenario runs.
    pub fn program(&self) -> &str {
        self.run.first().map_or("", String::as_str)
    }

    /// Runs the scenario on the simulator. Gives every disagreement, none if all is well.
    pub fn check(&self) -> io::Result<Vec<String>> {
        let root = tempfile::tempdir()?;
        let claims = given::lay_out(self, root.path())?;
        let node = Node::open(root.path(), self.pve)?;
        let known_tasks = observe::task_logs(&node);
        let ran = run(&node, &self.run);
        // Settings may be changed by the command: look at the node anew.
        let node = Node::open(root.path(), self.pve)?;
        Ok(compare::disagreements(self, &node, &claims, &known_tasks, &ran))
    }
}

fn run(node: &Node, argv: &[String]) -> Ran {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut io = Io { stdin: &mut io::empty(), stdout: &mut stdout, stderr: &mut stderr };
    let exit = super::run(node, argv, &mut io);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { exit, stdout: text(stdout), stderr: text(stderr) }
}

/// The settings of a node that does not waste a test's time.
fn impatient() -> Settings {
    Settings { header_timeout_ms: 200, lock_wait_ms: Some(50), time_divisor: 1000, ..Settings::default() }
}
