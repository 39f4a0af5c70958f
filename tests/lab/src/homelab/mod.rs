//! A homelab as Terraform made it: the states of its environments are in a MinIO that runs in a container of the node,
//! and that container is itself part of such a state. Beside it, a VM with the monitoring stack.

mod api;
mod breaking;
mod builder;
mod files;
mod install_source;
mod minio;
mod scenario;
mod templates;

pub use builder::HomelabBuilder;
pub use install_source::InstallSource;
pub use scenario::Scenario;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::{
    lab::{Checkpoint, Lab, checkpoint::copy, end_processes_with},
    s3::{Client, Credentials},
    sim::GuestKind,
    terraform::{Project, bucket},
};

/// How long the S3 server may take until it answers, or does not.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at whether it does.
const PAUSE: Duration = Duration::from_millis(20);
/// The name of a state in its bucket.
const KEY: &str = "terraform.tfstate";

/// The addresses and the logins of a homelab.
#[derive(Clone, Debug)]
pub struct Names {
    /// The node's name.
    pub node_name: String,
    /// Its address.
    pub node: IpAddr,
    /// That of the container with MinIO.
    pub minio: IpAddr,
    /// That of the VM with the monitoring stack.
    pub monitoring: IpAddr,
    /// Who may log in to the node by SSH.
    user: String,
    ssh_port: u16,
    private_key: PathBuf,
    /// `USER@REALM!NAME=SECRET`.
    api_token: String,
}

/// A homelab's node and project as they were.
#[derive(Debug)]
pub struct HomelabCheckpoint {
    node: Checkpoint,
    project: tempfile::TempDir,
}

/// A lab whose monitoring environment Terraform made. What a [`Lab`] has, it has as well.
#[derive(Debug)]
pub struct Homelab {
    // In this order they end: the server before the files that it works on.
    watcher: minio::Watcher,
    api: Option<api::Api>,
    /// What has MinIO's port in its place.
    squatter: Mutex<Option<breaking::Squatter>>,
    source: InstallSource,
    project: Project,
    names: Names,
    credentials: Credentials,
    stack: Option<String>,
    lab: Lab,
}

impl Deref for Homelab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for Homelab {
    fn drop(&mut self) {
        self.end_operators_processes();
    }
}

impl Homelab {
    /// What a homelab is to be like.
    pub fn builder() -> HomelabBuilder {
        HomelabBuilder::default()
    }

    /// The operator's Terraform project.
    pub fn terraform(&self) -> &Project {
        &self.project
    }

    /// Addresses and logins.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The site that the server is downloaded from.
    pub fn install_source(&self) -> &InstallSource {
        &self.source
    }

    /// The address of the module of the monitoring stack: `module.monitoring`.
    pub fn stack_address(&self) -> Option<String> {
        self.stack.as_ref().map(|call| format!("module.{call}"))
    }

    /// Where MinIO answers.
    pub fn minio_address(&self) -> SocketAddr {
        self.watcher.shared.address
    }

    /// Where MinIO answers, as clients want it.
    pub fn minio_endpoint(&self) -> String {
        format!("http://{}", self.minio_address())
    }

    /// What the operator's files say about MinIO's user.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A client that is logged in, whether or not anybody answers.
    pub fn minio_client(&self) -> io::Result<Client> {
        Client::new(&self.minio_endpoint(), self.credentials.clone(), None)
    }

    /// The number of the container with MinIO's address.
    pub fn minio_vmid(&self) -> Option<u32> {
        minio::container_at(&self.lab.node().ok()?, self.names.minio)
    }

    /// The number of the VM with the monitoring stack.
    pub fn monitoring_vmid(&self) -> Option<u32> {
        let node = self.lab.node().ok()?;
        let wanted = format!("ip={}/", self.names.monitoring);
        node.guests(GuestKind::Vm).into_iter().find(|vmid| {
            let config = node.config(GuestKind::Vm, *vmid).ok();
            config
                .is_some_and(|config| config.main.get("ipconfig0").is_some_and(|ip| ip.starts_with(&wanted)))
        })
    }

    /// A program of this workspace, as the operator would type it: with the login for the states in the environment.
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.lab.command(program);
        command.envs(self.project.variables());
        command
    }

    /// The versions of an environment's state, the newest first.
    pub fn state_versions(&self, environment: &str) -> io::Result<Vec<crate::s3::Version>> {
        self.minio_client()?.versions(&bucket(environment), KEY)
    }

    /// An environment's state as it is in its bucket.
    pub fn state(&self, environment: &str) -> io::Result<serde_json::Value> {
        let text = self.minio_client()?.get(&bucket(environment), KEY, None)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Remembers the node and the project as they are. Nothing must be at work on them.
    pub fn checkpoint(&self) -> io::Result<HomelabCheckpoint> {
        let _paused = self.watcher.shared.pause();
        let project = tempfile::Builder::new().prefix("restore-homelab-checkpoint-").tempdir()?;
        copy(self.project.root(), &project.path().join("project"))?;
        Ok(HomelabCheckpoint { node: self.lab.checkpoint()?, project })
    }

    /// Puts both back, as [`Lab::go_back`] does. The install source and the port are as they were at the beginning, and
    /// what the operator's programs left running, such as a Terraform, is ended.
    pub fn go_back(&self, to: &HomelabCheckpoint) -> io::Result<()> {
        self.end_operators_processes();
        self.leave_minio_port();
        self.source.begin_anew();
        let _paused = self.watcher.shared.pause();
        self.lab.go_back(&to.node)?;
        std::fs::remove_dir_all(self.project.root())?;
        copy(&to.project.path().join("project"), self.project.root())
    }

    fn end_operators_processes(&self) {
        end_processes_with(&format!("HOME={}", self.operator().home().display()));
    }

    /// Waits until MinIO answers a login, or until it does not.
    pub fn wait_for_minio(&self, wanted: bool) -> io::Result<()> {
        let client = self.minio_client()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answers = client.send("GET", "/", &[], &[], &[]).is_ok_and(|answer| answer.status == 200);
            if answers == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                let word = if wanted { "does not answer" } else { "still answers" };
                return Err(io::Error::other(format!("MinIO {word} at {}", self.minio_address())));
            }
            std::thread::sleep(PAUSE);
        }
    }
}
