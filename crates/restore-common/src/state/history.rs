//! All versions of a state in S3, read as states.

use std::num::NonZeroUsize;

use super::{Diff, Document, StateError, Summary};
use crate::s3::{Bucket, S3Error, Version};

/// How many versions are read at once at most: enough that a link of 20 ms is not what bounds it.
const AT_ONCE: u64 = 96;

/// How many bytes of states may be on their way at once.
const ON_THEIR_WAY: u64 = 12 << 20;

/// How many bytes of states are read before their differences are taken and their addresses forgotten.
const READ_TOGETHER: u64 = 64 << 20;

/// What a version holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A state.
    State {
        /// What it says about itself.
        summary: Summary,
        /// How many instances of managed resources it holds; `None` when it is encrypted.
        resources: Option<usize>,
        /// What it changed against the state before it, where both can be read.
        changed: Option<Diff>,
    },
    /// The state was deleted here.
    Marker,
    /// Something that is no state.
    Broken(StateError),
    /// It could not be read.
    Unread(S3Error),
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As the server lists it.
    pub version: Version,
    /// What it holds.
    pub content: Content,
}

impl Entry {
    /// What it says about itself, if it is a state.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.content {
            Content::State { summary, .. } => Some(summary),
            _ => None,
        }
    }
}

/// The versions of a state, newest first, without those of its lock.
pub fn versions(bucket: &Bucket, key: &str) -> Result<Vec<Version>, S3Error> {
    let mut versions = bucket.versions(key)?;
    versions.retain(|version| version.key == key);
    Ok(versions)
}

/// Reads all versions, newest first, and what each changed.
pub fn read(bucket: &Bucket, versions: &[Version]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(versions.len());
    // The oldest of the part before: what it changed is only known with the next one.
    let mut waiting: Option<(usize, Document)> = None;
    for chunk in parts(versions) {
        for (version, (content, document)) in chunk.iter().zip(documents(bucket, chunk)) {
            if let Some(document) = document {
                if let Some((index, newer)) = waiting.take() {
                    note_change(&mut entries[index], &document, &newer);
                }
                waiting = Some((entries.len(), document));
            }
            entries.push(Entry { version: version.clone(), content });
        }
    }
    // The first of all made everything that it holds.
    if let Some((index, oldest)) = waiting {
        let nothing =
            Document { resources: oldest.resources.is_some().then(Default::default), ..oldest.clone() };
        note_change(&mut entries[index], &nothing, &oldest);
    }
    entries
}

/// The versions in parts of a bounded size.
fn parts(versions: &[Version]) -> impl Iterator<Item = &[Version]> {
    let mut size = 0;
    versions.chunk_by(move |version, next| {
        size += version.size;
        let fits = size + next.size <= READ_TOGETHER;
        if !fits {
            size = 0;
        }
        fits
    })
}

/// How many of these may be read at once.
pub fn at_once(versions: &[Version]) -> NonZeroUsize {
    let largest = versions.iter().map(|version| version.size).max().unwrap_or(0);
    let many = (ON_THEIR_WAY / largest.max(1)).clamp(1, AT_ONCE);
    usize::try_from(many).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn note_change(entry: &mut Entry, older: &Document, newer: &Document) {
    if let Content::State { changed, .. } = &mut entry.content {
        *changed =
            older.resources.as_ref().zip(newer.resources.as_ref()).map(|(old, new)| Diff::between(old, new));
    }
}

fn documents(bucket: &Bucket, versions: &[Version]) -> Vec<(Content, Option<Document>)> {
    let wanted: Vec<Version> = versions.iter().filter(|version| !version.is_marker).cloned().collect();
    let mut read = bucket
        .get_each(&wanted, at_once(versions), |_, object| {
            match object.map(|object| Document::parse(&object.bytes)) {
                Ok(Ok(document)) => {
                    let (summary, resources) = (document.summary.clone(), document.instance_count());
                    (Content::State { summary, resources, changed: None }, Some(document))
                }
                Ok(Err(error)) => (Content::Broken(error), None),
                Err(error) => (Content::Unread(error), None),
            }
        })
        .into_iter();
    let one = |version: &Version| {
        let marker = (Content::Marker, None);
        if version.is_marker { marker } else { read.next().unwrap_or(marker) }
    };
    versions.iter().map(one).collect()
}
