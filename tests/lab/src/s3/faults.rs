//! What can be wrong with an S3 server.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use s3s::HttpResponse;

/// What is wrong with a request's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is taken and never answered.
    Hang,
    /// The answer is late.
    Slow(Duration),
    /// 503, with words in XML.
    Unavailable,
    /// 502, with a page of HTML, as from a proxy before a dead server.
    BadGateway,
    /// The connection is closed and nothing was done.
    CutBefore,
    /// It was done, but the connection is closed before the answer.
    CutAfter,
    /// The connection is closed in the middle of the body.
    Truncate,
    /// The entity tag is that of something else.
    WrongEtag,
    /// `If-None-Match` and `If-Match` have no effect.
    IgnoreConditions,
    /// Versions are unknown to the server.
    NoVersioning,
    /// Nothing more can be written, as on a drive without room; the server is no longer healthy.
    DiskFull,
    /// The client's clock is said to be wrong.
    ClockSkew,
    /// The client's secret is said to be wrong.
    WrongSecret,
    /// The client is said to be unknown.
    UnknownKey,
}

impl Fault {
    /// The answer of a server that refuses before it looks at anything.
    pub(super) fn refusal(self, seen: &Seen) -> Option<HttpResponse> {
        let (status, code, message) = match self {
            Self::Unavailable => {
                (503, "SlowDown", "Resource requested is unreadable, please reduce your request rate")
            }
            Self::ClockSkew => (
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the server's time is too large.",
            ),
            Self::WrongSecret => (
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
            ),
            Self::UnknownKey => {
                (403, "InvalidAccessKeyId", "The Access Key Id you provided does not exist in our records.")
            }
            Self::DiskFull if seen.path == "/minio/health/cluster" => (503, "", ""),
            Self::DiskFull if seen.writes() => (
                507,
                "XMinioStorageFull",
                "Storage backend has reached its minimum free drive threshold. Please delete a few objects to proceed.",
            ),
            Self::NoVersioning if seen.is_about_versions() => {
                (501, "NotImplemented", "A header you provided implies functionality that is not implemented")
            }
            Self::BadGateway => {
                return Some(response(
                    502,
                    "text/html",
                    "<html><body><h1>502 Bad Gateway</h1></body></html>\n".to_owned(),
                ));
            }
            _ => return None,
        };
        let path = &seen.path;
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
             <Resource>{path}</Resource><RequestId>0</RequestId></Error>"
        );
        Some(response(status, "application/xml", text))
    }
}

/// An answer of this kind.
pub(super) fn response(status: u16, content_type: &'static str, text: String) -> HttpResponse {
    use hyper::{StatusCode, header};
    let mut response = HttpResponse::new(s3s::Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Counted from 1.
    pub number: usize,
    /// `GET`, `PUT` …
    pub method: String,
    /// `/bucket/key`, as it was sent.
    pub path: String,
    /// `versionId=…`, as it was sent; empty without one.
    pub query: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
}

impl Seen {
    /// The bucket's name; empty where the request is about none.
    pub fn bucket(&self) -> &str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or_default()
    }

    /// The object's key; empty where the request is about none.
    pub fn key(&self) -> &str {
        self.path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key)
    }

    fn writes(&self) -> bool {
        self.method == "PUT" || self.method == "POST"
    }

    fn is_about_versions(&self) -> bool {
        let mut names = self.query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
        names.any(|name| ["versioning", "versions", "versionId"].contains(&name))
    }
}

type Watcher = Arc<dyn Fn(&Seen) -> Option<Fault> + Send + Sync>;

/// Every request so far, and who is asked what to do with the next one.
#[derive(Default)]
pub(super) struct Watch {
    seen: Mutex<Vec<Seen>>,
    watcher: Mutex<Option<Watcher>>,
}

impl Watch {
    pub(super) fn requests(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, watcher: Option<Watcher>) {
        *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
    }

    pub(super) fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes a request.
    pub(super) fn note(&self, parts: &hyper::http::request::Parts) -> Seen {
        let text =
            |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen {
            number: all.len() + 1,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        };
        all.push(seen.clone());
        seen
    }

    /// Asks what is to go wrong. The watcher may take its time: other requests go on.
    pub(super) fn ask(&self, seen: &Seen) -> Option<Fault> {
        let watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::task::block_in_place(|| watcher?(seen))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
