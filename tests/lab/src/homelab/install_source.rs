//! The site that the server is downloaded from, as long as there is one.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    thread,
};

use super::minio::PROGRAM;

/// A small HTTP server that counts what it is asked for; it ends at drop.
#[derive(Debug)]
pub struct InstallSource {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    status: AtomicU16,
    ended: AtomicBool,
    requests: Mutex<Vec<String>>,
}

impl InstallSource {
    /// Listens and serves in the background.
    pub(super) fn start(address: IpAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { status: AtomicU16::new(200), ..Shared::default() });
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if served.ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away is no error.
                drop(serve(&client, &served));
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where the server is downloaded from.
    pub fn url(&self) -> String {
        format!("http://{}/server/minio/release/linux-amd64/minio", self.address)
    }

    /// From now on it answers with this status; 410 is what the real one says.
    pub fn answer_with(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// What it was asked for so far, such as `GET 200 /server/…`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets the requests, and has the server again.
    pub(super) fn begin_anew(&self) {
        self.answer_with(200);
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How often the server was downloaded.
    pub fn downloads(&self) -> usize {
        self.requests().iter().filter(|request| request.starts_with("GET 200 ")).count()
    }
}

impl Drop for InstallSource {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread up.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

fn serve(mut client: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut lines = BufReader::new(client).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let status = shared.status.load(Ordering::SeqCst);
    let request = format!("{method} {status} {path}");
    shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let body = if status == 200 { PROGRAM } else { "This is no longer available.\n" };
    let shown = if method == "HEAD" { "" } else { body };
    let reason = if status == 200 { "OK" } else { "Gone" };
    write!(
        client,
        "HTTP/1.1 {status} {reason}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{shown}",
        body.len()
    )
}
