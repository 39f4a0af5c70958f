//! Where the services of a stack are.

use std::path::{Path, PathBuf};

use crate::{
    cli::Common,
    homelab::{Environment, HomelabError, MONITORING_VM, Project},
    probe::{HttpUrl, Login, Manner},
    remote::{HostError, SshEnv, SshHost, SshTarget},
};

/// Answers may be this long: each target of Prometheus takes about a KiB.
const MOST: u64 = 64 << 20;

/// The user that Grafana begins with.
const GRAFANA_USER: &str = "admin";

/// A service that answers by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `http://192.168.1.51:9090`, without a slash at its end.
    base: String,
}

impl Service {
    /// The service at this URL.
    pub fn new(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned() }
    }

    /// One of its paths.
    pub(super) fn at(&self, path: &str) -> Result<HttpUrl, &'static str> {
        HttpUrl::parse(&format!("{}{path}", self.base))
    }
}

/// The monitoring stack of a project.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Where it is.
    pub address: String,
    /// How its guest is reached.
    pub guest: SshTarget,
    /// Where things lie on the operator's machine.
    pub ssh: SshEnv,
    /// Prometheus.
    pub prometheus: Service,
    /// Alertmanager.
    pub alertmanager: Service,
    /// Grafana.
    pub grafana: Service,
    /// Who asks Grafana; without a password only its health is told.
    pub login: Option<Login>,
    /// Any certificate will do.
    insecure: bool,
    /// Certificates to trust.
    authority: Option<PathBuf>,
}

impl Stack {
    /// The stack that an environment declares, as `restore.toml` says and the options. `known` is its address where
    /// neither file tells.
    pub fn of(
        common: &Common,
        project: &Project,
        environment: &Environment,
        known: Option<&str>,
    ) -> Result<Self, HomelabError> {
        let (over, declared) = (project.monitoring(), environment.monitoring());
        let declared_address = declared.and_then(|stack| stack.address.clone());
        let address = over.address.clone().or(declared_address).or_else(|| known.map(str::to_owned));
        let address = address.ok_or_else(|| {
            let instead = "`address` under `[monitoring]` in `restore.toml`";
            environment.absent("where the monitoring stack is", &["monitoring.vm.ip"], instead)
        })?;
        let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        let service = |named: &Option<String>, port: u16| {
            Service::new(named.as_deref().unwrap_or(&format!("http://{host}:{port}")))
        };
        let password = declared.and_then(|stack| stack.grafana_password.clone());
        let user = over.grafana_user.clone().unwrap_or_else(|| GRAFANA_USER.to_owned());
        Ok(Self {
            guest: SshTarget {
                label: format!("{MONITORING_VM} ({address})"),
                address: address.clone(),
                port: project.monitoring_ssh_port(),
                user: over.ssh_user.clone(),
                identity: common.identity.clone(),
                known_hosts: common.known_hosts.clone(),
                accept_new_host_key: common.accept_new_host_key,
            },
            ssh: SshEnv::from_process(),
            prometheus: service(&over.prometheus, 9090),
            alertmanager: service(&over.alertmanager, 9093),
            grafana: service(&over.grafana, 3000),
            login: password.map(|password| Login { user, password }),
            insecure: over.insecure,
            authority: over.ca.as_ref().map(|path| project.root().join(path)),
            address,
        })
    }

    /// The same with a guest that was made a moment ago: nobody knows its host key yet. What it shows is noted in `folder`
    /// only.
    #[must_use]
    pub fn with_new_guest(mut self, folder: &Path) -> Self {
        self.guest.known_hosts = Some(folder.join("known_hosts"));
        self.guest.accept_new_host_key = true;
        folder.clone_into(&mut self.ssh.state);
        self
    }

    /// Connects to its guest.
    pub(super) fn connect(&self) -> Result<SshHost, HostError> {
        SshHost::connect(&self.guest, &self.ssh)
    }

    pub(super) fn manner(&self, login: Option<&Login>) -> Manner {
        Manner {
            insecure: self.insecure,
            authority: self.authority.clone(),
            login: login.cloned(),
            most: MOST,
        }
    }
}
