//! The monitoring stack of a lab: what answers on the VM `monitoring-stack` while that runs.
//!
//! Prometheus and Alertmanager are the real ones, each behind a door of the lab's on the port where the operator asks.
//! Grafana is those of its endpoints that tell whether it works. Docker is what [`crate::guest::docker`] says over SSH.
//! All of it is there while the VM runs and its disk carries the stack.

mod caretaker;
mod config;
mod containers;
mod door;
mod fault;
mod grafana;
mod process;
mod rooms;
mod services;

pub(crate) use caretaker::Caretaker;
pub use door::Request;
pub use fault::Fault;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    guest::{Guest, docker::Container},
    ssh::{KeyPair, ServerOptions},
    tls::Authority,
};

/// The port of Prometheus.
pub const PROMETHEUS: u16 = 9090;
/// The port of Alertmanager.
pub const ALERTMANAGER: u16 = 9093;
/// The port of Grafana.
pub const GRAFANA: u16 = 3000;
/// The port of the exporters: of the VM itself, and of the node.
pub const EXPORTER: u16 = 9100;

/// The password of Grafana's `admin`, unless a test chooses another. It should appear nowhere.
pub const GRAFANA_PASSWORD: &str = "canary-grafana-b81f6d2c";

/// How long the lab may take to do what a test told it.
const OBEY: Duration = Duration::from_secs(20);
/// How long the stack may take until all of it works: Prometheus looks for its targets every five seconds.
const READY: Duration = Duration::from_mins(1);
/// Between two looks at whether it does.
const PAUSE: Duration = Duration::from_millis(20);

/// What a lab's monitoring is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who may log in by SSH.
    pub user: String,
    /// The password of Grafana's `admin`.
    pub password: String,
    /// Whether the VM is there from the beginning.
    pub vm: bool,
    /// What is wrong from the beginning.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        let password = GRAFANA_PASSWORD.to_owned();
        Self { user: "root".to_owned(), password, vm: true, faults: Vec::new() }
    }
}

/// Whether Prometheus and Alertmanager are installed. That they are not is said; in CI it is an error.
pub fn is_installed() -> io::Result<bool> {
    let missing = process::PROGRAMS.into_iter().find(|name| process::find(name).is_none());
    let Some(missing) = missing else { return Ok(true) };
    let words = format!("`{missing}` is not installed: it is a package of Debian's");
    if std::env::var_os("CI").is_some() {
        return Err(io::Error::new(io::ErrorKind::NotFound, words));
    }
    eprintln!("SKIPPED: {words}");
    Ok(false)
}

/// The stack of a running lab, to break it and to see what it was asked.
#[derive(Clone, Debug)]
pub struct Stack {
    shared: Arc<Shared>,
}

/// What the test, the caretaker and the doors know together.
#[derive(Debug)]
struct Shared {
    address: IpAddr,
    node_address: IpAddr,
    folder: PathBuf,
    simulator: PathBuf,
    user: String,
    password: String,
    authority: Authority,
    client_key: String,
    orders: Mutex<Orders>,
    obeyed: Condvar,
    requests: Mutex<Vec<Request>>,
    /// What Docker has.
    containers: Mutex<Vec<Container>>,
    /// How often somebody came to Grafana with a wrong password.
    wrong_logins: Mutex<u32>,
    /// When Prometheus was started, while it runs.
    prometheus_since: Mutex<Option<Instant>>,
}

/// What is to be wrong, and how far the caretaker is with it.
#[derive(Debug, Default)]
struct Orders {
    faults: Vec<Fault>,
    given: u64,
    obeyed: u64,
    /// Whether the stack was up when they were obeyed.
    is_up: bool,
    trouble: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the stack is, and who may log in.
pub(crate) struct Place<'a> {
    pub(crate) address: IpAddr,
    pub(crate) node_address: IpAddr,
    pub(crate) folder: &'a Path,
    pub(crate) simulator: &'a Path,
    pub(crate) client_key: String,
}

impl Stack {
    /// A stack that runs nowhere yet.
    pub(crate) fn new(options: Options, place: Place<'_>) -> io::Result<Self> {
        fs::create_dir_all(place.folder)?;
        let orders = Orders { faults: options.faults, given: 1, ..Orders::default() };
        let shared = Shared {
            address: place.address,
            node_address: place.node_address,
            folder: place.folder.to_owned(),
            simulator: place.simulator.to_owned(),
            user: options.user,
            password: options.password,
            authority: Authority::create(place.address)?,
            client_key: place.client_key,
            orders: Mutex::new(orders),
            obeyed: Condvar::new(),
            requests: Mutex::default(),
            containers: Mutex::default(),
            wrong_logins: Mutex::default(),
            prometheus_since: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whoever starts and stops it.
    pub(crate) fn caretaker(&self) -> io::Result<Caretaker> {
        Caretaker::new(Arc::clone(&self.shared))
    }

    /// The VM's address.
    pub fn address(&self) -> IpAddr {
        self.shared.address
    }

    /// The certificate of the authority that signed those of [`Fault::Tls`].
    pub fn authority(&self) -> PathBuf {
        self.shared.authority.pem()
    }

    /// What is wrong now.
    pub fn faults(&self) -> Vec<Fault> {
        lock(&self.shared.orders).faults.clone()
    }

    /// From now on exactly this is wrong. Comes back when it is.
    pub fn set(&self, faults: &[Fault]) -> io::Result<()> {
        let mut orders = lock(&self.shared.orders);
        orders.faults = faults.to_vec();
        orders.given += 1;
        let order = orders.given;
        let done = self.shared.obeyed.wait_timeout_while(orders, OBEY, |orders| orders.obeyed < order);
        let (orders, timeout) = done.unwrap_or_else(PoisonError::into_inner);
        match &orders.trouble {
            Some(trouble) => Err(io::Error::other(trouble.clone())),
            None if timeout.timed_out() => Err(io::Error::other("the stack's caretaker does not answer")),
            None => Ok(()),
        }
    }

    /// This is wrong as well.
    pub fn add(&self, fault: Fault) -> io::Result<()> {
        let mut faults = self.faults();
        faults.push(fault);
        self.set(&faults)
    }

    /// Nothing is wrong any more.
    pub fn heal(&self) -> io::Result<()> {
        self.set(&[])
    }

    /// Whether the VM runs and carries the stack.
    pub fn is_up(&self) -> bool {
        lock(&self.shared.orders).is_up
    }

    /// Waits until every target was scraped once and Prometheus knows its Alertmanagers: until a proof has something to
    /// look at. Nothing that is to be wrong is waited for.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        let deadline = Instant::now() + READY;
        while !self.is_up() || !services::is_settled(&self.shared) {
            if Instant::now() > deadline {
                let trouble = lock(&self.shared.orders).trouble.clone().unwrap_or_else(|| self.logs());
                return Err(io::Error::other(format!("the stack does not come up: {trouble}")));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// The HTTP requests that came in, without those that the services send each other, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared.requests).clone()
    }

    /// Forgets the requests and the executions so far.
    pub fn forget(&self) -> io::Result<()> {
        lock(&self.shared.requests).clear();
        match fs::remove_file(self.shared.folder.join("exec.jsonl")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The texts of the remote executions on the VM, oldest first.
    pub fn executions(&self) -> io::Result<Vec<String>> {
        let lines = crate::lab::lines(&self.shared.folder.join("exec.jsonl"))?;
        Ok(lines.iter().filter_map(|line| line["exec"].as_str().map(str::to_owned)).collect())
    }

    /// The processes of the real services that run now.
    pub fn processes(&self) -> Vec<u32> {
        process::of(&self.shared.folder)
    }

    fn logs(&self) -> String {
        let log = |name: &str| {
            fs::read_to_string(self.shared.folder.join(format!("{name}.log"))).unwrap_or_default()
        };
        process::PROGRAMS.map(log).concat()
    }
}

impl Shared {
    fn guest(&self) -> Guest {
        Guest::new(self.folder.join("guest"))
    }

    fn ssh(&self, port: u16, host_key: KeyPair) -> ServerOptions {
        ServerOptions {
            address: (self.address, port).into(),
            host_key,
            user: self.user.clone(),
            client_key: self.client_key.clone(),
            simulator: self.simulator.clone(),
            variables: self.guest().variables(),
        }
    }
}
