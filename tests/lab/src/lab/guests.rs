//! Guests that answer on TCP while they run, and the HA service that keeps some of them running.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    monitoring::Caretaker,
    sim::{GuestKind, Node, ha},
};

/// How often the power state is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A guest and where it answers.
pub(super) type Listening = (GuestKind, u32, SocketAddr);

/// Watches the guests' power state; ends at drop.
#[derive(Debug)]
pub(super) struct Guests {
    addresses: BTreeMap<u32, SocketAddr>,
    stop: Arc<AtomicBool>,
    /// Held while the node is looked at, which makes folders that are not there.
    looking: Arc<Mutex<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Guests {
    /// Begins to watch.
    pub(super) fn watch(
        root: PathBuf,
        version: u8,
        guests: Vec<Listening>,
        mut caretaker: Option<Caretaker>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let addresses = guests.iter().map(|(_, vmid, address)| (*vmid, *address)).collect();
        let ended = Arc::clone(&stop);
        let looking = Arc::new(Mutex::new(()));
        let look = Arc::clone(&looking);
        let thread = thread::spawn(move || {
            let mut open = BTreeMap::new();
            while !ended.load(Ordering::SeqCst) {
                // The settings may change while the lab runs, so the node is opened anew.
                let guard = look.lock();
                if let Ok(node) = Node::open(&root, version) {
                    // What it cannot do now it does in its next round.
                    drop(ha::work(&node));
                    for (kind, vmid, address) in &guests {
                        let port: &mut Option<TcpListener> = open.entry(*vmid).or_default();
                        answer(node.has_booted(*kind, *vmid), *address, port);
                    }
                    if let Some(caretaker) = &mut caretaker {
                        caretaker.tend(&node);
                    }
                }
                drop(guard);
                thread::park_timeout(POLL);
            }
        });
        Self { addresses, stop, looking, thread: Some(thread) }
    }

    /// Does not look at the node until the guard is dropped.
    pub(super) fn pause(&self) -> MutexGuard<'_, ()> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn address(&self, vmid: u32) -> Option<SocketAddr> {
        self.addresses.get(&vmid).copied()
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Opens, closes and answers the port of a guest, which has booted or not.
pub(crate) fn answer(has_booted: bool, address: SocketAddr, open: &mut Option<TcpListener>) {
    if !has_booted {
        *open = None;
        return;
    }
    if open.is_none()
        && let Ok(listener) = TcpListener::bind(address)
        && listener.set_nonblocking(true).is_ok()
    {
        *open = Some(listener);
    }
    if let Some(listener) = open {
        while let Ok((mut client, _)) = listener.accept() {
            drop(client.write_all(b"SSH-2.0-lab\r\n"));
        }
    }
}
