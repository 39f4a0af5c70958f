//! What the embedded server keeps: buckets, their objects, and every version of them.
//!
//! Contents are files, everything else is a journal that is read at the next start. A server that was killed comes
//! back with what it had answered for.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The version of an object that was written without versioning.
pub(super) const NULL: &str = "null";

/// Whether a bucket keeps what is overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Versioning {
    /// It never did.
    #[default]
    Off,
    /// It does.
    Enabled,
    /// It did: what was kept stays, a new object takes the place of the `null` version.
    Suspended,
}

/// A version of an object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) id: String,
    modified_ms: u64,
    /// A delete marker has none.
    pub(super) content: Option<Content>,
}

impl Version {
    pub(super) fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.modified_ms)
    }
}

/// What a version holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Content {
    file: u64,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) about: About,
}

/// What a client says about an object, and is told again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) content_type: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// A bucket.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    created_ms: u64,
    pub(super) versioning: Versioning,
    /// By key; the newest version first.
    pub(super) objects: BTreeMap<String, Vec<Version>>,
}

impl Bucket {
    pub(super) fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created_ms)
    }

    /// What is there under this key now.
    pub(super) fn current(&self, key: &str) -> Option<(&Version, &Content)> {
        let newest = self.objects.get(key)?.first()?;
        newest.content.as_ref().map(|content| (newest, content))
    }
}

/// What happened to a version that was to be deleted.
pub(super) struct Deleted {
    /// `None` in a bucket without versioning.
    pub(super) id: Option<String>,
    /// It is, or was, a delete marker.
    pub(super) is_marker: bool,
}

/// A line of the journal.
#[derive(Serialize, Deserialize)]
enum Event {
    Bucket { name: String, created_ms: u64 },
    NoBucket { name: String },
    Versioning { bucket: String, to: Versioning },
    Add { bucket: String, key: String, version: Version },
    Remove { bucket: String, key: String, id: String },
}

/// All buckets.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    journal: fs::File,
    pub(super) buckets: BTreeMap<String, Bucket>,
    next_file: u64,
}

impl Store {
    /// The store of a folder, with what it had before.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join("contents"))?;
        let path = folder.join("journal.jsonl");
        let journal = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        let mut store = Self { folder: folder.to_owned(), journal, buckets: BTreeMap::new(), next_file: 0 };
        for line in fs::read_to_string(path)?.lines() {
            store.apply(serde_json::from_str(line).map_err(io::Error::other)?);
        }
        Ok(store)
    }

    pub(super) fn create_bucket(&mut self, name: &str) -> io::Result<()> {
        self.commit(Event::Bucket { name: name.to_owned(), created_ms: now_ms() })
    }

    pub(super) fn delete_bucket(&mut self, name: &str) -> io::Result<()> {
        self.commit(Event::NoBucket { name: name.to_owned() })
    }

    pub(super) fn set_versioning(&mut self, bucket: &str, to: Versioning) -> io::Result<()> {
        self.commit(Event::Versioning { bucket: bucket.to_owned(), to })
    }

    /// Writes an object. The version that it is now; its ID is `null` where the bucket keeps none.
    pub(super) fn put(
        &mut self,
        bucket: &str,
        key: &str,
        body: &[u8],
        etag: String,
        about: About,
    ) -> io::Result<Version> {
        let file = self.next_file;
        fs::write(self.content_path(file), body)?;
        let content = Content { file, size: body.len() as u64, etag, about };
        self.add(bucket, key, Some(content))
    }

    /// What a version holds.
    pub(super) fn read(&self, content: &Content) -> io::Result<Vec<u8>> {
        fs::read(self.content_path(content.file))
    }

    /// Takes an object away: behind a delete marker in a bucket that keeps versions, or kept them. One that was never
    /// there gets no marker, one that has a marker no other.
    pub(super) fn delete(&mut self, bucket: &str, key: &str) -> io::Result<Deleted> {
        let nothing_told = Deleted { id: None, is_marker: false };
        let versions = self.buckets.get(bucket).and_then(|bucket| bucket.objects.get(key));
        let Some(newest) = versions.and_then(|versions| versions.first()) else {
            return Ok(nothing_told);
        };
        let marker = newest.content.is_none().then(|| newest.id.clone());
        match (self.versioning(bucket), marker) {
            (Versioning::Off, _) => self.remove(bucket, key, NULL).map(|()| nothing_told),
            (Versioning::Suspended, Some(_)) => Ok(nothing_told),
            (Versioning::Suspended, None) => self.add(bucket, key, None).map(|_| nothing_told),
            (Versioning::Enabled, Some(id)) => Ok(Deleted { id: Some(id), is_marker: true }),
            (Versioning::Enabled, None) => {
                let marker = self.add(bucket, key, None)?;
                Ok(Deleted { id: Some(marker.id), is_marker: true })
            }
        }
    }

    /// Takes one version away for good. One that is not there is no error.
    pub(super) fn delete_version(&mut self, bucket: &str, key: &str, id: &str) -> io::Result<Deleted> {
        let versions = self.buckets.get(bucket).and_then(|bucket| bucket.objects.get(key));
        let version = versions.and_then(|versions| versions.iter().find(|version| version.id == id));
        let Some(is_marker) = version.map(|version| version.content.is_none()) else {
            return Ok(Deleted { id: None, is_marker: false });
        };
        self.remove(bucket, key, id)?;
        Ok(Deleted { id: Some(id.to_owned()), is_marker })
    }

    fn remove(&mut self, bucket: &str, key: &str, id: &str) -> io::Result<()> {
        self.commit(Event::Remove { bucket: bucket.to_owned(), key: key.to_owned(), id: id.to_owned() })
    }

    fn versioning(&self, bucket: &str) -> Versioning {
        self.buckets.get(bucket).map(|bucket| bucket.versioning).unwrap_or_default()
    }

    fn add(&mut self, bucket: &str, key: &str, content: Option<Content>) -> io::Result<Version> {
        let modified_ms = now_ms();
        let id = match self.versioning(bucket) {
            Versioning::Enabled => self.new_id(bucket, key),
            Versioning::Off | Versioning::Suspended => NULL.to_owned(),
        };
        let version = Version { id, modified_ms, content };
        let event = Event::Add { bucket: bucket.to_owned(), key: key.to_owned(), version: version.clone() };
        self.commit(event)?;
        Ok(version)
    }

    /// An ID that looks like MinIO's and cannot be guessed from another one.
    fn new_id(&self, bucket: &str, key: &str) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let count: usize =
            self.buckets.values().flat_map(|bucket| bucket.objects.values()).map(Vec::len).sum();
        let digest = Sha256::digest(format!("{since} {count} {bucket}/{key}"));
        let hex = super::hex(&digest);
        format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
    }

    fn content_path(&self, file: u64) -> PathBuf {
        self.folder.join("contents").join(file.to_string())
    }

    fn commit(&mut self, event: Event) -> io::Result<()> {
        let line = serde_json::to_string(&event).map_err(io::Error::other)?;
        writeln!(self.journal, "{line}")?;
        self.apply(event);
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Bucket { name, created_ms } => {
                self.buckets.insert(name, Bucket { created_ms, ..Bucket::default() });
            }
            Event::NoBucket { name } => {
                self.buckets.remove(&name);
            }
            Event::Versioning { bucket, to } => {
                self.buckets.entry(bucket).or_default().versioning = to;
            }
            Event::Add { bucket, key, version } => {
                if let Some(content) = &version.content {
                    self.next_file = self.next_file.max(content.file + 1);
                }
                let versions = self.buckets.entry(bucket).or_default().objects.entry(key).or_default();
                versions.retain(|other| other.id != version.id);
                versions.insert(0, version);
            }
            Event::Remove { bucket, key, id } => {
                let objects = &mut self.buckets.entry(bucket).or_default().objects;
                if let Some(versions) = objects.get_mut(&key) {
                    versions.retain(|version| version.id != id);
                    if versions.is_empty() {
                        objects.remove(&key);
                    }
                }
            }
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
