//! A homelab that fits in a test: a node, an SSH server before it, guests that answer, and an operator's project.
//!
//! Everything is on loopback and below one temporary folder, and gone at drop; before that it is searched for secrets that are
//! where they do not belong.

mod addresses;
mod archived;
mod backed_up;
mod builder;
pub(crate) mod checkpoint;
mod content;
mod faults;
mod guests;
mod inventory;
mod monitoring;
mod operator;

pub use builder::{Front, LabBuilder, NODE};
pub use checkpoint::Checkpoint;
pub use content::{DISK_SIZE, seeded};
pub use faults::Fault;
pub use inventory::Inventory;
pub use monitoring::MONITORING;
pub(crate) use monitoring::trust;
pub use operator::Operator;

pub(crate) use builder::GUEST_PORT;
pub(crate) use faults::{end_processes_with, processes_with};
pub(crate) use guests::answer;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use guests::Guests;

use crate::{
    link::{Link, Way},
    monitoring::Stack,
    secrets,
    sim::{Node, shell::ShellNode},
    ssh::{Embedded, OpenSsh},
};

/// The VM of a default lab.
pub const VM: u32 = 101;
/// The container of a default lab.
pub const CT: u32 = 102;

/// The server in front of the node.
#[derive(Debug)]
pub enum Server {
    /// In this process.
    Embedded(Embedded),
    /// A real sshd.
    OpenSsh(OpenSsh),
}

/// A running homelab.
#[derive(Debug)]
pub struct Lab {
    pub(crate) shell: ShellNode,
    pub(crate) simulator: PathBuf,
    server: Option<Server>,
    guests: Option<Guests>,
    stack: Option<Stack>,
    operator: Operator,
    /// The node's address with the port of its SSH server, and the user who may log in.
    login: (std::net::SocketAddr, String),
    _folder: tempfile::TempDir,
    /// Keeps other labs off the addresses of this one.
    _addresses: std::net::TcpListener,
}

impl Lab {
    /// A default lab: PVE 8, the embedded server.
    pub fn start() -> io::Result<Self> {
        LabBuilder::new().start()
    }

    /// The node's files.
    pub fn root(&self) -> &Path {
        &self.shell.root
    }

    /// The path of one of the node's files on this machine.
    pub fn path(&self, on_node: &str) -> PathBuf {
        self.shell.root.join(on_node.trim_start_matches('/'))
    }

    /// The operator's side.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The embedded server, to cut and to count connections; `None` behind a real sshd.
    pub fn server(&self) -> Option<&Embedded> {
        match &self.server {
            Some(Server::Embedded(server)) => Some(server),
            Some(Server::OpenSsh(_)) | None => None,
        }
    }

    /// The node, for whoever looks at its state.
    pub fn node(&self) -> io::Result<Node> {
        Node::open(&self.shell.root, self.shell.version.parse().map_err(io::Error::other)?)
    }

    /// A command as the operator would type it in the project's folder: one of this workspace's programs.
    ///
    /// # Panics
    ///
    /// When the program has not been built: no test could say anything without it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program_under_test(program));
        command.env_clear().envs(self.operator.variables()).current_dir(self.operator.project());
        command
    }

    /// Runs a command on the node as its administrator would, past every SSH server.
    pub fn on_node(&self, words: &[&str]) -> io::Result<Output> {
        simulate(&self.simulator, &self.shell, words)
    }

    /// Text of one of the node's files.
    pub fn read(&self, on_node: &str) -> io::Result<String> {
        fs::read_to_string(self.path(on_node))
    }

    /// Overwrites one of the node's files.
    pub fn write(&self, on_node: &str, text: &str) -> io::Result<()> {
        fs::write(self.path(on_node), text)
    }

    /// The commands that the node was asked to run: `{time, argv, effect, exit}`, oldest first.
    pub fn journal(&self) -> io::Result<Vec<serde_json::Value>> {
        lines(&self.path("/var/log/pve-sim/journal.jsonl"))
    }

    /// The texts of the remote executions, oldest first.
    pub fn executions(&self) -> io::Result<Vec<String>> {
        let lines = lines(&self.path("/var/log/pve-sim/exec.jsonl"))?;
        Ok(lines.iter().filter_map(|line| line["exec"].as_str().map(str::to_owned)).collect())
    }

    /// How many seconds the node spent on remote executions that ended.
    pub fn execution_seconds(&self) -> io::Result<f64> {
        let lines = lines(&self.path("/var/log/pve-sim/exec.jsonl"))?;
        Ok(lines.iter().filter_map(|line| line["took"].as_f64()).sum())
    }

    /// The monitoring stack, of a lab that has one.
    pub fn stack(&self) -> Option<&Stack> {
        self.stack.as_ref()
    }

    /// Panics when a secret is in what the node was asked, or in what the operator's programs wrote or were called with.
    #[track_caller]
    pub(crate) fn assert_secrets_kept(&self) {
        let operator = [self.operator.home(), self.operator.project()].map(Path::to_owned);
        secrets::assert_kept(&[self.path("/var/log/pve-sim")]);
        secrets::assert_kept(&operator);
    }

    /// From now on nobody reaches the node by SSH.
    pub(crate) fn cut_off(&mut self) {
        self.server = None;
    }

    /// Where the node's SSH server listens, and the user who may log in.
    pub fn login(&self) -> (std::net::SocketAddr, &str) {
        (self.login.0, &self.login.1)
    }

    /// From now on the operator's way to the node is this long, as long as what is returned is kept.
    pub fn lengthen(&self, way: Way) -> io::Result<Link> {
        let server = self.login.0;
        let link = Link::start(server.ip(), server, way)?;
        self.operator.dial(self.login.0.ip(), link.address().port())?;
        Ok(link)
    }

    /// An address in the node's network that only this lab has; its last number is one from 2 to 254.
    pub fn neighbour(&self, last: u8) -> std::net::IpAddr {
        match self.login.0.ip() {
            std::net::IpAddr::V4(node) => {
                let [a, b, c, _] = node.octets();
                std::net::IpAddr::from([a, b, c, last])
            }
            node @ std::net::IpAddr::V6(_) => node,
        }
    }

    /// Where a guest answers, as `ADDRESS:PORT`.
    pub fn guest_address(&self, vmid: u32) -> Option<std::net::SocketAddr> {
        match &self.stack {
            Some(stack) if vmid == MONITORING => Some((stack.address(), GUEST_PORT).into()),
            _ => self.guests.as_ref().and_then(|guests| guests.address(vmid)),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.server.take();
        self.guests.take();
        faults::end_processes_of(&self.shell.root);
        self.assert_secrets_kept();
    }
}

/// Runs a simulated command without any shell.
pub(crate) fn simulate(simulator: &Path, node: &ShellNode, words: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(simulator);
    command.arg("--root").arg(&node.root).args(["--pve", &node.version]).arg("--").args(words);
    // By the root it is found when everything on the node is ended.
    command.env("TZ", "UTC").env("PVE_SIM_ROOT", &node.root).output()
}

/// One of the recovery programs; panics where it is not built.
pub fn program_under_test(name: &str) -> PathBuf {
    let path = program_path(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace --bins`", path.display());
    path
}

/// A program of this workspace: beside the running one, or one folder above where tests are.
pub(crate) fn program_path(name: &str) -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let folder = running.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    folder.join(name)
}

pub(crate) fn lines(path: &Path) -> io::Result<Vec<serde_json::Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // A last line without its end is being written at this moment.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::other)).collect()
}
