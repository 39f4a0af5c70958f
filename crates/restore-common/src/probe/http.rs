//! What a URL answers.

use std::{fmt, io::Read as _, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ureq::{
    Agent, Body, Error,
    http::{Response, Uri},
    tls::{RootCerts, TlsConfig, TlsProvider},
};

use super::Tcp;
use crate::{
    s3::certificates,
    ui::{Secret, format, sanitize},
};

/// The most that is read of a body, unless more is wanted.
const BODY_LIMIT: u64 = 1 << 20;

/// Who asks: a name and a password, for HTTP's basic authentication.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Login {
    fn header(&self) -> String {
        format!("Basic {}", BASE64.encode(format!("{}:{}", self.user, self.password.reveal())))
    }
}

/// How a URL is asked.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Any certificate will do.
    pub insecure: bool,
    /// A file of certificates to trust in place of the system's.
    pub authority: Option<PathBuf>,
    /// Who asks.
    pub login: Option<Login>,
    /// The most that is read of a body.
    pub most: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self { insecure: false, authority: None, login: None, most: BODY_LIMIT }
    }
}

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
    /// Something accepts connections, but what it says is no answer: broken off, or not HTTP.
    Broken(String),
    /// It is not known to be who it says: its certificate.
    Untrusted(String),
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
            Self::Broken(reason) | Self::Untrusted(reason) => f.write_str(reason),
            Self::NotOpen(seen) => seen.fmt(f),
        }
    }
}

/// Asks a URL once: directly, past every proxy, and without following where it may point.
pub fn http(url: &HttpUrl, manner: &Manner, limit: Duration) -> Http {
    asked(manner, limit, |agent| {
        let mut request = agent.get(&url.0);
        if let Some(login) = &manner.login {
            request = request.header("Authorization", login.header());
        }
        request.call()
    })
}

/// Asks whether a URL is there, without what is there: it may be large.
pub fn http_head(url: &HttpUrl, limit: Duration) -> Http {
    asked(&Manner::default(), limit, |agent| agent.head(&url.0).call())
}

fn asked(
    manner: &Manner,
    limit: Duration,
    ask: impl FnOnce(&Agent) -> Result<Response<Body>, Error>,
) -> Http {
    let agent = match agent(manner, limit) {
        Ok(agent) => agent,
        Err(reason) => return Http::Untrusted(reason),
    };
    match ask(&agent) {
        Ok(mut response) => {
            let mut body = Vec::new();
            let read = response.body_mut().as_reader().take(manner.most).read_to_end(&mut body);
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

fn agent(manner: &Manner, limit: Duration) -> Result<Agent, String> {
    let roots = match &manner.authority {
        None => RootCerts::PlatformVerifier,
        Some(path) => {
            let wrong = |reason: String| format!("the certificates in `{}`: {reason}", path.display());
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            RootCerts::from(certificates(&pem).map_err(wrong)?)
        }
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(roots)
        .disable_verification(manner.insecure);
    let config = Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("pve-restore")
        .tls_config(tls.build())
        .build();
    Ok(Agent::new_with_config(config))
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
        Error::NativeTls(error) => Http::Untrusted(format!("TLS: {}", sanitize(&error.to_string()))),
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
        ask_as(address, &Manner::default())
    }

    fn ask_as(address: &str, manner: &Manner) -> Http {
        http(&HttpUrl::parse(&format!("http://{address}/health?key=secret")).unwrap(), manner, LIMIT)
    }

    #[test]
    fn a_login_goes_in_the_header_and_is_not_shown() {
        let address = server(|mut stream| {
            // Of `admin:pass:word`, as RFC 7617 has it.
            let is_right = hear(&mut stream).contains("authorization: Basic YWRtaW46cGFzczp3b3Jk\r\n");
            let status = if is_right { "200 OK" } else { "401 Unauthorized" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        });
        let login = Login { user: "admin".to_owned(), password: Secret::from("pass:word".to_owned()) };
        let manner = Manner { login: Some(login), ..Manner::default() };
        assert_eq!(ask_as(&address, &manner).to_string(), "status 200");
        assert!(!format!("{manner:?}").contains("pass:word"));
    }

    #[test]
    fn status_and_body_are_seen() {
        let answer = ask(&server(saying("HTTP/1.1 503 Busy\r\nContent-Length: 8\r\n\r\nall bad\n")));
        assert_eq!(answer, Http::Answered { status: 503, body: b"all bad\n".to_vec() });
        assert!(answer.has("bad") && !answer.has("good"));
        assert_eq!(answer.to_string(), "status 503");
    }

    #[test]
    fn whether_something_is_there_is_asked_without_it() {
        let address = server(|mut stream| {
            assert!(hear(&mut stream).starts_with("HEAD /health "));
            stream.write_all(b"HTTP/1.1 410 Gone\r\nContent-Length: 900\r\n\r\n").unwrap();
        });
        let url = HttpUrl::parse(&format!("http://{address}/health")).unwrap();
        assert_eq!(http_head(&url, LIMIT), Http::Answered { status: 410, body: Vec::new() });
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
        let url = HttpUrl::parse(&format!("http://{address}/")).unwrap();
        let silent = http(&url, &Manner::default(), Duration::from_millis(50));
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
            http(&url, &Manner { insecure, ..Manner::default() }, LIMIT)
        };
        let refused = ask(false);
        assert!(matches!(&refused, Http::Untrusted(why) if why.contains("certificate")), "{refused}");
        assert_eq!(ask(true), Http::Answered { status: 200, body: b"ok".to_vec() });
    }

    #[test]
    fn an_authority_of_ones_own_is_read_or_named() {
        let manner = Manner { authority: Some("/nowhere/ca.pem".into()), ..Manner::default() };
        let refused = ask_as("127.0.0.1:1", &manner).to_string();
        assert!(refused.starts_with("the certificates in `/nowhere/ca.pem`: "), "{refused}");
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
