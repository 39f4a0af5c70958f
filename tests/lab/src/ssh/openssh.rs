//! A real OpenSSH server in front of a simulated node.

use std::{
    fs, io,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::ServerOptions;

/// How long sshd may take to listen.
const START: Duration = Duration::from_secs(20);

/// A running `sshd`; it ends at drop.
#[derive(Debug)]
pub struct OpenSsh {
    address: SocketAddr,
    child: Child,
}

impl OpenSsh {
    /// The program, where it is installed.
    pub fn find() -> Option<PathBuf> {
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"]
            .iter()
            .map(PathBuf::from)
            .find(|p| p.exists())
    }

    /// Starts it with its own keys and configuration in `folder`, as whoever runs this.
    pub fn start(options: &ServerOptions, folder: &Path) -> io::Result<Self> {
        let program =
            Self::find().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "sshd is not installed"))?;
        // As root, sshd refuses to start without its folder for privilege separation.
        drop(fs::create_dir_all("/run/sshd"));
        fs::create_dir_all(folder)?;
        // Freed again before sshd takes it: another program could take it in between, and then sshd says so.
        let address = TcpListener::bind(options.address)?.local_addr()?;
        let configuration = configure(options, folder, address)?;
        let log = fs::File::create(folder.join("sshd.log"))?;
        let child = Command::new(program)
            .arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let mut server = Self { address, child };
        server.wait(&folder.join("sshd.log"))?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn wait(&mut self, log: &Path) -> io::Result<()> {
        let deadline = Instant::now() + START;
        loop {
            if greets(self.address) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() || Instant::now() > deadline {
                let words = fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!("sshd does not listen: {words}")));
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An open port is not enough: a connection to a free port of the same machine may be answered by itself.
fn greets(address: SocketAddr) -> bool {
    let mut word = [0; 4];
    TcpStream::connect_timeout(&address, Duration::from_millis(200))
        .and_then(|stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            (&stream).read_exact(&mut word)
        })
        .is_ok_and(|()| &word == b"SSH-")
}

fn configure(options: &ServerOptions, folder: &Path, address: SocketAddr) -> io::Result<PathBuf> {
    let (host_key, authorized, file) =
        (folder.join("host_key"), folder.join("authorized_keys"), folder.join("sshd_config"));
    options.host_key.write(&host_key)?;
    fs::write(&authorized, format!("{}\n", options.client_key))?;
    let variables: Vec<_> = options.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Under sshd bash reads the start-up file of whoever runs the tests, unless it is told that it is an inner shell.
    let text = format!(
        "ListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n\
         MaxSessions 100\nLogLevel ERROR\nSetEnv SHLVL=1 {}\n\
         ForceCommand {} shell\n",
        host_key.display(),
        authorized.display(),
        variables.join(" "),
        options.simulator.display(),
    );
    fs::write(&file, text)?;
    Ok(file)
}
