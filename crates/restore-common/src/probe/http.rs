//! What a URL answers.

use std::{fmt, io::Read as _, time::Duration};

use ureq::{
    Agent, Error,
    http::Uri,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

use super::Tcp;
use crate::ui::{format, sanitize};

/// The most that is read of a body.
const BODY_LIMIT: u64 = 1 << 20;

/// A URL that can be asked. Shown without its query, which may hold a key.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl(Uri);

impl HttpUrl {
    /// Reads a URL; the error says what is wrong without repeating it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "this is not a URL")?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("a URL begins with `http://` or `https://`");
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        if authority.ok_or("the URL names no host")?.as_str().contains('@') {
            return Err("a URL with a user's name or password in it is not supported");
        }
        Ok(Self(uri))
    }

    /// The host: a name or an address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = (self.0.scheme_str().unwrap_or_default(), self.0.authority());
        let authority = authority.map(ToString::to_string).unwrap_or_default();
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({self})")
    }
}

/// What asking a URL showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Http {
    /// An answer.
    Answered {
        /// Its status.
        status: u16,
        /// Its body, as far as it was read.
        body: Vec<u8>,
    },
    /// Something accepts connections, but what it says is no answer: broken off, or an untrusted certificate.
    Broken(String),
    /// It could not be connected to.
    NotOpen(Tcp),
}

impl Http {
    /// Whether `text` is in the body.
    pub fn has(&self, text: &str) -> bool {
        let Self::Answered { body, .. } = self else { return false };
        body.windows(text.len().max(1)).any(|window| window == text.as_bytes())
    }
}

/// The body is left out: it may hold anything.
impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered { status, .. } => write!(f, "status {status}"),
            Self::Broken(reason) => f.write_str(reason),
            Self::NotOpen(seen) => seen.fmt(f),
        }
    }
}

/// Asks a URL once: directly, past every proxy, and without following where it may point. `insecure` takes any
/// certificate.
pub fn http(url: &HttpUrl, insecure: bool, limit: Duration) -> Http {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(RootCerts::PlatformVerifier)
        .disable_verification(insecure);
    let config = Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("pve-restore")
        .tls_config(tls.build())
        .build();
    match Agent::new_with_config(config).get(&url.0).call() {
        Ok(mut response) => {
            let mut body = Vec::new();
            let read = response.body_mut().as_reader().take(BODY_LIMIT).read_to_end(&mut body);
            match read {
                Ok(_) => Http::Answered { status: response.status().as_u16(), body },
                Err(_) => Http::Broken(format!(
                    "status {}, then the answer broke off after {}",
                    response.status().as_u16(),
                    format::bytes(body.len() as u64)
                )),
            }
        }
        Err(error) => meaning(&error),
    }
}

/// What an error says, without the URL.
fn meaning(error: &Error) -> Http {
    match error {
        Error::Io(error) => match Tcp::from(error) {
            Tcp::NotAsked(reason) => Http::Broken(sanitize(&reason).into_owned()),
            seen => Http::NotOpen(seen),
        },
        Error::Timeout(_) => Http::NotOpen(Tcp::TimedOut),
        Error::HostNotFound => Http::NotOpen(Tcp::NotAsked("the name has no address".to_owned())),
        Error::ConnectionFailed => Http::NotOpen(Tcp::NotAsked("no connection".to_owned())),
        Error::Protocol(_) => Http::Broken("it does not speak HTTP".to_owned()),
        Error::NativeTls(error) => Http::Broken(format!("TLS: {}", sanitize(&error.to_string()))),
        _ => Http::Broken("it could not be asked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        thread,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A server that answers its first visitor; gives the part of a URL behind the scheme.
    fn server(answer: impl FnOnce(TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || answer(listener.accept().unwrap().0));
        address.to_string()
    }

    fn hear(stream: &mut impl std::io::Read) -> String {
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            heard.push(byte[0]);
        }
        String::from_utf8(heard).unwrap()
    }

    fn saying(text: &'static str) -> impl FnOnce(TcpStream) + Send {
        move |mut stream| {
            hear(&mut stream);
            stream.write_all(text.as_bytes()).unwrap();
        }
    }

    fn ask(address: &str) -> Http {
        http(&HttpUrl::parse(&format!("http://{address}/health?key=secret")).unwrap(), false, LIMIT)
    }

    #[test]
    fn status_and_body_are_seen() {
        let answer = ask(&server(saying("HTTP/1.1 503 Busy\r\nContent-Length: 8\r\n\r\nall bad\n")));
        assert_eq!(answer, Http::Answered { status: 503, body: b"all bad\n".to_vec() });
        assert!(answer.has("bad") && !answer.has("good"));
        assert_eq!(answer.to_string(), "status 503");
    }

    #[test]
    fn a_pointer_to_somewhere_else_is_not_followed() {
        let text = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(ask(&server(saying(text))), Http::Answered { status: 302, body: Vec::new() });
    }

    #[test]
    fn a_body_without_end_is_cut() {
        let address = server(|mut stream| {
            hear(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        });
        let Http::Answered { status: 200, body } = ask(&address) else { panic!("no answer") };
        assert_eq!(body.len() as u64, BODY_LIMIT);
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        assert_eq!(ask(&server(saying("SSH-2.0-x\r\n"))).to_string(), "it does not speak HTTP");
        let broken = ask(&server(saying("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbad")));
        assert_eq!(broken.to_string(), "status 200, then the answer broke off after 3 B");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let silent =
            http(&HttpUrl::parse(&format!("http://{address}/")).unwrap(), false, Duration::from_millis(50));
        assert_eq!(silent, Http::NotOpen(Tcp::TimedOut));
        drop(listener);
        assert_eq!(ask(&address), Http::NotOpen(Tcp::Refused));
    }

    /// Made for this test, with `openssl req -x509 -newkey rsa:2048 -nodes -days 36500 -subj /CN=127.0.0.1`.
    const CERTIFICATE: &[u8] = include_bytes!("testdata/self-signed.pem");
    const KEY: &[u8] = include_bytes!("testdata/self-signed.key");

    fn tls_server() -> String {
        server(|stream| {
            let identity = native_tls::Identity::from_pkcs8(CERTIFICATE, KEY).unwrap();
            let acceptor = native_tls::TlsAcceptor::new(identity).unwrap();
            if let Ok(mut stream) = acceptor.accept(stream) {
                hear(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            }
        })
    }

    #[test]
    fn a_self_signed_certificate_is_taken_only_when_that_was_said() {
        let ask = |insecure| {
            let url = HttpUrl::parse(&format!("https://{}/", tls_server())).unwrap();
            http(&url, insecure, LIMIT)
        };
        let refused = ask(false).to_string();
        assert!(refused.contains("certificate"), "{refused}");
        assert_eq!(ask(true), Http::Answered { status: 200, body: b"ok".to_vec() });
    }

    #[rstest::rstest]
    #[case("http://a/b?key=secret", Ok("http://a/b"))]
    #[case("https://[fe80::1]:8443/", Ok("https://[fe80::1]:8443/"))]
    #[case("http://a", Ok("http://a/"))]
    #[case("/a", Err("a URL begins with `http://` or `https://`"))]
    #[case("ftp://a/", Err("a URL begins with `http://` or `https://`"))]
    #[case("http://", Err("this is not a URL"))]
    #[case("http://a b/", Err("this is not a URL"))]
    #[case("http://user:secret@a/", Err("a URL with a user's name or password in it is not supported"))]
    fn urls_are_shown_without_what_may_be_secret(#[case] text: &str, #[case] shown: Result<&str, &str>) {
        let url = HttpUrl::parse(text).map(|url| url.to_string());
        assert_eq!(url.as_deref().map_err(|reason| *reason), shown);
    }
}
