//! A bucket: its objects, their versions, and what it does with conditions.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use md5::{Digest as _, Md5};
use rusty_s3::Method;
use ureq::Agent;

use super::{
    error::{S3Error, Trouble},
    http::{Answer, Call, Credentials, agent, send},
    server::style,
    xml::{self, Item},
};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How often a read is tried, and the pause before the second try; it doubles.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// Where a server of buckets is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `http://192.168.1.52:9000`
    pub url: String,
    /// The region that requests are signed for.
    pub region: String,
    /// Whether the bucket's name is in the path of URLs rather than in the host.
    pub path_style: bool,
    /// PEM file with the certificates to trust in place of the system's.
    pub authority: Option<std::path::PathBuf>,
}

/// A bucket on a server.
#[derive(Clone, Debug)]
pub struct Bucket {
    agent: Agent,
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    endpoint: String,
    read_only: bool,
}

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Its key.
    pub key: String,
    /// Its id; `null` when it was written without versioning.
    pub id: String,
    /// When it was written, by the server's clock.
    pub written: Timestamp,
    /// Bytes.
    pub size: u64,
    /// Whether it is what a read without a version gives.
    pub is_current: bool,
    /// Whether it says that the object was deleted.
    pub is_marker: bool,
}

/// What a read gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// The id of the version that was read, where the server tells.
    pub version: Option<String>,
    /// Its entity tag, for conditions.
    pub etag: Option<String>,
    /// Whether the server encrypts it with a key that is not its own: then the entity tag is no MD5, whatever it looks like.
    pub is_encrypted: bool,
}

impl Object {
    /// Whether it holds what its entity tag says. `None` where the tag is no MD5 of the content: of what was uploaded in
    /// parts or is encrypted by the server.
    pub fn fits_its_tag(&self) -> Option<bool> {
        let tag = self.etag.as_deref()?.trim_matches('"');
        let is_md5 =
            !self.is_encrypted && tag.len() == 32 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
        let sum = Md5::digest(&self.bytes).iter().fold(String::new(), hex);
        is_md5.then(|| sum.eq_ignore_ascii_case(tag))
    }
}

/// Contents may be secret.
impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, version, etag, .. } = self;
        f.debug_struct("Object")
            .field("bytes", &bytes.len())
            .field("version", version)
            .field("etag", etag)
            .finish_non_exhaustive()
    }
}

/// What must hold for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Nothing.
    None,
    /// The object is not there (`If-None-Match: *`).
    Absent,
    /// The object still has this entity tag (`If-Match`).
    Unchanged(&'a str),
}

/// Whether a bucket keeps versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Versioning {
    /// Every write is a new version.
    Enabled,
    /// It did once; writes replace each other now.
    Suspended,
    /// It never did.
    Off,
}

impl Bucket {
    /// A bucket; nothing is asked yet. The error says what is wrong with the endpoint.
    pub fn new(endpoint: &Endpoint, name: &str, credentials: Credentials) -> Result<Self, S3Error> {
        let wrong = |why: String| S3Error {
            what: format!("bucket `{name}`"),
            endpoint: endpoint.url.clone(),
            trouble: Trouble::Other(0, why),
        };
        let url = endpoint.url.parse().map_err(|_| wrong("the endpoint is not a URL".to_owned()))?;
        let bucket = rusty_s3::Bucket::new(url, style(endpoint), name.to_owned(), endpoint.region.clone())
            .map_err(|error| wrong(error.to_string()))?;
        let authority = endpoint.authority.as_deref().map(read_authority).transpose().map_err(wrong)?;
        let agent = agent(authority.as_deref(), LIMIT).map_err(wrong)?;
        Ok(Self { agent, bucket, credentials, endpoint: endpoint.url.clone(), read_only: false })
    }

    /// The same bucket, but nothing can be written to it: for looks and dry runs.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.bucket.name()
    }

    /// The server's URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// All versions and delete markers of the keys that begin with `prefix`, newest first for each key.
    pub fn versions(&self, prefix: &str) -> Result<Vec<Version>, S3Error> {
        let what = format!("listing the versions of `{prefix}` in bucket `{}`", self.name());
        let mut versions = Vec::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let (key, version) = after.clone().unwrap_or_default();
            let mut query = Vec::new();
            if after.is_some() {
                query.push(("key-marker", key.as_str()));
            }
            query.push(("prefix", prefix));
            if !version.is_empty() {
                query.push(("version-id-marker", version.as_str()));
            }
            query.push(("versions", ""));
            let answer = self.read(&what, self.bucket.base_url().clone(), &query)?;
            let page = xml::page(&answer.body).map_err(|why| self.error(&what, Trouble::NotS3(why)))?;
            for (items, is_marker) in [(page.versions, false), (page.markers, true)] {
                for item in items {
                    versions.push(self.version(&what, item, is_marker)?);
                }
            }
            let next = (page.next_key.unwrap_or_default(), page.next_version.unwrap_or_default());
            if !page.is_truncated {
                versions.sort_by(newest_first);
                return Ok(versions);
            }
            // A server that says there is more, and begins again, would never end.
            if after.as_ref() == Some(&next) || next.0.is_empty() {
                return Err(self.error(&what, Trouble::NotS3("its list of versions has no end".to_owned())));
            }
            after = Some(next);
        }
    }

    fn version(&self, what: &str, item: Item, is_marker: bool) -> Result<Version, S3Error> {
        let written = item.last_modified.parse();
        let written =
            written.map_err(|_| self.error(what, Trouble::NotS3("a time that is none".to_owned())))?;
        Ok(Version {
            key: item.key,
            id: item.version_id,
            written,
            size: item.size,
            is_current: item.is_latest,
            is_marker,
        })
    }

    /// Reads an object: a version of it, or what is current.
    pub fn get(&self, key: &str, version: Option<&str>) -> Result<Object, S3Error> {
        let what = match version {
            None => format!("reading `{key}` in bucket `{}`", self.name()),
            Some(id) => format!("reading version `{id}` of `{key}` in bucket `{}`", self.name()),
        };
        let query: Vec<_> = version.into_iter().map(|id| ("versionId", id)).collect();
        let answer = self.read(&what, self.url_of(&what, key)?, &query)?;
        let key = answer.header("x-amz-server-side-encryption");
        let own_key = answer.header("x-amz-server-side-encryption-customer-algorithm");
        Ok(Object {
            is_encrypted: own_key.is_some() || key.is_some_and(|key| key.starts_with("aws:kms")),
            version: answer.header("x-amz-version-id"),
            etag: answer.header("etag"),
            bytes: answer.body,
        })
    }

    /// Reads many versions, some at the same time, and hands each to `take` as it comes: so no more of them are in memory
    /// than are read at once. Gives what `take` made of them, in the order of `versions`.
    pub fn get_each<T: Send>(
        &self,
        versions: &[Version],
        at_once: NonZeroUsize,
        take: impl Fn(&Version, Result<Object, S3Error>) -> T + Sync,
    ) -> Vec<T> {
        self.get_each_while(versions, at_once, &|| true, take).into_iter().flatten().collect()
    }

    /// The same as long as it makes sense to `go_on`: `None` stands for what was not read any more.
    pub fn get_each_while<T: Send>(
        &self,
        versions: &[Version],
        at_once: NonZeroUsize,
        go_on: &(dyn Fn() -> bool + Sync),
        take: impl Fn(&Version, Result<Object, S3Error>) -> T + Sync,
    ) -> Vec<Option<T>> {
        let next = AtomicUsize::new(0);
        let taken: Mutex<Vec<(usize, T)>> = Mutex::new(Vec::with_capacity(versions.len()));
        thread::scope(|scope| {
            for _ in 0..at_once.get().min(versions.len()) {
                scope.spawn(|| {
                    while let Some((index, version)) = {
                        let index = next.fetch_add(1, Ordering::SeqCst);
                        versions.get(index).filter(|_| go_on()).map(|version| (index, version))
                    } {
                        let made = take(version, self.get(&version.key, Some(&version.id)));
                        taken.lock().unwrap_or_else(PoisonError::into_inner).push((index, made));
                    }
                });
            }
        });
        let mut all: Vec<Option<T>> = versions.iter().map(|_| None).collect();
        for (index, made) in taken.into_inner().unwrap_or_else(PoisonError::into_inner) {
            all[index] = Some(made);
        }
        all
    }

    /// Writes an object under a condition; gives the id of its version where the server tells. It is tried once: a write
    /// without an answer may have happened, and only a look tells.
    pub fn put(&self, key: &str, bytes: &[u8], condition: Condition<'_>) -> Result<Option<String>, S3Error> {
        let what = format!("writing `{key}` in bucket `{}`", self.name());
        let mut headers = vec![("content-type", "application/json")];
        match condition {
            Condition::None => {}
            Condition::Absent => headers.push(("if-none-match", "*")),
            Condition::Unchanged(etag) => headers.push(("if-match", etag)),
        }
        let url = self.url_of(&what, key)?;
        let call = Call { method: Method::Put, url, query: &[], headers: &headers, body: bytes };
        Ok(self.once(&what, &call)?.header("x-amz-version-id"))
    }

    /// Deletes an object: for locks and probes of our own. In a bucket with versions they stay in its history.
    pub fn delete(&self, key: &str) -> Result<(), S3Error> {
        let what = format!("removing `{key}` in bucket `{}`", self.name());
        let url = self.url_of(&what, key)?;
        self.once(&what, &Call { method: Method::Delete, url, query: &[], headers: &[], body: &[] }).map(drop)
    }

    /// Whether it keeps versions. Asking this is also the way to learn whether server, credentials and bucket are right.
    pub fn versioning(&self) -> Result<Versioning, S3Error> {
        let what = format!("asking whether bucket `{}` keeps versions", self.name());
        let answer = self.read(&what, self.bucket.base_url().clone(), &[("versioning", "")])?;
        match xml::versioning(&answer.body) {
            Ok(Some(status)) if status == "Enabled" => Ok(Versioning::Enabled),
            Ok(Some(_)) => Ok(Versioning::Suspended),
            Ok(None) => Ok(Versioning::Off),
            Err(why) => Err(self.error(&what, Trouble::NotS3(why))),
        }
    }

    /// Makes the bucket. `false`: it was there already, as this user's.
    pub fn create(&self) -> Result<bool, S3Error> {
        let what = format!("making bucket `{}`", self.name());
        // The first region of all must not be named.
        let body = match self.bucket.region() {
            "us-east-1" => String::new(),
            region => xml::location(region),
        };
        match self.once(&what, &self.put_of_bucket(&[], body.as_bytes())) {
            Ok(_) => Ok(true),
            Err(error) if error.trouble == Trouble::BucketExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes it keep every version from now on.
    pub fn keep_versions(&self) -> Result<(), S3Error> {
        let what = format!("turning versions on for bucket `{}`", self.name());
        self.once(&what, &self.put_of_bucket(&[("versioning", "")], xml::VERSIONS_ON.as_bytes())).map(drop)
    }

    fn put_of_bucket<'a>(&self, query: &'a [(&'a str, &'a str)], body: &'a [u8]) -> Call<'a> {
        Call { method: Method::Put, url: self.bucket.base_url().clone(), query, headers: &[], body }
    }

    fn url_of(&self, what: &str, key: &str) -> Result<url::Url, S3Error> {
        let steps = key.split('/');
        // Such keys would name something else in a URL, an empty one the bucket itself.
        if key.is_empty() || steps.clone().any(|step| matches!(step, "." | "..")) {
            return Err(self.error(what, Trouble::Other(0, "this key cannot be used".to_owned())));
        }
        Ok(self.bucket.object_url(key))
    }

    fn error(&self, what: &str, trouble: Trouble) -> S3Error {
        S3Error { what: what.to_owned(), endpoint: self.endpoint.clone(), trouble }
    }

    /// A read, tried again while that may help.
    fn read(&self, what: &str, url: url::Url, query: &[(&str, &str)]) -> Result<Answer, S3Error> {
        let call = Call { method: Method::Get, url, query, headers: &[], body: &[] };
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.once(what, &call) {
                Err(error) if error.trouble.may_pass() => {
                    log::debug!("{error}; trying again");
                    thread::sleep(pause);
                    pause *= 2;
                }
                ended => return ended,
            }
        }
        self.once(what, &call)
    }

    fn once(&self, what: &str, call: &Call<'_>) -> Result<Answer, S3Error> {
        log::trace!("s3: {what}");
        if self.read_only && call.method != Method::Get {
            return Err(self.error(what, Trouble::Other(0, "not sent: this run only looks".to_owned())));
        }
        let answer = send(&self.agent, self.bucket.region(), &self.credentials, call);
        match answer {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(answer),
            Ok(answer) => Err(self.error(what, Trouble::of_answer(answer.status, &answer.body))),
            Err(trouble) => Err(self.error(what, trouble)),
        }
    }
}

/// By key, then the current one, then by time; what the server wrote within one millisecond stays as it listed it.
fn newest_first(a: &Version, b: &Version) -> std::cmp::Ordering {
    a.key.cmp(&b.key).then(b.is_current.cmp(&a.is_current)).then(b.written.cmp(&a.written))
}

pub(super) fn read_authority(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path)
        .map_err(|error| format!("the certificates in `{}` cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::fits("\"9dd4e461268c8034f5c8564e155c67a6\"", false, Some(true))]
    #[case::another("9dd4e461268c8034f5c8564e155c67a7", false, Some(false))]
    #[case::in_parts("\"9dd4e461268c8034f5c8564e155c67a6-2\"", false, None)]
    #[case::encrypted("00000000000000000000000000000000", true, None)]
    fn a_tag_says_something_only_when_it_is_an_md5(
        #[case] tag: &str,
        #[case] is_encrypted: bool,
        #[case] fits: Option<bool>,
    ) {
        let object = Object { bytes: b"x".to_vec(), version: None, etag: Some(tag.to_owned()), is_encrypted };
        assert_eq!(object.fits_its_tag(), fits);
    }
}
