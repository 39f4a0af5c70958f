//! The services while the VM runs: processes, doors, and what Docker says of them.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::runtime::Handle;
use tokio_native_tls::{TlsAcceptor, native_tls};

use super::{
    ALERTMANAGER, EXPORTER, Fault, GRAFANA, PROMETHEUS, Shared, config, containers,
    door::{Door, Manner},
    fault::container_of,
    lock,
    process::Process,
    rooms::{HIDDEN, Room},
};
use crate::guest::docker::{Container, Docker, Refusal};

/// How long a look at the real services may take.
const LOOK: Duration = Duration::from_secs(2);

/// What a door is like; another one is needed when that changes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kind {
    room: Room,
    tls: bool,
    silent: bool,
}

/// The stack of a VM that runs.
pub(super) struct Services {
    shared: Arc<Shared>,
    runtime: Handle,
    booted_ms: u64,
    docker: Option<Docker>,
    prometheus: Option<(Process, Vec<String>)>,
    alertmanager: Option<Process>,
    doors: BTreeMap<SocketAddr, (Kind, Door)>,
    tls: Option<TlsAcceptor>,
}

impl Services {
    pub(super) fn new(shared: &Arc<Shared>, runtime: &Handle, booted_ms: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            runtime: runtime.clone(),
            booted_ms,
            docker: None,
            prometheus: None,
            alertmanager: None,
            doors: BTreeMap::new(),
            tls: None,
        }
    }

    /// Makes everything as it has to be with these faults.
    pub(super) fn tend(&mut self, faults: &[Fault]) -> io::Result<()> {
        let containers = containers::all(faults, self.booted_ms);
        lock(&self.shared.containers).clone_from(&containers);
        self.run_prometheus(faults)?;
        self.run_alertmanager()?;
        self.open_doors(faults)?;
        self.tell_docker(faults, containers)
    }

    /// Comes last: what Docker says to have started has been started.
    fn tell_docker(&mut self, faults: &[Fault], containers: Vec<Container>) -> io::Result<()> {
        let refusal = faults.iter().find_map(|fault| match fault {
            Fault::DockerDown => Some(Refusal::Down),
            Fault::DockerDenied => Some(Refusal::Denied),
            _ => None,
        });
        let simulator = Some(self.shared.simulator.as_path()).filter(|_| !faults.contains(&Fault::NoDocker));
        self.shared.guest().set_docker(simulator)?;
        let docker = Docker { refusal, containers };
        if self.docker.as_ref() != Some(&docker) {
            docker.write(&self.shared.guest())?;
            self.docker = Some(docker);
        }
        Ok(())
    }

    fn is_up(&self, container: &str) -> bool {
        lock(&self.shared.containers).iter().any(|c| c.name == container && c.is_up())
    }

    fn run_prometheus(&mut self, faults: &[Fault]) -> io::Result<()> {
        let Shared { address, node_address, folder, .. } = &*self.shared;
        let text = config::prometheus(*address, *node_address, faults);
        let reasons: Vec<String> = faults
            .iter()
            .filter(|fault| fault.restarts_prometheus())
            .map(|fault| format!("{fault:?}"))
            .chain([text.clone()])
            .collect();
        let wanted = self.is_up("prometheus").then_some(&reasons);
        if let Some((process, known)) = &mut self.prometheus {
            if process.has_ended() {
                return Err(ended("prometheus", folder));
            }
            if Some(&*known) == wanted {
                return Ok(());
            }
        }
        self.prometheus = None;
        *lock(&self.shared.prometheus_since) = None;
        if wanted.is_none() {
            return Ok(());
        }
        fs::write(folder.join("prometheus.yml"), text)?;
        fs::write(folder.join("rules.yml"), config::RULES)?;
        remove_folder(&folder.join("prometheus"))?;
        let arguments = [
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=prometheus".to_owned(),
            format!("--web.listen-address={address}:{}", PROMETHEUS + HIDDEN),
            format!("--web.external-url=http://{address}:{PROMETHEUS}/"),
            "--log.level=warn".to_owned(),
        ];
        self.prometheus = Some((Process::start("prometheus", &arguments, folder)?, reasons));
        *lock(&self.shared.prometheus_since) = Some(Instant::now());
        Ok(())
    }

    fn run_alertmanager(&mut self) -> io::Result<()> {
        const NAME: &str = "prometheus-alertmanager";
        let Shared { address, folder, .. } = &*self.shared;
        if !self.is_up("alertmanager") {
            self.alertmanager = None;
            return Ok(());
        }
        if let Some(process) = &mut self.alertmanager {
            return if process.has_ended() { Err(ended(NAME, folder)) } else { Ok(()) };
        }
        fs::write(folder.join("alertmanager.yml"), config::ALERTMANAGER_FILE)?;
        remove_folder(&folder.join("alertmanager"))?;
        let arguments = [
            "--config.file=alertmanager.yml".to_owned(),
            "--storage.path=alertmanager".to_owned(),
            format!("--web.listen-address={address}:{}", ALERTMANAGER + HIDDEN),
            format!("--web.external-url=http://{address}:{ALERTMANAGER}/"),
            // It is alone.
            "--cluster.listen-address=".to_owned(),
            "--log.level=warn".to_owned(),
        ];
        self.alertmanager = Some(Process::start(NAME, &arguments, folder)?);
        Ok(())
    }

    fn open_doors(&mut self, faults: &[Fault]) -> io::Result<()> {
        let wanted = self.wanted_doors(faults);
        self.doors.retain(|address, (kind, _)| wanted.get(address) == Some(kind));
        for (address, kind) in wanted {
            if self.doors.contains_key(&address) {
                continue;
            }
            let manner = match (kind.tls, kind.silent) {
                (_, true) => Manner::Silent,
                (true, false) => Manner::Tls(self.acceptor()?),
                (false, false) => Manner::Plain,
            };
            let door = Door::open(&self.runtime, address, manner, kind.room, &self.shared)?;
            self.doors.insert(address, (kind, door));
        }
        Ok(())
    }

    fn wanted_doors(&self, faults: &[Fault]) -> BTreeMap<SocketAddr, Kind> {
        let kind = |port: u16, room: Room| Kind {
            room,
            tls: faults.contains(&Fault::Tls(port)),
            silent: faults.contains(&Fault::Silent(port)),
        };
        let of_the_vm = [
            (PROMETHEUS, Room::Prometheus),
            (ALERTMANAGER, Room::Alertmanager),
            (GRAFANA, Room::Grafana),
            (EXPORTER, Room::Exporter),
        ];
        let mut wanted: BTreeMap<SocketAddr, Kind> = of_the_vm
            .into_iter()
            .filter(|(port, _)| !faults.contains(&Fault::Closed(*port)))
            .filter(|(port, _)| container_of(*port).is_none_or(|container| self.is_up(container)))
            .map(|(port, room)| ((self.shared.address, port).into(), kind(port, room)))
            .collect();
        if !faults.contains(&Fault::DeadTarget) {
            let plain = Kind { room: Room::Exporter, tls: false, silent: false };
            wanted.insert((self.shared.node_address, EXPORTER).into(), plain);
        }
        wanted
    }

    fn acceptor(&mut self) -> io::Result<TlsAcceptor> {
        if let Some(acceptor) = &self.tls {
            return Ok(acceptor.clone());
        }
        let identity = self.shared.authority.identity()?;
        let acceptor = TlsAcceptor::from(native_tls::TlsAcceptor::new(identity).map_err(io::Error::other)?);
        Ok(self.tls.insert(acceptor).clone())
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        *lock(&self.shared.prometheus_since) = None;
        lock(&self.shared.containers).clear();
        *lock(&self.shared.wrong_logins) = 0;
        for name in ["prometheus", "alertmanager"] {
            drop(fs::remove_dir_all(self.shared.folder.join(name)));
        }
    }
}

/// How far Prometheus is with its log, in percent; nothing when it read all of it.
pub(super) fn replay(shared: &Shared, faults: &[Fault]) -> Option<u64> {
    let since = (*lock(&shared.prometheus_since))?;
    faults.iter().find_map(|fault| match fault {
        Fault::PrometheusNeverReady => Some(7),
        Fault::PrometheusReplays(whole) => {
            let percent = since.elapsed().as_millis() * 100 / whole.as_millis().max(1);
            u64::try_from(percent).ok().filter(|percent| *percent < 100)
        }
        _ => None,
    })
}

/// Whether Prometheus has scraped all it has to, evaluated its rules, and knows whom it has to know.
pub(super) fn is_settled(shared: &Shared) -> bool {
    let faults = lock(&shared.orders).faults.clone();
    let is_up = |name: &str| lock(&shared.containers).iter().any(|c| c.name == name && c.is_up());
    let ask = |port: u16, path: &str| look(shared, port + HIDDEN, path);
    let alertmanager = !is_up("alertmanager") || ask(ALERTMANAGER, "/api/v2/status").is_some();
    if !is_up("prometheus") {
        return alertmanager;
    }
    let known = usize::from(!faults.contains(&Fault::AlertmanagerUnknown));
    let count = |value: &Value, key: &str| value["data"][key].as_array().map_or(0, Vec::len);
    let alertmanagers = ask(PROMETHEUS, "/api/v1/alertmanagers")
        .is_some_and(|value| count(&value, "activeAlertmanagers") == known);
    let targets = ask(PROMETHEUS, "/api/v1/targets").is_some_and(|value| {
        let targets = value["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        targets.len() == 3 && targets.iter().all(|target| target["health"] != "unknown")
    });
    alertmanager && alertmanagers && targets
}

fn look(shared: &Shared, port: u16, path: &str) -> Option<Value> {
    let agent = ureq::Agent::config_builder().timeout_global(Some(LOOK)).build().new_agent();
    let mut answer = agent.get(format!("http://{}:{port}{path}", shared.address)).call().ok()?;
    serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn ended(name: &str, folder: &Path) -> io::Error {
    let log = fs::read_to_string(folder.join(format!("{name}.log"))).unwrap_or_default();
    io::Error::other(format!("{name} ended: {log}"))
}
