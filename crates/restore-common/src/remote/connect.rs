//! From a node's address to a connection that is logged in: socket, handshake, host key, keys.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{Command as Program, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt;
use ssh2::{ErrorCode, MethodType, Session};

use super::{
    HostError,
    auth::{self, Keys},
    connection::{CONNECT_WITHIN, Connection, Jump, Wire},
    known_hosts::{self, KnownHosts, Verdict},
};

/// After how much silence the system asks a node whether it is still there.
const ASK_AFTER: Duration = Duration::from_secs(15);

/// How long a node may leave what was sent unanswered before the connection counts as lost.
const GIVE_UP_AFTER: Duration = Duration::from_secs(45);

/// libssh2's number for a time-out.
const TIMED_OUT: ErrorCode = ErrorCode::Session(-9);

/// Everything that is needed to reach a node, after options and configuration were put together.
pub(super) struct Route {
    /// The host as the operator knows it.
    pub name: String,
    pub address: String,
    pub port: u16,
    pub user: String,
    /// Hosts in between, as OpenSSH writes them: `[user@]host[:port],…`.
    pub jump: Option<String>,
    /// The configuration for the `ssh` that leads to the host in between, when it is not the usual one.
    pub jump_config: Option<PathBuf>,
    pub keys: Keys,
    /// All files that say which host keys are right.
    pub known_hosts: Vec<PathBuf>,
    /// The program's own one of these: where a new key is written.
    pub own_known_hosts: PathBuf,
    pub accept_new_host_key: bool,
}

impl Route {
    /// Connects and logs in.
    pub(super) fn connect(&self) -> Result<Connection, HostError> {
        let wire = Arc::new(match &self.jump {
            Some(jump) => self.jump_over(jump)?,
            None => Wire::Tcp(self.dial()?),
        });
        let known = self.known_host()?;
        let mut session = Session::new().map_err(|error| self.failed(&error))?;
        session.set_timeout(u32::try_from(CONNECT_WITHIN.as_millis()).unwrap_or(u32::MAX));
        prefer_known_keys(&session, &known).map_err(|error| self.failed(&error))?;
        session.set_tcp_stream(Shared(Arc::clone(&wire)));
        session.handshake().map_err(|error| self.handshake_failed(&error, &wire))?;
        self.check_host_key(&session, &known)?;
        auth::authenticate(&session, &self.user, &self.keys)
            .map_err(|tried| HostError::Authentication { host: self.name.clone(), tried })?;
        Ok(Connection::new(session, wire))
    }

    /// Tries each address of the name in turn.
    fn dial(&self) -> Result<TcpStream, HostError> {
        let addresses = (self.address.as_str(), self.port).to_socket_addrs().map_err(|error| {
            self.unreachable(&format!("the name `{}` is not found ({error})", self.address))
        })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN).and_then(notice_silence) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        let why = match last.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::TimedOut => format!("no answer within {} s", CONNECT_WITHIN.as_secs()),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "no route to it".to_owned(),
            _ => last.to_string(),
        };
        Err(self.unreachable(&why))
    }

    /// Has the system's `ssh` lead to the node, which logs in to the host in between as the operator is used to.
    fn jump_over(&self, jump: &str) -> Result<Wire, HostError> {
        let started = || -> io::Result<Wire> {
            let (ours, theirs) = UnixStream::pair()?;
            let mut ssh = Program::new("ssh");
            if let Some(config) = &self.jump_config {
                ssh.arg("-F").arg(config);
            }
            ssh.args(["-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ConnectTimeout=10"]);
            let (before, last) = jump.rsplit_once(',').unwrap_or(("", jump));
            if !before.is_empty() {
                ssh.args(["-J", before]);
            }
            let address =
                if self.address.contains(':') { format!("[{}]", self.address) } else { self.address.clone() };
            let last = format!("ssh://{}", last.trim_start_matches("ssh://"));
            ssh.arg("-W").arg(format!("{address}:{}", self.port)).arg("--").arg(last);
            ssh.stdin(OwnedFd::from(theirs.try_clone()?))
                .stdout(OwnedFd::from(theirs))
                .stderr(Stdio::piped());
            Ok(Wire::Jump(ours, Jump::new(ssh.spawn()?)))
        };
        started().map_err(|error| {
            self.unreachable(&format!("`ssh` for the jump over `{jump}` did not start: {error}"))
        })
    }

    pub(super) fn known_host(&self) -> Result<KnownHosts, HostError> {
        KnownHosts::load(&self.known_hosts, &self.known_name())
            .map_err(|error| HostError::Configuration { host: self.name.clone(), reason: error.to_string() })
    }

    fn known_name(&self) -> String {
        known_hosts::host_name(&self.address, self.port)
    }

    fn check_host_key(&self, session: &Session, known: &KnownHosts) -> Result<(), HostError> {
        let (key, _) = session.host_key().ok_or_else(|| self.unreachable("it showed no host key"))?;
        let (kind, fingerprint) = (known_hosts::key_type(key), known_hosts::fingerprint(key));
        let name = self.known_name();
        let refuse = |reason, hint| Err(HostError::HostKey { host: self.name.clone(), reason, hint });
        match known.check(key) {
            Verdict::Known => Ok(()),
            Verdict::Unknown if self.accept_new_host_key => {
                log::warn!("{}: noting its new {kind} key {fingerprint}", self.name);
                let file = &self.own_known_hosts;
                known_hosts::add(file, &name, key).map_err(|error| HostError::Configuration {
                    host: self.name.clone(),
                    reason: format!("cannot note the host key in `{}`: {error}", file.display()),
                })
            }
            Verdict::Unknown => refuse(
                format!("its {kind} key {fingerprint} is not known for `{name}`"),
                format!(
                    "compare it with `ssh-keygen -lf /etc/ssh/ssh_host_{}_key.pub` on the node's console, then run \
                     again with `--accept-new-host-key`, or add the key that `ssh-keyscan -p {} {}` shows to \
                     `~/.ssh/known_hosts`",
                    short_type(&kind),
                    self.port,
                    self.address
                ),
            ),
            Verdict::Changed(entry) => refuse(
                format!(
                    "its {kind} key is {fingerprint}, but {} has the {} key {}",
                    entry.place,
                    entry.key_type,
                    entry.fingerprint()
                ),
                format!(
                    "somebody may be in between. If the node was installed anew, compare the fingerprint on its \
                     console and remove the old key with `ssh-keygen -R '{name}' -f {}`",
                    entry.file.display()
                ),
            ),
            Verdict::Revoked(entry) => refuse(
                format!("its {kind} key {fingerprint} is revoked by {}", entry.place),
                "do not connect before it is known why; the node needs a new host key".to_owned(),
            ),
        }
    }

    fn handshake_failed(&self, error: &ssh2::Error, wire: &Arc<Wire>) -> HostError {
        let jump_words = last_words_of_jump(wire);
        let silent = format!("no answer within {} s", CONNECT_WITHIN.as_secs());
        let words = if error.code() == TIMED_OUT { &silent } else { error.message() };
        let why = match &self.jump {
            Some(jump) => format!("over `{jump}`: {words}{jump_words}"),
            None => format!("no SSH handshake: {words}"),
        };
        self.unreachable(&why)
    }

    fn failed(&self, error: &ssh2::Error) -> HostError {
        self.unreachable(error.message())
    }

    fn unreachable(&self, why: &str) -> HostError {
        let reason = format!("{} port {}: {why}", self.address, self.port);
        HostError::Unreachable { host: self.name.clone(), reason }
    }
}

/// What the `ssh` of a jump said; it has ended, or is of no use any more.
fn last_words_of_jump(wire: &Wire) -> String {
    let Wire::Jump(_, jump) = wire else { return String::new() };
    let words = jump.end();
    if words.is_empty() { words } else { format!(" ({words})") }
}

/// The same socket for libssh2 and for waiting.
struct Shared(Arc<Wire>);

impl std::os::fd::AsRawFd for Shared {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

/// Has the system notice a node that is gone without a word: otherwise a job would be followed for ever.
fn notice_silence(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(&stream, ASK_AFTER)?;
    sockopt::set_tcp_keepcnt(&stream, 3)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(&stream, u32::try_from(GIVE_UP_AFTER.as_millis()).unwrap_or(u32::MAX))?;
    Ok(stream)
}

/// Asks for a host key of a type that is known, so that a node is not refused for showing another one.
fn prefer_known_keys(session: &Session, known: &KnownHosts) -> Result<(), ssh2::Error> {
    let supported = session.supported_algs(MethodType::HostKey)?;
    let is_known = |algorithm: &&str| {
        let kind = if algorithm.starts_with("rsa-sha2-") { "ssh-rsa" } else { algorithm };
        known.key_types().any(|known| known == kind)
    };
    let (mut first, rest): (Vec<_>, Vec<_>) = supported.into_iter().partition(is_known);
    first.extend(rest);
    session.method_pref(MethodType::HostKey, &first.join(","))
}

/// The type of a key in the name of its file on the node.
fn short_type(kind: &str) -> &str {
    match kind.strip_prefix("ssh-").unwrap_or(kind) {
        kind if kind.starts_with("ecdsa") => "ecdsa",
        kind => kind,
    }
}
