//! A small S3 client for whoever prepares or checks a bucket. It is not what is tested.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, sync::LazyLock, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use sha2::{Digest as _, Sha256};
use ureq::{
    Agent,
    http::Request,
    tls::{Certificate, RootCerts, TlsConfig, TlsProvider},
};

use super::{Credentials, hex};

const REGION: &str = "us-east-1";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of an answer.
const LARGEST: u64 = 256 << 20;

/// A client that signs its requests.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    endpoint: String,
    credentials: Credentials,
    /// How wrong its clock is.
    clock: SignedDuration,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `NoSuchKey`, `AccessDenied` …
    pub fn error_code(&self) -> Option<String> {
        (self.status >= 400).then(|| element(&self.text(), "Code")).flatten()
    }

    fn success(self) -> io::Result<Self> {
        if self.status < 300 {
            return Ok(self);
        }
        let code = self.error_code().unwrap_or_default();
        Err(io::Error::other(format!("the S3 server answered {} {code}", self.status)))
    }
}

/// A line of a bucket's list of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its ID.
    pub id: String,
    /// Whether it is what is there now.
    pub is_latest: bool,
    /// Whether it is a delete marker.
    pub is_marker: bool,
    /// Bytes.
    pub size: u64,
    /// When it was written, as the server says it.
    pub modified: String,
}

impl Client {
    /// A client of the server at `endpoint`, which is trusted when `authority` (a PEM file) signed for it.
    pub fn new(endpoint: &str, credentials: Credentials, authority: Option<&Path>) -> io::Result<Self> {
        let roots = match authority {
            Some(path) => {
                let certificate = Certificate::from_pem(&fs::read(path)?).map_err(io::Error::other)?;
                RootCerts::from(vec![certificate])
            }
            None => RootCerts::PlatformVerifier,
        };
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .tls_config(tls)
            .build();
        let clock = SignedDuration::ZERO;
        Ok(Self { agent: config.into(), endpoint: endpoint.to_owned(), credentials, clock })
    }

    /// The same client with other credentials.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// The same client with a clock that is wrong by so many seconds.
    #[must_use]
    pub fn with_clock(mut self, seconds: i64) -> Self {
        self.clock = SignedDuration::from_secs(seconds);
        self
    }

    /// Sends a request. `path` is `/`, `/bucket` or `/bucket/key`, not encoded.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let host = self.endpoint.split_once("://").map_or("", |(_, host)| host);
        let now = Timestamp::now().checked_add(self.clock).map_err(io::Error::other)?;
        let digest = hex(&Sha256::digest(body));
        let mut signed: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect();
        let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        signed.insert("host".to_owned(), host.to_owned());
        signed.insert("x-amz-date".to_owned(), stamp.clone());
        // A test may say something else about its body.
        let digest = signed.entry("x-amz-content-sha256".to_owned()).or_insert(digest).clone();

        let (path, query) = (encode(path, true), encode_query(query));
        let canonical = canonical_request(method, &path, &query, &signed, &digest);
        let authorization = self.authorization(&stamp, &canonical, &signed);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}{}{query}", self.endpoint, if query.is_empty() { "" } else { "?" }))
            .header("authorization", authorization);
        for (name, value) in signed.iter().filter(|(name, _)| *name != "host") {
            request = request.header(name, value);
        }
        self.transfer(request, body)
    }

    /// Sends a request that nobody signed.
    pub fn send_unsigned(&self, method: &str, path: &str) -> io::Result<Answer> {
        let request =
            Request::builder().method(method).uri(format!("{}{}", self.endpoint, encode(path, true)));
        self.transfer(request, &[])
    }

    fn transfer(&self, request: ureq::http::request::Builder, body: &[u8]) -> io::Result<Answer> {
        let has_body = request.method_ref().is_some_and(|method| method == "PUT" || method == "POST");
        let response = if has_body {
            self.agent.run(request.body(body).map_err(io::Error::other)?)
        } else {
            self.agent.run(request.body(()).map_err(io::Error::other)?)
        };
        let mut response = response.map_err(ureq::Error::into_io)?;
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LARGEST).read_to_vec();
        Ok(Answer { status, headers, body: body.map_err(ureq::Error::into_io)? })
    }

    fn authorization(&self, stamp: &str, canonical: &str, signed: &BTreeMap<String, String>) -> String {
        let day = &stamp[..8];
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.credentials.secret_key).into_bytes();
        for part in [day, REGION, "s3", "aws4_request"] {
            key = sign(&key, part);
        }
        let names = signed_names(signed);
        let signature = hex(&sign(&key, &text));
        let user = &self.credentials.access_key;
        format!("AWS4-HMAC-SHA256 Credential={user}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    /// Makes a bucket.
    pub fn create_bucket(&self, bucket: &str, versioned: bool) -> io::Result<()> {
        self.send("PUT", &format!("/{bucket}"), &[], &[], &[])?.success()?;
        if versioned {
            self.set_versioning(bucket, "Enabled")?;
        }
        Ok(())
    }

    /// `Enabled` or `Suspended`.
    pub fn set_versioning(&self, bucket: &str, status: &str) -> io::Result<()> {
        let text = format!(
            "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status></VersioningConfiguration>"
        );
        let path = format!("/{bucket}");
        self.send("PUT", &path, &[("versioning", "")], &[], text.as_bytes())?.success().map(drop)
    }

    /// Writes an object; its version's ID, `null` without versioning.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) -> io::Result<String> {
        let answer = self.send("PUT", &format!("/{bucket}/{key}"), &[], &[], body)?.success()?;
        let id = answer.headers.get("x-amz-version-id").cloned();
        Ok(id.unwrap_or_else(|| "null".to_owned()))
    }

    /// What an object or one version of it holds.
    pub fn get(&self, bucket: &str, key: &str, version: Option<&str>) -> io::Result<Vec<u8>> {
        let query: Vec<_> = version.map(|id| ("versionId", id)).into_iter().collect();
        let answer = self.send("GET", &format!("/{bucket}/{key}"), &query, &[], &[])?;
        answer.success().map(|answer| answer.body)
    }

    /// Deletes an object, behind a marker where the bucket keeps versions, or one version for good.
    pub fn delete(&self, bucket: &str, key: &str, version: Option<&str>) -> io::Result<()> {
        let query: Vec<_> = version.map(|id| ("versionId", id)).into_iter().collect();
        self.send("DELETE", &format!("/{bucket}/{key}"), &query, &[], &[])?.success().map(drop)
    }

    /// All versions of one object, the newest first.
    pub fn versions(&self, bucket: &str, key: &str) -> io::Result<Vec<Version>> {
        let mut found = Vec::new();
        let (mut after_key, mut after_version) = (String::new(), String::new());
        loop {
            let mut query = vec![("versions", ""), ("prefix", key)];
            if !after_key.is_empty() {
                query.extend([("key-marker", after_key.as_str()), ("version-id-marker", &after_version)]);
            }
            let text = self.send("GET", &format!("/{bucket}"), &query, &[], &[])?.success()?.text();
            found.extend(listed(&text).filter(|(name, _)| name == key).map(|(_, version)| version));
            if element(&text, "IsTruncated").as_deref() != Some("true") {
                break;
            }
            let next = |name| element(&text, name).unwrap_or_default();
            (after_key, after_version) = (next("NextKeyMarker"), next("NextVersionIdMarker"));
        }
        // Some servers list the markers apart from the versions.
        found.sort_by(|a, b| (b.is_latest, &b.modified).cmp(&(a.is_latest, &a.modified)));
        Ok(found)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Key and version of each line of a list.
fn listed(text: &str) -> impl Iterator<Item = (String, Version)> {
    static LINE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?s)<(Version|DeleteMarker)>(.*?)</(?:Version|DeleteMarker)>").ok());
    LINE.iter().flat_map(move |line| line.captures_iter(text)).map(|found| {
        let inner = |name| element(&found[2], name).unwrap_or_default();
        let version = Version {
            id: inner("VersionId"),
            is_latest: inner("IsLatest") == "true",
            is_marker: &found[1] == "DeleteMarker",
            size: inner("Size").parse().unwrap_or_default(),
            modified: inner("LastModified"),
        };
        (inner("Key"), version)
    })
}

/// The text of the first element of this name.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.to_owned())
}

fn canonical_request(
    method: &str,
    path: &str,
    query: &str,
    signed: &BTreeMap<String, String>,
    digest: &str,
) -> String {
    let headers =
        signed.iter().fold(String::new(), |text, (name, value)| text + &format!("{name}:{}\n", value.trim()));
    format!("{method}\n{path}\n{query}\n{headers}\n{}\n{digest}", signed_names(signed))
}

fn signed_names(signed: &BTreeMap<String, String>) -> String {
    signed.keys().map(String::as_str).collect::<Vec<_>>().join(";")
}

fn encode_query(query: &[(&str, &str)]) -> String {
    let encoded = |(name, value): &(&str, &str)| format!("{}={}", encode(name, false), encode(value, false));
    let mut pairs: Vec<String> = query.iter().map(encoded).collect();
    pairs.sort();
    pairs.join("&")
}

fn encode(text: &str, is_path: bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/');
        if is_plain {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    // Every length of key is fine for this function.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
