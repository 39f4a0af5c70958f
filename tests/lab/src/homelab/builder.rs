//! Building a homelab.

use std::{fs, io, net::SocketAddr, sync::Mutex, thread};

use super::{
    Homelab, Names,
    api::{Api, Behind},
    files::{self, About},
    install_source::InstallSource,
    minio::Watcher,
    templates,
};
use crate::{
    installed,
    lab::{LabBuilder, NODE},
    monitoring::{Fault, Options},
    s3::{Credentials, Engine, MinIo},
    terraform::{self, ENVIRONMENTS, Project, bucket},
};

/// Where MinIO serves, and where the node's API is.
const MINIO_PORT: u16 = 9000;
const API_PORT: u16 = 8006;
/// The last numbers of the addresses of MinIO, of the monitoring VM, and of the site that the server comes from.
const MINIO: u8 = 52;
const MONITORING: u8 = 50;
const SITE: u8 = 80;
/// The login of Terraform's provider.
const API_TOKEN: &str = "terraform@pve!lab=canary-api-9d31f0aa52";

/// What a homelab is to be like.
#[derive(Clone, Debug)]
pub struct HomelabBuilder {
    lab: LabBuilder,
    engine: Engine,
    stack: Option<&'static str>,
}

impl Default for HomelabBuilder {
    fn default() -> Self {
        let lab = LabBuilder::new().small().backups(&[]);
        Self { lab, engine: Engine::Embedded, stack: Some("monitoring") }
    }
}

impl HomelabBuilder {
    /// The lab below it: version of Proxmox VE, SSH server, more storages. By default it is small, without backups.
    #[must_use]
    pub fn lab(mut self, change: impl FnOnce(LabBuilder) -> LabBuilder) -> Self {
        self.lab = change(self.lab);
        self
    }

    /// Which server answers for MinIO.
    #[must_use]
    pub fn minio(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// The name of the module call of the monitoring stack; `None` for a project without one.
    #[must_use]
    pub fn monitoring_call(mut self, name: Option<&'static str>) -> Self {
        self.stack = name;
        self
    }

    /// The monitoring VM answers as one does that runs the stack, once it does.
    #[must_use]
    pub fn monitoring(self, faults: &[Fault]) -> Self {
        let (password, faults) = (terraform::CANARY.to_owned(), faults.to_vec());
        self.lab(|lab| lab.monitoring(Options { password, faults, vm: false, ..Options::default() }))
    }

    /// Starts it; `None` where Terraform, its provider or MinIO is not there, which is said. In CI that is an error.
    pub fn start(self) -> io::Result<Option<Homelab>> {
        if !self.has_programs()? {
            return Ok(None);
        }
        let homelab = self.lay_out()?;
        homelab.apply_everything()?;
        Ok(Some(homelab))
    }

    fn has_programs(&self) -> io::Result<bool> {
        let missing = if installed::find(files::PROVIDER).is_none() {
            "the lab's Terraform provider"
        } else if self.engine == Engine::MinIo && MinIo::find().is_none() {
            "MinIO"
        } else {
            return terraform::is_installed();
        };
        let words = format!("{missing} is not there: `cargo xtask servers` builds it");
        if std::env::var_os("CI").is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, words));
        }
        eprintln!("SKIPPED: {words}");
        Ok(false)
    }

    fn lay_out(&self) -> io::Result<Homelab> {
        let lab = self.lab.clone().start()?;
        templates::write(&lab.node()?)?;
        let (login, user) = lab.login();
        let names = Names {
            node_name: NODE.to_owned(),
            node: login.ip(),
            minio: lab.neighbour(MINIO),
            monitoring: lab.neighbour(MONITORING),
            user: user.to_owned(),
            ssh_port: login.port(),
            private_key: lab.operator().home().join(".ssh/id_ed25519"),
            api_token: API_TOKEN.to_owned(),
        };
        let behind =
            Behind { simulator: lab.simulator.clone(), node: lab.shell.clone(), token: API_TOKEN.to_owned() };
        let api = Api::start(SocketAddr::new(names.node, API_PORT), behind)?;
        let source = InstallSource::start(lab.neighbour(SITE))?;
        let address = SocketAddr::new(names.minio, MINIO_PORT);
        let credentials = Credentials::default();
        let project =
            Project::lay_out(lab.operator().project(), &format!("http://{address}"), &credentials, None)?;
        let url = source.url();
        let about = About {
            names: &names,
            stack: self.stack,
            credentials: &credentials,
            port: MINIO_PORT,
            install_source: &url,
        };
        files::write(project.root(), &about)?;
        files::install_provider(lab.operator().home())?;
        let version = lab.shell.version.parse().map_err(io::Error::other)?;
        let watcher = Watcher::start(lab.root().to_owned(), version, self.engine, address);
        Ok(Homelab {
            watcher,
            api: Some(api),
            squatter: Mutex::default(),
            source,
            project,
            names,
            credentials,
            stack: self.stack.map(str::to_owned),
            lab,
        })
    }
}

impl Homelab {
    /// As an operator begins: MinIO is made with its own state in a file, and the state moves in when it serves.
    fn apply_everything(&self) -> io::Result<()> {
        let project = &self.project;
        project.comment_out_backend("monitoring")?;
        project.init("monitoring")?;
        project.apply("monitoring")?;
        self.wait_for_minio(true)?;
        let client = self.minio_client()?;
        ENVIRONMENTS.iter().try_for_each(|name| client.create_bucket(&bucket(name), true))?;
        project.activate_backend("monitoring")?;
        project.run("monitoring", &["init", "-input=false", "-no-color", "-migrate-state", "-force-copy"])?;
        // The copy that Terraform leaves behind is no file of a project that is in order.
        for left in ["terraform.tfstate", "terraform.tfstate.backup"] {
            match fs::remove_file(project.environment("monitoring").join(left)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        thread::scope(|scope| {
            let begin = |name| scope.spawn(move || project.init(name).and_then(|()| project.apply(name)));
            let panicked = |_| io::Error::other("a thread panicked");
            ["prod", "lab"].map(begin).into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
        })
    }
}
