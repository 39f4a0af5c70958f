//! A server of buckets as a whole: which one it is, whether it serves, and which buckets it has.

use std::time::Duration;

use rusty_s3::{Method, UrlStyle};
use serde::{Deserialize, Serialize};
use ureq::Agent;

use super::{
    bucket::{Bucket, Condition, Endpoint, Versioning, read_authority},
    error::{S3Error, Trouble},
    http::{Answer, Call, Credentials, agent, get, send},
    xml,
};
use crate::ui::sanitize;

/// How long one question may take: a server that has just been started is asked again and again.
const LIMIT: Duration = Duration::from_secs(10);

/// Which server it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `MinIO`, or a fork that says so.
    MinIo,
    /// `RustFS`.
    RustFs,
    /// `SeaweedFS`.
    SeaweedFs,
    /// Garage, which keeps no versions.
    Garage,
    /// Another one that speaks S3, with what it calls itself.
    Other(Option<String>),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MinIo => f.write_str("MinIO"),
            Self::RustFs => f.write_str("RustFS"),
            Self::SeaweedFs => f.write_str("SeaweedFS"),
            Self::Garage => f.write_str("Garage"),
            Self::Other(None) => f.write_str("an S3 server without a name"),
            Self::Other(Some(name)) => write!(f, "an S3 server that calls itself `{}`", sanitize(name)),
        }
    }
}

impl Kind {
    /// Where it answers without a login once it can serve, if it has such a place beside its buckets. Sources:
    /// MinIO's "Healthcheck API", RustFS's "Ports and Health Endpoints", the S3 gateway of SeaweedFS. Garage has one on
    /// its administrative port only.
    fn health_path(&self) -> Option<&'static str> {
        match self {
            Self::MinIo => Some("/minio/health/cluster"),
            Self::RustFs => Some("/health/ready"),
            Self::SeaweedFs => Some("/healthz"),
            Self::Garage | Self::Other(_) => None,
        }
    }
}

/// What a server can do, found out by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Which server it is.
    pub kind: Kind,
    /// Whether its buckets keep versions.
    pub versions: bool,
    /// Whether it refuses a write whose condition does not hold.
    pub conditions: bool,
}

/// A server of buckets.
#[derive(Clone, Debug)]
pub struct Server {
    agent: Agent,
    credentials: Credentials,
    endpoint: Endpoint,
    url: url::Url,
}

impl Server {
    /// A server; nothing is asked yet. The error says what is wrong with the endpoint.
    pub fn new(endpoint: &Endpoint, credentials: Credentials) -> Result<Self, S3Error> {
        let wrong = |why: String| S3Error {
            what: "the S3 server".to_owned(),
            endpoint: endpoint.url.clone(),
            trouble: Trouble::Other(0, why),
        };
        let url = endpoint.url.parse().map_err(|_| wrong("the endpoint is not a URL".to_owned()))?;
        let authority = endpoint.authority.as_deref().map(read_authority).transpose().map_err(wrong)?;
        let agent = agent(authority.as_deref(), LIMIT).map_err(wrong)?;
        Ok(Self { agent, credentials, endpoint: endpoint.clone(), url })
    }

    /// The server's URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint.url
    }

    /// A bucket of it; nothing is asked.
    pub fn bucket(&self, name: &str) -> Result<Bucket, S3Error> {
        Bucket::new(&self.endpoint, name, self.credentials.clone())
    }

    /// The names of its buckets. Asking this is also the way to learn whether there is a server, and whether it takes
    /// the credentials.
    pub fn buckets(&self) -> Result<Vec<String>, S3Error> {
        let answer = self.root().map_err(|trouble| self.error(trouble))?;
        if !(200..300).contains(&answer.status) {
            return Err(self.error(refusal(&answer)));
        }
        xml::buckets(&answer.body).map_err(|why| self.error(Trouble::NotS3(why)))
    }

    /// Whether it serves: its own way of saying so where it has one, then its list of buckets.
    pub fn serves(&self) -> Result<Kind, S3Error> {
        self.buckets()?;
        let kind = self.kind()?;
        let Some(path) = kind.health_path() else { return Ok(kind) };
        match self.plain(path) {
            Ok(answer) if answer.status >= 500 => {
                let words = format!("`{path}` says that it cannot");
                Err(self.error(Trouble::Unavailable(answer.status, words)))
            }
            Ok(_) => Ok(kind),
            Err(trouble) => Err(self.error(trouble)),
        }
    }

    /// Which server it is, by what it calls itself, else by what only one of them has.
    pub fn kind(&self) -> Result<Kind, S3Error> {
        let answer = self.root().map_err(|trouble| self.error(trouble))?;
        let name = answer.header("server");
        if let Some(kind) = name.as_deref().and_then(by_name) {
            return Ok(kind);
        }
        let has = |path: &str, text: &str| {
            let answer = self.plain(path).ok().filter(|answer| answer.status == 200);
            answer.is_some_and(|answer| String::from_utf8_lossy(&answer.body).contains(text))
        };
        Ok(if has("/health", "rustfs") {
            Kind::RustFs
        } else if has("/minio/health/live", "") {
            Kind::MinIo
        } else if has("/healthz", "") {
            Kind::SeaweedFs
        } else if self.region_is_garage() {
            Kind::Garage
        } else {
            Kind::Other(name)
        })
    }

    /// What it can do with a bucket. It leaves nothing in it but the history of an object that was removed.
    pub fn capabilities(&self, bucket: &Bucket) -> Result<Capabilities, S3Error> {
        Ok(Capabilities {
            kind: self.kind()?,
            versions: keeps_versions(bucket)?,
            conditions: honours_conditions(bucket)?,
        })
    }

    /// Garage names its region, `garage` by itself, in every refusal.
    fn region_is_garage(&self) -> bool {
        let answer = self.plain("/");
        answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.body).contains("<Region>garage</Region>"))
    }

    fn root(&self) -> Result<Answer, Trouble> {
        let url = self.url.clone();
        let call = Call { method: Method::Get, url, query: &[], headers: &[], body: &[] };
        send(&self.agent, &self.endpoint.region, &self.credentials, &call)
    }

    fn plain(&self, path: &str) -> Result<Answer, Trouble> {
        let url = self.url.join(path).map_err(|_| Trouble::NotS3("the endpoint is not a URL".to_owned()))?;
        get(&self.agent, &url)
    }

    fn error(&self, trouble: Trouble) -> S3Error {
        S3Error { what: "listing the buckets".to_owned(), endpoint: self.endpoint.url.clone(), trouble }
    }
}

/// Why the list is refused. Every S3 server has one, so a bare 404 is some other server's.
fn refusal(answer: &Answer) -> Trouble {
    match Trouble::of_answer(answer.status, &answer.body) {
        Trouble::Other(status @ (404 | 405), words) => Trouble::NotS3(format!("status {status}: {words}")),
        trouble => trouble,
    }
}

fn by_name(name: &str) -> Option<Kind> {
    let name = name.to_ascii_lowercase();
    let known = [
        ("rustfs", Kind::RustFs),
        ("seaweedfs", Kind::SeaweedFs),
        ("garage", Kind::Garage),
        ("minio", Kind::MinIo),
    ];
    known.into_iter().find_map(|(part, kind)| name.contains(part).then_some(kind))
}

fn keeps_versions(bucket: &Bucket) -> Result<bool, S3Error> {
    match bucket.versioning() {
        Ok(versioning) => Ok(versioning == Versioning::Enabled),
        Err(error) if error.trouble == Trouble::NotImplemented => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a second write that wants the object not to be there is refused.
fn honours_conditions(bucket: &Bucket) -> Result<bool, S3Error> {
    const PROBE: &str = "pve-restore-probe";
    let put = |condition| bucket.put(PROBE, b"{}", condition).map(drop);
    let honoured = match put(Condition::Absent) {
        // One that a killed run left is as good.
        Err(error) if error.trouble == Trouble::ConditionFailed => true,
        Err(error) if error.trouble == Trouble::NotImplemented => return Ok(false),
        Err(error) => return Err(error),
        Ok(()) => match put(Condition::Absent) {
            Ok(()) => false,
            Err(error) if error.trouble == Trouble::ConditionFailed => true,
            Err(error) => return Err(error),
        },
    };
    bucket.delete(PROBE)?;
    Ok(honoured)
}

/// The style of URLs for a bucket's name.
pub(super) fn style(endpoint: &Endpoint) -> UrlStyle {
    if endpoint.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("MinIO", Some(Kind::MinIo))]
    #[case("MinIO/RELEASE.2025-09-07T16-13-09Z", Some(Kind::MinIo))]
    #[case("RustFS", Some(Kind::RustFs))]
    #[case("SeaweedFS 30GB 3.88", Some(Kind::SeaweedFs))]
    #[case("Garage", Some(Kind::Garage))]
    #[case("nginx", None)]
    fn a_server_is_known_by_its_name(#[case] name: &str, #[case] kind: Option<Kind>) {
        assert_eq!(by_name(name), kind);
    }

    #[test]
    fn what_a_server_calls_itself_is_shown_harmless() {
        let shown = Kind::Other(Some("x\u{1b}[31m".to_owned())).to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
