//! A real MinIO.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Client, Credentials, Options, S3Server, port::Port};
use crate::{installed, tls::Authority};

/// How long it may take until it serves.
const START: Duration = Duration::from_mins(1);
/// Between two looks at whether it does.
const PAUSE: Duration = Duration::from_millis(50);

/// A running MinIO; it ends at drop.
#[derive(Debug)]
pub struct MinIo {
    program: PathBuf,
    port: Port,
    credentials: Credentials,
    folder: PathBuf,
    tls: Option<(Authority, PathBuf)>,
    child: Option<Child>,
    /// Its own files and, without another folder, its data.
    temporary: tempfile::TempDir,
}

impl MinIo {
    /// The program, where `cargo xtask servers` put it.
    pub fn find() -> Option<PathBuf> {
        installed::find("minio")
    }

    /// Starts it and waits until it serves.
    pub fn start(options: &Options) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "MinIO is not installed");
        let program = Self::find().ok_or_else(missing)?;
        let temporary = tempfile::tempdir()?;
        let tls = options.tls.then(|| Authority::create(options.address)).transpose()?;
        let mut server = Self {
            program,
            port: Port::take(SocketAddr::new(options.address, options.port))?,
            credentials: options.credentials.clone(),
            folder: options.folder.clone().unwrap_or_else(|| temporary.path().join("data")),
            tls: tls.map(|authority| {
                let pem = authority.pem();
                (authority, pem)
            }),
            child: None,
            temporary,
        };
        server.start_again().map(|()| server)
    }

    fn log(&self) -> PathBuf {
        self.temporary.path().join("minio.log")
    }

    fn wait(&mut self) -> io::Result<()> {
        let client = Client::new(&self.endpoint(), self.credentials.clone(), self.authority())?;
        let deadline = Instant::now() + START;
        loop {
            // It answers that it lives before it can do anything; so it is asked for something.
            if client.send("GET", "/", &[], &[], &[]).is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(self.log()).unwrap_or_default();
                return Err(io::Error::other(format!("MinIO does not serve: {log}")));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl S3Server for MinIo {
    fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.port.address())
    }

    fn authority(&self) -> Option<&Path> {
        self.tls.as_ref().map(|(_, pem)| pem.as_path())
    }

    fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    fn stop(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    fn start_again(&mut self) -> io::Result<()> {
        self.stop()?;
        fs::create_dir_all(&self.folder)?;
        let certificates = match &self.tls {
            Some((authority, _)) => authority.server_folder(),
            None => self.temporary.path().join("no-certificates"),
        };
        let log = fs::File::create(self.log())?;
        let child = Command::new(&self.program)
            .args(["server", "--quiet", "--address", &self.port.address().to_string()])
            .arg("--certs-dir")
            .arg(certificates)
            .arg(&self.folder)
            .env_clear()
            .env("HOME", self.temporary.path())
            .env("MINIO_ROOT_USER", &self.credentials.access_key)
            .env("MINIO_ROOT_PASSWORD", &self.credentials.secret_key)
            .env("MINIO_BROWSER", "off")
            .env("MINIO_UPDATE", "off")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.child = Some(child);
        self.wait()
    }
}

impl Drop for MinIo {
    fn drop(&mut self) {
        drop(self.stop());
    }
}
