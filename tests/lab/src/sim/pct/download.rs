//! The little of HTTP by which a process in a container gets a file.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a server may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a server answers: its status and the body.
pub(super) fn get(url: &str) -> io::Result<(u16, Vec<u8>)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not an address of the lab");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = host.to_socket_addrs()?.next().ok_or_else(wrong)?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the answer breaks off");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    Ok((status, answer.split_off(end + 4)))
}
