//! Signed requests, and their answers.

use std::{io::Read as _, time::Duration};

use rusty_s3::{Method, signing::sign};
use ureq::{
    Agent,
    http::{Request, Response},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

use super::error::Trouble;
use crate::ui::Secret;

/// The most that is read of an answer: far more than any state.
const BODY_LIMIT: u64 = 1 << 30;

/// How long a signature is good for. Clocks may be a little apart.
const SIGNED_FOR: u64 = 300;

/// How many connections are kept for the next request: as many as there are ever reads at once.
const IDLE: usize = 96;

/// What a server says about the length of an answer is believed up to here, when room is made for it.
const MADE_ROOM_FOR: u64 = 16 << 20;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key, which is no secret.
    pub access_key: String,
    /// The secret key.
    pub secret_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: ureq::http::HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)?.to_str().ok().map(str::to_owned)
    }
}

/// A request before it is signed.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// The URL of what it is about, without a query.
    pub(super) url: url::Url,
    /// Sorted by name.
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a [u8],
}

/// The client that all requests go through: past every proxy, without following where an answer may point, with a limit
/// on each request. `authority` replaces the certificates of the system.
pub(super) fn agent(authority: Option<&[u8]>, limit: Duration) -> Result<Agent, String> {
    let roots = match authority {
        None => RootCerts::PlatformVerifier,
        Some(pem) => RootCerts::from(certificates(pem)?),
    };
    let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
    let config = Agent::config_builder()
        .timeout_global(Some(limit))
        .timeout_connect(Some(limit.min(Duration::from_secs(10))))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent("pve-restore")
        .max_idle_connections(IDLE)
        .max_idle_connections_per_host(IDLE)
        .tls_config(tls);
    Ok(Agent::new_with_config(config.build()))
}

/// The certificates in a PEM file.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => found.push(certificate),
            Ok(_) => {}
            Err(_) => return Err("it is not PEM".to_owned()),
        }
    }
    if found.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(found) }
}

/// Sends a request. A refusal is an answer here.
pub(super) fn send(
    agent: &Agent,
    region: &str,
    credentials: &Credentials,
    call: &Call<'_>,
) -> Result<Answer, Trouble> {
    let now = jiff::Timestamp::now();
    let signed = sign(
        &now,
        call.method,
        call.url.clone(),
        &credentials.access_key,
        credentials.secret_key.reveal(),
        credentials.session_token.as_ref().map(Secret::reveal),
        region,
        SIGNED_FOR,
        call.query.iter().copied(),
        std::iter::empty(),
    );
    let mut request = Request::builder().method(call.method.to_str()).uri(signed.as_str());
    for (name, value) in call.headers {
        request = request.header(*name, *value);
    }
    let not_sent = |_| Trouble::Other(0, "the request cannot be written down".to_owned());
    let answer = match call.method {
        Method::Put => agent.run(request.body(call.body).map_err(not_sent)?),
        _ => agent.run(request.body(()).map_err(not_sent)?),
    };
    read(answer.map_err(|error| Trouble::of_request(&error))?)
}

/// Asks a URL without a login.
pub(super) fn get(agent: &Agent, url: &url::Url) -> Result<Answer, Trouble> {
    read(agent.get(url.as_str()).call().map_err(|error| Trouble::of_request(&error))?)
}

fn read(mut answer: Response<ureq::Body>) -> Result<Answer, Trouble> {
    let length = answer.body().content_length().unwrap_or(0).min(MADE_ROOM_FOR);
    let mut body = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    let read = answer.body_mut().as_reader().take(BODY_LIMIT).read_to_end(&mut body);
    read.map_err(|error| match Trouble::of_io(&error) {
        Trouble::TimedOut => Trouble::TimedOut,
        _ => Trouble::Broken(format!("after {}", crate::ui::format::bytes(body.len() as u64))),
    })?;
    Ok(Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
}
