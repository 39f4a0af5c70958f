//! What a bucket's lists say.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s3s::{
    S3Result,
    dto::{DeleteMarkerEntry, ETag, ObjectVersion, Timestamp},
    s3_error,
};

use super::store::{self, Version};

/// How much a list holds at most.
const PAGE: usize = 1000;

/// Where a page of versions begins: behind this key, or behind this version of it.
pub(super) struct After {
    pub(super) key: String,
    pub(super) version: Option<String>,
}

impl After {
    pub(super) fn rest<'a>(&self, bucket: &'a store::Bucket, prefix: &str) -> Vec<Listed<'a>> {
        let mut rest = Vec::new();
        for (key, versions) in bucket.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let skipped = match &self.version {
                _ if *key < self.key => continue,
                None if *key == self.key => continue,
                Some(id) if *key == self.key => {
                    versions.iter().position(|version| version.id == *id).map_or(0, |at| at + 1)
                }
                _ => 0,
            };
            let listed = versions.iter().enumerate().skip(skipped);
            rest.extend(listed.map(|(at, version)| Listed { key, version, is_latest: at == 0 }));
        }
        rest
    }
}

/// A line of a list of versions.
pub(super) struct Listed<'a> {
    pub(super) key: &'a str,
    pub(super) version: &'a Version,
    is_latest: bool,
}

impl Listed<'_> {
    pub(super) fn object(&self) -> Option<ObjectVersion> {
        let content = self.version.content.as_ref()?;
        Some(ObjectVersion {
            key: Some(self.key.to_owned()),
            version_id: Some(self.version.id.clone()),
            is_latest: Some(self.is_latest),
            last_modified: Some(Timestamp::from(self.version.modified())),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            size: i64::try_from(content.size).ok(),
            ..ObjectVersion::default()
        })
    }

    pub(super) fn marker(&self) -> Option<DeleteMarkerEntry> {
        self.version.content.is_none().then(|| DeleteMarkerEntry {
            key: Some(self.key.to_owned()),
            version_id: Some(self.version.id.clone()),
            is_latest: Some(self.is_latest),
            last_modified: Some(Timestamp::from(self.version.modified())),
            ..DeleteMarkerEntry::default()
        })
    }
}

/// What a list with a delimiter shows in place of this key.
pub(super) fn folder_of(key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    let at = key[prefix.len()..].find(delimiter)?;
    Some(key[..prefix.len() + at + delimiter.len()].to_owned())
}

pub(super) fn page_size(asked: Option<i32>) -> S3Result<usize> {
    let Some(asked) = asked else { return Ok(PAGE) };
    let size = usize::try_from(asked);
    size.map(|size| size.min(PAGE)).map_err(|_| {
        s3_error!(InvalidArgument, "Argument maxKeys must be an integer between 0 and 2147483647")
    })
}

pub(super) fn decode_token(token: &str) -> S3Result<String> {
    let wrong = || s3_error!(InvalidArgument, "The continuation token provided is incorrect");
    let bytes = STANDARD.decode(token).map_err(|_| wrong())?;
    String::from_utf8(bytes).map_err(|_| wrong())
}
