//! The services that a homelab stands on, proven as their own programs prove them.

use std::{
    env,
    time::{Duration, Instant},
};

use restore_common::{
    homelab::{Backend, Environment, HomelabError, Project},
    monitoring::{self, Inventory, Patience, Stack},
    procedure::{CheckResult, CheckStatus},
    s3::{S3Error, Server, Versioning},
};

use crate::{app::Frame, report::ServicePart};

/// How long is waited for what is still starting: a Prometheus reads its log again after a crash.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks at every service that the environments declare.
pub fn look(frame: &Frame<'_>, project: &Project, environments: &[Environment]) -> Vec<ServicePart> {
    let mut services = Vec::new();
    for environment in environments {
        if environment.minio().is_some() {
            services.push(minio(project, environment, environments));
        }
        if environment.monitoring().is_some() {
            services.push(monitoring(frame, project, environment));
        }
    }
    services
}

fn monitoring(frame: &Frame<'_>, project: &Project, environment: &Environment) -> ServicePart {
    let part = |place, checks| ServicePart::new("monitoring", environment.name(), place, checks);
    match Stack::of(&frame.cli.common, project, environment, None) {
        Ok(stack) => {
            let interrupted = || frame.interrupt.requested();
            let say = |words: &str| log::info!("{words}");
            let patience = Patience { limit: PATIENCE, interrupted: &interrupted, say: &say };
            let proof = monitoring::prove(&stack, &Inventory::default(), &patience);
            part(stack.address, proof.checks)
        }
        Err(error) => part(environment.dir().display().to_string(), vec![not_declared(&error)]),
    }
}

/// The server that holds the states, by way of the backend of the environment that declares it, else of any other.
fn minio(project: &Project, environment: &Environment, environments: &[Environment]) -> ServicePart {
    let part = |place, checks| ServicePart::new("MinIO", environment.name(), place, checks);
    let with_backend = std::iter::once(environment).chain(environments).find_map(|environment| {
        match Backend::read(environment.dir()) {
            Ok(Backend::S3(block)) => Some((environment, block)),
            _ => None,
        }
    });
    let Some((user, block)) = with_backend else {
        let why = "no environment has a backend block for it, so nothing depends on it";
        return part(environment.dir().display().to_string(), vec![check("serves", SERVES, skipped(why))]);
    };
    match project.state_store(user, &block, "default", &|name| env::var_os(name)) {
        Ok(store) => match Server::new(&store.endpoint, store.credentials) {
            Ok(server) => part(server.endpoint().to_owned(), of_server(&server, environment)),
            Err(error) => part(store.endpoint.url, vec![check("serves", SERVES, || failed(&error))]),
        },
        Err(error) => part(user.dir().display().to_string(), vec![not_declared(&error)]),
    }
}

const SERVES: &str = "it can serve";

type Seen = (CheckStatus, String);

fn of_server(server: &Server, environment: &Environment) -> Vec<CheckResult> {
    let serves = || match server.serves() {
        Ok(kind) => (CheckStatus::Passed, kind.to_string()),
        Err(error) => failed(&error),
    };
    let mut checks = vec![check("serves", SERVES, serves)];
    let declared = environment.minio().map(|minio| minio.buckets.as_slice()).unwrap_or_default();
    if checks[0].status == CheckStatus::Passed {
        let versioned = |name: &String| {
            let title = format!("bucket {name} is there and keeps versions");
            check(&format!("bucket-{name}"), &title, || {
                match server.bucket(name).and_then(|bucket| bucket.versioning()) {
                    Ok(Versioning::Enabled) => (CheckStatus::Passed, "it does".to_owned()),
                    Ok(_) => (CheckStatus::Failed, "its versioning is off".to_owned()),
                    Err(error) => failed(&error),
                }
            })
        };
        checks.extend(declared.iter().map(versioned));
    }
    checks
}

fn failed(error: &S3Error) -> Seen {
    (CheckStatus::Failed, format!("{error}; {}", error.trouble.advice()))
}

fn skipped(why: &str) -> impl FnOnce() -> Seen {
    let why = why.to_owned();
    || (CheckStatus::Skipped, why)
}

fn check(id: &str, title: &str, ask: impl FnOnce() -> Seen) -> CheckResult {
    let began = Instant::now();
    let (status, saw) = ask();
    CheckResult {
        id: id.to_owned(),
        title: title.to_owned(),
        status,
        saw,
        seconds: (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    }
}

/// That the project does not say where to look.
fn not_declared(error: &HomelabError) -> CheckResult {
    check("declared", "the project says where it is", || (CheckStatus::Failed, error.to_string()))
}
