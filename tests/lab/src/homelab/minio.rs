//! The S3 server in the container: it serves while the container runs, has the server installed, and its process lives.
//!
//! Its data is what lies in the container's volume. So it is lost with the volume, and comes back with a backup.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    lab::{GUEST_PORT, answer},
    s3::{Credentials, Embedded, Engine, Fault, MinIo, Options, S3Server as _},
    sim::{
        GuestKind, Node,
        node::{Activity, config::Section, property::Properties, storage::disk_usage},
        pct,
    },
};

/// What is downloaded in place of the server's program, and stands for it in the container.
pub(super) const PROGRAM: &str =
    "#!/bin/sh\n# The lab's S3 server. Where this is installed, the lab serves.\n";

/// The unit in the container.
const UNIT: &str = "minio";
/// The files in the container that it needs.
const BINARY: &str = "/usr/local/bin/minio";
const ENVIRONMENT: &str = "/etc/default/minio";
/// How often the container is looked at.
const POLL: Duration = Duration::from_millis(50);

/// What is known of the container's server, and the server itself.
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) version: u8,
    pub(super) engine: Engine,
    /// Where it serves.
    pub(super) address: SocketAddr,
    /// Held while the container is looked at, which makes folders that are not there.
    running: Mutex<Option<Running>>,
    ended: AtomicBool,
}

/// A server that serves.
struct Running {
    what: Wanted,
    server: Server,
    is_full: bool,
}

enum Server {
    Embedded(Embedded),
    MinIo(MinIo),
}

impl Drop for Server {
    /// When it is gone it answers nobody any more: dropped alone, the embedded one would for a moment.
    fn drop(&mut self) {
        drop(match self {
            Self::Embedded(server) => server.stop(),
            Self::MinIo(server) => server.stop(),
        });
    }
}

/// What makes one server another than the one before.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    vmid: u32,
    starts: u64,
    folder: PathBuf,
    credentials: Credentials,
}

/// Watches the container; ends at drop.
pub(super) struct Watcher {
    pub(super) shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    pub(super) fn start(root: PathBuf, version: u8, engine: Engine, address: SocketAddr) -> Self {
        let (running, ended) = (Mutex::new(None), AtomicBool::new(false));
        let shared = Arc::new(Shared { root, version, engine, address, running, ended });
        let watched = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut port = None;
            while !watched.ended.load(Ordering::SeqCst) {
                let mut running = watched.lock();
                if let Ok(node) = Node::open(&watched.root, watched.version) {
                    let vmid = container_at(&node, watched.address.ip());
                    let has_booted = vmid.is_some_and(|vmid| node.has_booted(GuestKind::Ct, vmid));
                    answer(has_booted, (watched.address.ip(), GUEST_PORT).into(), &mut port);
                    watched.look(&node, vmid, &mut running);
                }
                drop(running);
                thread::park_timeout(POLL);
            }
        });
        Self { shared, thread: Some(thread) }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// While this is held nobody looks at the node, and no server works on its files.
pub(super) struct Paused<'a>(
    #[allow(dead_code, reason = "it is held, not read")] MutexGuard<'a, Option<Running>>,
);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the server as a SIGKILL does, and keeps it from coming back until the guard is dropped.
    pub(super) fn pause(&self) -> Paused<'_> {
        let mut running = self.lock();
        *running = None;
        Paused(running)
    }

    /// Looks at the embedded server, if it serves.
    pub(super) fn with_embedded<T>(&self, look: impl FnOnce(&Embedded) -> T) -> Option<T> {
        match self.lock().as_ref().map(|running| &running.server) {
            Some(Server::Embedded(server)) => Some(look(server)),
            Some(Server::MinIo(_)) | None => None,
        }
    }

    /// Lets serve what should, and nothing else.
    fn look(&self, node: &Node, vmid: Option<u32>, running: &mut Option<Running>) {
        let Some(vmid) = vmid else {
            *running = None;
            return;
        };
        let wanted = wanted(node, vmid);
        if let Ok(wanted) = &wanted
            && let (Some(wanted), Some(running)) = (wanted, running.as_mut())
            && running.what == *wanted
        {
            return running.notice_full_disk(node, vmid);
        }
        *running = None;
        let started = match wanted {
            Ok(None) => return,
            Ok(Some(wanted)) => self.serve(wanted),
            Err(said) => Err(io::Error::other(said)),
        };
        match started {
            Ok(new) => *running = Some(new),
            Err(error) => {
                let said = format!("minio.service: Main process exited, status=1/FAILURE: {error}");
                drop(node.set_service(vmid, UNIT, Activity::Failed, &said));
            }
        }
    }

    fn serve(&self, what: Wanted) -> io::Result<Running> {
        let options = Options {
            address: self.address.ip(),
            port: self.address.port(),
            folder: Some(what.folder.clone()),
            credentials: what.credentials.clone(),
            tls: false,
        };
        let server = match self.engine {
            Engine::Embedded => Server::Embedded(Embedded::start(&options)?),
            Engine::MinIo => Server::MinIo(MinIo::start(&options)?),
        };
        Ok(Running { what, server, is_full: false })
    }
}

impl Running {
    /// Only the embedded server can be told that its drive is full: a volume of the lab is a folder.
    fn notice_full_disk(&mut self, node: &Node, vmid: u32) {
        let is_full = data_volume(node, vmid)
            .is_some_and(|volume| disk_usage(&node.path(&volume)) >= node.volume_size(&volume));
        if is_full == self.is_full {
            return;
        }
        self.is_full = is_full;
        if let Server::Embedded(server) = &self.server {
            if is_full { server.always(Fault::DiskFull) } else { server.heal() }
        }
    }
}

/// The container with this address; of several the one that runs.
pub(super) fn container_at(node: &Node, address: IpAddr) -> Option<u32> {
    let has = |vmid: &u32| {
        let config = node.config(GuestKind::Ct, *vmid).ok();
        config.and_then(|config| address_of(&config.main)) == Some(address)
    };
    let mut found: Vec<u32> = node.guests(GuestKind::Ct).into_iter().filter(has).collect();
    found.sort_by_key(|vmid| node.running(GuestKind::Ct, *vmid).is_none());
    found.first().copied()
}

fn address_of(config: &Section) -> Option<IpAddr> {
    let card = Properties::parse(config.get("net0")?);
    card.get("ip")?.split('/').next()?.parse().ok()
}

/// The path on the node of the volume that holds the data.
pub(super) fn data_volume(node: &Node, vmid: u32) -> Option<String> {
    let config = node.config(GuestKind::Ct, vmid).ok()?;
    let mount = Properties::parse(config.main.get("mp0")?);
    Some(node.place(mount.volume()?).ok()?.path)
}

/// What should serve; nothing where the service is not active; why it cannot.
fn wanted(node: &Node, vmid: u32) -> Result<Option<Wanted>, String> {
    let Some(service) = node.service(vmid, UNIT).filter(|service| service.activity == Activity::Active)
    else {
        return Ok(None);
    };
    let real = |path: &str| pct::real_path(node, vmid, path).map_err(|failure| failure.text);
    let read = |path: &str| fs::read_to_string(real(path)?).map_err(|error| format!("{path}: {error}"));
    if read(BINARY)? != PROGRAM {
        return Err(format!("{BINARY}: Exec format error"));
    }
    let text = read(ENVIRONMENT)?;
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |name: &str| {
        let value = variables.get(name).map(|value| value.trim_matches(['"', '\'']).to_owned());
        value.ok_or_else(|| format!("{ENVIRONMENT} has no {name}"))
    };
    let folder = real(&get("MINIO_VOLUMES")?)?;
    if !folder.is_dir() {
        return Err("unable to initialize backend: drive not found".to_owned());
    }
    let (access_key, secret_key) = (get("MINIO_ROOT_USER")?, get("MINIO_ROOT_PASSWORD")?);
    let credentials = Credentials { access_key, secret_key };
    Ok(Some(Wanted { vmid, starts: service.starts, folder, credentials }))
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("address", &self.shared.address).finish_non_exhaustive()
    }
}
