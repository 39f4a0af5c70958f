//! What the project says: which environment has the S3 server, where it is, and whose states are in it.

use std::env;

use restore_common::{
    homelab::{Environment, Minio, ModuleCall, Project},
    procedure::Problem,
    s3::{Credentials, Endpoint, Server},
    terraform::find_call,
    ui::sanitize,
};
use restore_tfstate::site::Site;

use crate::args::Cli;

/// The last path component of the source of the module that makes the container.
const MODULE: &str = "minio";

/// What the project says.
pub struct Scene {
    /// The project.
    pub project: Project,
    /// All environments.
    pub environments: Vec<Environment>,
    /// The one that has the S3 server.
    pub environment: Environment,
    /// What it says about it.
    pub minio: Minio,
    /// The server.
    pub server: Server,
    /// The states that are kept in it.
    pub sites: Vec<Site>,
    /// Environments whose states are elsewhere, and why.
    pub left_out: Vec<String>,
}

/// A part that may be refused.
pub type Or<T> = Result<T, Vec<Problem>>;

impl Scene {
    /// Reads the project.
    pub fn find(cli: &Cli) -> anyhow::Result<Or<Self>> {
        let common = &cli.common;
        let variable = |name: &str| env::var_os(name);
        let project = Project::find(common.project.as_deref(), &variable, &env::current_dir()?)?;
        let environments = project.selected(None)?;
        let (environment, minio) = match choose(&environments, common.env.as_deref()) {
            Ok((environment, minio)) => (environment.clone(), minio.clone()),
            Err(problem) => return Ok(Err(vec![problem])),
        };
        let (mut sites, mut left_out) = (Vec::new(), Vec::new());
        for other in &environments {
            match Site::find(&project, other, None, common.dry_run)? {
                Ok(site) => sites.push(site),
                Err(problem) => left_out.push(problem.what),
            }
        }
        let (endpoint, credentials) = match place(&environment, &minio, &sites) {
            Ok(place) => place,
            Err(problem) => return Ok(Err(vec![problem])),
        };
        let is_there = |site: &Site| same_server(&site.store.endpoint.url, &endpoint.url);
        left_out.extend(
            sites
                .iter()
                .filter(|site| !is_there(site))
                .map(|site| format!("the state of {} is in another server: {}", site.name(), site.place())),
        );
        sites.retain(is_there);
        let server = Server::new(&endpoint, credentials)?;
        Ok(Ok(Self { project, environments, environment, minio, server, sites, left_out }))
    }

    /// The site of an environment, if its state is in the server.
    pub fn site(&self, environment: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.environment == environment)
    }

    /// The site of the environment that has the server.
    pub fn own_site(&self) -> Option<&Site> {
        self.site(self.environment.name())
    }

    /// The buckets that it is to have: those that are declared, and those of the states.
    pub fn buckets(&self) -> Vec<String> {
        let of_sites = self.sites.iter().map(|site| site.store.bucket.clone());
        let mut buckets: Vec<String> = self.minio.buckets.iter().cloned().chain(of_sites).collect();
        buckets.sort();
        buckets.dedup();
        buckets
    }

    /// The name that its container has on the node.
    pub fn container_name(&self) -> &str {
        let of_server = |guest: &&restore_common::homelab::DeclaredGuest| {
            guest.kind == restore_common::pve::GuestKind::Lxc
                && guest.address == self.minio.address
                && guest.name.contains(MODULE)
        };
        let guest = self.environment.guests().iter().find(of_server);
        guest.map_or("monitoring-minio", |guest| guest.name.as_str())
    }

    /// The call of the module that makes the container: the one that was named, else the one with its source.
    pub fn module(&self, named: Option<&str>) -> anyhow::Result<Result<ModuleCall, Problem>> {
        Ok(find_call(self.environment.dir(), named, MODULE)?)
    }
}

fn choose<'e>(
    environments: &'e [Environment],
    named: Option<&str>,
) -> Result<(&'e Environment, &'e Minio), Problem> {
    let with_server: Vec<_> =
        environments.iter().filter_map(|environment| Some((environment, environment.minio()?))).collect();
    let searched = || {
        let names: Vec<_> = environments.iter().map(|other| other.dir().display().to_string()).collect();
        names.join(", ")
    };
    if let Some(name) = named {
        if !environments.iter().any(|environment| environment.name() == name) {
            return Err(Problem::new(format!("there is no environment `{}`", sanitize(name))));
        }
        let found = with_server.into_iter().find(|(environment, _)| environment.name() == name);
        return found.ok_or_else(|| {
            Problem::new(format!(
                "environment `{}` declares no S3 server: its tfvars have no `minio`",
                sanitize(name)
            ))
            .hint("leave `--env` out, or name the environment whose tfvars have it")
        });
    }
    match with_server.as_slice() {
        [one] => Ok(*one),
        [] => Err(Problem::new("no environment declares an S3 server: there is no `minio` in any tfvars")
            .hint(format!("add `minio = {{ ip = … }}` to one of them; searched: {}", searched()))),
        several => {
            let names: Vec<_> = several.iter().map(|(environment, _)| environment.name()).collect();
            Err(Problem::new(format!("several environments declare an S3 server: {}", names.join(", ")))
                .hint("choose one with `--env`"))
        }
    }
}

/// Where the server is: as the backend of its own environment says, else as another one that is at its address does, else as
/// the tfvars do.
fn place(
    environment: &Environment,
    minio: &Minio,
    sites: &[Site],
) -> Result<(Endpoint, Credentials), Problem> {
    let address = minio.address.as_deref();
    let has_address = |site: &&Site| address.is_some_and(|address| site.store.endpoint.url.contains(address));
    let own = sites.iter().find(|site| site.environment == environment.name());
    if let Some(site) = own.or_else(|| sites.iter().find(has_address)) {
        return Ok((site.store.endpoint.clone(), site.store.credentials.clone()));
    }
    let absent = |key: &str| {
        Problem::new(format!("`{key}` is missing in the tfvars of {}", environment.name()))
            .hint("it is needed to reach the S3 server, since no environment has a backend for it")
    };
    let address = address.ok_or_else(|| absent("minio.ip"))?;
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let secret_key = minio.root_password.clone().ok_or_else(|| absent("minio.root_password"))?;
    let endpoint = Endpoint {
        url: format!("http://{host}:{}", minio.port),
        region: "us-east-1".to_owned(),
        path_style: true,
        authority: None,
    };
    Ok((endpoint, Credentials { access_key: minio.root_user.clone(), secret_key, session_token: None }))
}

fn same_server(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}
