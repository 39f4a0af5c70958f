//! What can go wrong with a server of buckets. Each kind has another advice.

use std::{fmt, io};

use super::xml;
use crate::ui::sanitize;

/// A request that was not answered as it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} at {endpoint}: {trouble}")]
pub struct S3Error {
    /// What was asked for: ``listing the versions of `terraform.tfstate` in bucket `tfstate-prod` ``.
    pub what: String,
    /// The server.
    pub endpoint: String,
    /// What came instead.
    pub trouble: Trouble,
}

/// The kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing listens on that port: the server does not run.
    Refused,
    /// No answer within the limit.
    TimedOut,
    /// The name of the server has no address.
    NoSuchHost,
    /// The address cannot be reached, for this reason.
    Unreachable(String),
    /// It is reached, but TLS cannot be agreed on.
    Tls(String),
    /// The connection broke off.
    Broken(String),
    /// Something answers that is no S3 server.
    NotS3(String),
    /// The server does not know the access key, or the secret is another one.
    WrongCredentials(String),
    /// The credentials are right but not allowed to do this.
    Denied,
    /// The clocks of this machine and the server are too far apart.
    ClockSkew,
    /// There is no such bucket.
    NoBucket,
    /// There is such a bucket already, and it is this user's.
    BucketExists,
    /// The server's disk is full.
    Full(String),
    /// There is no such object, or no such version of it.
    NoObject,
    /// The condition of a write does not hold: the object is there already, or was changed.
    ConditionFailed,
    /// The server cannot do this at all.
    NotImplemented,
    /// The server is there but cannot serve now: status and words.
    Unavailable(u16, String),
    /// Any other refusal: status, code and words.
    Other(u16, String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::NoSuchHost => f.write_str("its name has no address"),
            Self::Unreachable(why) => write!(f, "not reachable: {why}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Broken(why) => write!(f, "the answer broke off: {why}"),
            Self::NotS3(what) => write!(f, "this is no S3 server: {what}"),
            Self::WrongCredentials(code) => write!(f, "it does not accept the credentials ({code})"),
            Self::Denied => f.write_str("the credentials are not allowed to do this (AccessDenied)"),
            Self::ClockSkew => {
                f.write_str("its clock and the one here are too far apart (RequestTimeTooSkewed)")
            }
            Self::NoBucket => f.write_str("there is no such bucket"),
            Self::BucketExists => f.write_str("the bucket is there already"),
            Self::Full(code) => write!(f, "its disk is full ({code})"),
            Self::NoObject => f.write_str("there is no such object"),
            Self::ConditionFailed => f.write_str("the condition of the write does not hold"),
            Self::NotImplemented => f.write_str("the server cannot do this (NotImplemented)"),
            Self::Unavailable(status, words) => write!(f, "it cannot serve now (status {status}): {words}"),
            Self::Other(status, words) => write!(f, "status {status}: {words}"),
        }
    }
}

impl Trouble {
    /// What the operator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Refused => "start the server, or go on without it with `restore-tfstate --fallback`",
            Self::TimedOut | Self::Unreachable(_) => {
                "look whether its host runs and is reachable from here, or go on without it with `restore-tfstate --fallback`"
            }
            Self::NoSuchHost => "look at the endpoint in the backend block, and at the name server",
            Self::Tls(_) => {
                "name the authority that signed its certificate with `SSL_CERT_FILE`, or `ca` under `[s3]` in `restore.toml`; \
                 or the endpoint is not https"
            }
            Self::Broken(_) | Self::Unavailable(..) => "try again in a while; the server's log says why",
            Self::NotS3(_) => {
                "look at the endpoint in the backend block: address and port of the S3 service, not of its console"
            }
            Self::WrongCredentials(_) | Self::Denied => {
                "look at `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `minio.root_user` and `minio.root_password` in the tfvars"
            }
            Self::ClockSkew => "set the clock of this machine or of the server (`timedatectl`)",
            Self::NoBucket => "look at `bucket` in the backend block; `rebuild-minio` makes the buckets anew",
            Self::BucketExists => "use another name for the bucket",
            Self::Full(_) => {
                "make its disk larger (of a container: `pct resize`), or remove what is not needed"
            }
            Self::NoObject => "`restore-tfstate --list` shows what there is",
            Self::ConditionFailed => "somebody else was faster: look at what is there now",
            Self::NotImplemented => "this server has not what is needed; MinIO has",
            Self::Other(..) => "the server's log says more",
        }
    }

    /// Whether the same question may be answered a moment later.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Unavailable(..))
    }

    /// Whether the server itself is out of order, so that a fallback makes sense.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Refused
                | Self::TimedOut
                | Self::NoSuchHost
                | Self::Unreachable(_)
                | Self::Tls(_)
                | Self::Broken(_)
                | Self::Unavailable(..)
        )
    }

    /// What a failed request means, without its URL: that holds a signature.
    pub(super) fn of_request(error: &ureq::Error) -> Self {
        use ureq::Error;
        match error {
            Error::Io(error) => Self::of_io(error),
            Error::Timeout(_) => Self::TimedOut,
            Error::HostNotFound => Self::NoSuchHost,
            Error::ConnectionFailed => Self::Unreachable("no connection".to_owned()),
            Error::Protocol(_) => Self::NotS3("it does not speak HTTP".to_owned()),
            Error::NativeTls(error) => Self::Tls(sanitize(&error.to_string()).into_owned()),
            Error::Tls(why) => Self::Tls((*why).to_owned()),
            _ => Self::NotS3("it could not be asked".to_owned()),
        }
    }

    pub(super) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Self::Broken(sanitize(&error.to_string()).into_owned()),
            _ => Self::Unreachable(sanitize(&error.to_string()).into_owned()),
        }
    }

    /// What a refusal means.
    pub(super) fn of_answer(status: u16, body: &[u8]) -> Self {
        let refusal = xml::refusal(body);
        let code = refusal.as_ref().map(|refusal| refusal.code.as_str()).unwrap_or_default();
        let words = refusal.as_ref().map_or_else(
            || first_words(body),
            |refusal| sanitize(&format!("{}: {}", refusal.code, refusal.message)).into_owned(),
        );
        match (status, code) {
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity" | "InvalidToken") => {
                Self::WrongCredentials(code.to_owned())
            }
            (_, "RequestTimeTooSkewed" | "RequestExpired") => Self::ClockSkew,
            // Also what a presigned URL from the future or the past is answered with.
            (403, "AccessDenied") if words.contains("expired") || words.contains("not yet valid") => {
                Self::ClockSkew
            }
            (403, _) => Self::Denied,
            (_, "BucketAlreadyOwnedByYou") => Self::BucketExists,
            (507, _) | (_, "XMinioStorageFull" | "StorageFull" | "NoSpaceLeft") => {
                Self::Full(code.to_owned())
            }
            (_, "NoSuchBucket") => Self::NoBucket,
            (_, "NoSuchKey" | "NoSuchVersion") => Self::NoObject,
            (412, _) | (_, "PreconditionFailed" | "ConditionalRequestConflict") => Self::ConditionFailed,
            (501, _) | (_, "NotImplemented") => Self::NotImplemented,
            (500..=599, _) => Self::Unavailable(status, words),
            // Without the XML of S3 this is some other server, or a proxy before it.
            (_, "") if refusal.is_none() && !body.is_empty() => {
                Self::NotS3(format!("status {status}: {words}"))
            }
            _ => Self::Other(status, words),
        }
    }
}

/// The beginning of a body that is not of S3, harmless and short.
fn first_words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(400)]);
    let plain: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = plain.chars().take(120).collect();
    if short.is_empty() { "no words".to_owned() } else { sanitize(&short).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, code: &str) -> Trouble {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m</Message></Error>");
        Trouble::of_answer(status, body.as_bytes())
    }

    #[test]
    fn refusals_are_told_apart() {
        assert_eq!(
            of(403, "SignatureDoesNotMatch"),
            Trouble::WrongCredentials("SignatureDoesNotMatch".to_owned())
        );
        assert_eq!(of(403, "AccessDenied"), Trouble::Denied);
        assert_eq!(of(403, "RequestTimeTooSkewed"), Trouble::ClockSkew);
        assert_eq!(of(404, "NoSuchBucket"), Trouble::NoBucket);
        assert_eq!(of(409, "BucketAlreadyOwnedByYou"), Trouble::BucketExists);
        assert_eq!(of(507, "XMinioStorageFull"), Trouble::Full("XMinioStorageFull".to_owned()));
        assert_eq!(of(404, "NoSuchVersion"), Trouble::NoObject);
        assert_eq!(of(412, "PreconditionFailed"), Trouble::ConditionFailed);
        assert_eq!(of(501, "NotImplemented"), Trouble::NotImplemented);
        assert_eq!(of(503, "SlowDown"), Trouble::Unavailable(503, "SlowDown: m".to_owned()));
        assert_eq!(of(400, "MalformedXML"), Trouble::Other(400, "MalformedXML: m".to_owned()));
    }

    #[test]
    fn what_is_no_s3_is_said_with_its_words() {
        let page = b"<html><body>\x1b[31mGrafana</body></html>";
        let Trouble::NotS3(words) = Trouble::of_answer(404, page) else { panic!("another kind") };
        assert!(words.contains("Grafana") && !words.contains('\u{1b}'), "{words}");
        assert_eq!(
            Trouble::of_answer(502, b"<html>Bad Gateway</html>"),
            Trouble::Unavailable(502, "<html>Bad Gateway</html>".to_owned())
        );
    }
}
