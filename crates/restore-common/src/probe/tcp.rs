//! What answers on a TCP port.

use std::{
    fmt,
    io::{self, Read as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::{Duration, Instant},
};

/// What connecting to a port showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// Something accepts connections.
    Open,
    /// The machine is there; nothing listens.
    Refused,
    /// Nothing came back.
    TimedOut,
    /// The question could not be asked: no such name, no route.
    NotAsked(String),
}

impl fmt::Display for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::NotAsked(reason) => write!(f, "could not ask: {reason}"),
        }
    }
}

impl From<&io::Error> for Tcp {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            _ => Self::NotAsked(error.to_string()),
        }
    }
}

/// Connects to a port of a name or an address (IPv6 without brackets) and closes the connection again.
pub fn tcp(address: &str, port: u16, timeout: Duration) -> Tcp {
    match connect(address, port, Instant::now() + timeout) {
        Ok(_) => Tcp::Open,
        Err(seen) => seen,
    }
}

/// Tries all addresses of a name. When none accepts, the answer that tells most counts: refused, then silence.
fn connect(address: &str, port: u16, deadline: Instant) -> Result<TcpStream, Tcp> {
    let not_asked = |error: io::Error| Tcp::NotAsked(error.to_string());
    let addresses: Vec<SocketAddr> = (address, port).to_socket_addrs().map_err(not_asked)?.collect();
    let mut seen = Tcp::NotAsked("the name has no address".to_owned());
    for address in addresses {
        match TcpStream::connect_timeout(&address, left(deadline)) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let now = Tcp::from(&error);
                if matches!((&seen, &now), (Tcp::NotAsked(_), _) | (Tcp::TimedOut, Tcp::Refused)) {
                    seen = now;
                }
            }
        }
    }
    Err(seen)
}

/// The time until the deadline; never zero, which the system does not take for a timeout.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// What an SSH port said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshBanner {
    /// It introduced itself: `SSH-2.0-OpenSSH_9.2p1`.
    Ssh(String),
    /// It accepted the connection and said nothing, or something else.
    NotSsh,
    /// It could not be connected to.
    NotOpen(Tcp),
}

impl fmt::Display for SshBanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(banner) => f.write_str(&crate::ui::sanitize(banner)),
            Self::NotSsh => f.write_str("open, but it does not speak SSH"),
            Self::NotOpen(seen) => seen.fmt(f),
        }
    }
}

/// A server may send other lines first; this many bytes are looked at.
const BANNER_LIMIT: usize = 8192;

/// Waits for an SSH server to introduce itself. An open port alone does not say that the system behind it is up.
pub fn ssh_banner(address: &str, port: u16, timeout: Duration) -> SshBanner {
    let deadline = Instant::now() + timeout;
    match connect(address, port, deadline) {
        Ok(stream) => read_banner(stream, deadline).map_or(SshBanner::NotSsh, SshBanner::Ssh),
        Err(seen) => SshBanner::NotOpen(seen),
    }
}

fn read_banner(mut stream: TcpStream, deadline: Instant) -> Option<String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 512];
    while heard.len() < BANNER_LIMIT && Instant::now() < deadline {
        stream.set_read_timeout(Some(left(deadline))).ok()?;
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        heard.extend_from_slice(&buffer[..count]);
        if let Some(banner) = banner_in(&heard) {
            return Some(banner);
        }
    }
    None
}

/// The first whole line that begins with `SSH-`.
fn banner_in(heard: &[u8]) -> Option<String> {
    let mut lines = heard.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let line = lines.find(|line| line.starts_with(b"SSH-"))?;
    Some(String::from_utf8_lossy(line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, thread};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// A server that says `words` to its first visitor, then closes.
    fn server(words: &'static [&'static [u8]]) -> u16 {
        let (listener, port) = listener();
        thread::spawn(move || {
            let (mut visitor, _) = listener.accept().unwrap();
            for word in words {
                visitor.write_all(word).unwrap();
                visitor.flush().unwrap();
            }
        });
        port
    }

    #[test]
    fn a_port_is_open_while_something_listens() {
        let (listener, port) = listener();
        assert_eq!(tcp("127.0.0.1", port, LIMIT), Tcp::Open);
        drop(listener);
        assert_eq!(tcp("127.0.0.1", port, LIMIT), Tcp::Refused);
        assert_eq!(ssh_banner("127.0.0.1", port, LIMIT), SshBanner::NotOpen(Tcp::Refused));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("no such name")]
    #[case("$(reboot)")]
    #[case("192.168.1.10/24")]
    fn what_is_no_address_is_not_a_no(#[case] address: &str) {
        assert!(matches!(tcp(address, 22, LIMIT), Tcp::NotAsked(_)));
    }

    #[rstest::rstest]
    #[case(io::ErrorKind::ConnectionRefused, &Tcp::Refused)]
    #[case(io::ErrorKind::TimedOut, &Tcp::TimedOut)]
    fn failures_are_told_apart(#[case] kind: io::ErrorKind, #[case] expected: &Tcp) {
        assert_eq!(&Tcp::from(&io::Error::from(kind)), expected);
        let no_route = Tcp::from(&io::Error::from(io::ErrorKind::NetworkUnreachable));
        assert!(matches!(no_route, Tcp::NotAsked(_)));
    }

    #[test]
    fn a_server_that_introduces_itself_is_ssh() {
        let port = server(&[b"welcome\r\nSS", b"H-2.0-Open", b"SSH_9.2p1\r\n"]);
        assert_eq!(ssh_banner("127.0.0.1", port, LIMIT), SshBanner::Ssh("SSH-2.0-OpenSSH_9.2p1".to_owned()));
    }

    #[test]
    fn a_server_that_says_something_else_is_not() {
        let port = server(&[b"HTTP/1.1 400 Bad Request\r\n\r\n"]);
        assert_eq!(ssh_banner("127.0.0.1", port, LIMIT), SshBanner::NotSsh);
        let port = server(&[b"SSH-2.0-cut"]);
        assert_eq!(ssh_banner("127.0.0.1", port, LIMIT), SshBanner::NotSsh);
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let (_listener, port) = listener();
        assert_eq!(ssh_banner("127.0.0.1", port, Duration::from_millis(50)), SshBanner::NotSsh);
    }
}
