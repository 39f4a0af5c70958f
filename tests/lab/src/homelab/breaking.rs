//! Breaking a homelab on purpose.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Homelab, minio};
use crate::{
    s3::Embedded,
    sim::{
        GuestKind, Node,
        node::{Activity, Failure, storage::disk_usage},
        pct,
    },
};

/// How long a port may take to become free.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it is.
const PAUSE: Duration = Duration::from_millis(10);

fn failed(failure: Failure) -> io::Error {
    io::Error::other(failure.text)
}

impl Homelab {
    fn container(&self) -> io::Result<(Node, u32)> {
        let missing =
            || io::Error::new(io::ErrorKind::NotFound, "there is no container with MinIO's address");
        Ok((self.node()?, self.minio_vmid().ok_or_else(missing)?))
    }

    /// Removes the container with its volumes, as `pct stop` and `pct destroy` do; its backups stay.
    pub fn destroy_minio(&self) -> io::Result<()> {
        let (_, vmid) = self.container()?;
        let vmid = vmid.to_string();
        self.on_node(&["pct", "stop", &vmid])?;
        let output = self.on_node(&["pct", "destroy", &vmid, "--purge", "1"])?;
        if output.status.success() {
            Ok(())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&output.stderr)))
        }
    }

    /// Stops the container.
    pub fn stop_minio(&self) -> io::Result<()> {
        let (node, vmid) = self.container()?;
        node.power_off(GuestKind::Ct, vmid).map_err(failed)
    }

    /// Ends the server's process; the container runs on. It comes back by `systemctl restart minio` or a new start.
    pub fn kill_minio(&self) -> io::Result<()> {
        let (node, vmid) = self.container()?;
        let said = "minio.service: Main process exited, code=killed, status=9/KILL";
        node.set_service(vmid, "minio", Activity::Failed, said).map_err(failed)
    }

    /// Empties the volume with the data; the server starts on it anew.
    pub fn lose_minio_data(&self) -> io::Result<()> {
        let _paused = self.watcher.shared.pause();
        let (node, vmid) = self.container()?;
        let volume =
            minio::data_volume(&node, vmid).ok_or_else(|| io::Error::other("it has no volume for data"))?;
        fs::remove_dir_all(node.path(&volume))?;
        fs::create_dir(node.path(&volume))
    }

    /// From now on nothing more fits onto the volume with the data: it is as large as what is on it.
    pub fn fill_minio_disk(&self) -> io::Result<()> {
        let (node, vmid) = self.container()?;
        let volume =
            minio::data_volume(&node, vmid).ok_or_else(|| io::Error::other("it has no volume for data"))?;
        let mut sidecar = node.sidecar(&volume);
        sidecar.size = disk_usage(&node.path(&volume));
        node.write_sidecar(&volume, &sidecar)
    }

    /// The server's password is another one than the operator's files say.
    pub fn change_minio_password(&self, password: &str) -> io::Result<()> {
        let (node, vmid) = self.container()?;
        let path = pct::real_path(&node, vmid, "/etc/default/minio").map_err(failed)?;
        let text = fs::read_to_string(&path)?;
        let lines = text.lines().map(|line| match line.split_once('=') {
            Some((name @ "MINIO_ROOT_PASSWORD", _)) => format!("{name}={password}\n"),
            _ => format!("{line}\n"),
        });
        fs::write(path, lines.collect::<String>())
    }

    /// Something else listens where MinIO should; what serves there now is ended.
    pub fn occupy_minio_port(&self) -> io::Result<()> {
        if self.minio_vmid().is_some() {
            self.kill_minio()?;
        }
        let squatter = Squatter::start(self.minio_address())?;
        *self.squatter.lock().unwrap_or_else(PoisonError::into_inner) = Some(squatter);
        Ok(())
    }

    /// It goes away again.
    pub fn leave_minio_port(&self) {
        self.squatter.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// From now on nobody reaches the node, neither by SSH nor by its API. Its guests go on.
    pub fn cut_off_node(&mut self) {
        self.api = None;
        self.lab.cut_off();
    }

    /// The embedded server in the container, to look at its requests and to break its answers; nothing while it does not
    /// serve. What is broken is whole again when it is started anew.
    pub fn with_minio<T>(&self, look: impl FnOnce(&Embedded) -> T) -> Option<T> {
        self.watcher.shared.with_embedded(look)
    }
}

/// A web server that knows nothing of S3; it ends at drop.
#[derive(Debug)]
pub(super) struct Squatter {
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Squatter {
    /// Listens as soon as the port is free.
    fn start(address: SocketAddr) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(address) {
                Ok(listener) => break listener,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(PAUSE),
            }
        };
        listener.set_nonblocking(true)?;
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => drop(refuse(client)),
                    Err(_) => thread::park_timeout(PAUSE),
                }
            }
        });
        Ok(Self { ended, thread: Some(thread) })
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Reads what comes first, so that the answer is not lost with the connection.
fn refuse(mut client: TcpStream) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let _read = client.read(&mut [0; 8192])?;
    client.write_all(
        b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
}
