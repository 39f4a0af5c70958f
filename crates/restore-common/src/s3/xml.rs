//! The answers of S3, which are XML. Source: the API reference of Amazon S3; MinIO's answers have the same shape.

use serde::Deserialize;

/// Why a request was refused.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    /// `NoSuchKey`.
    #[serde(rename = "Code")]
    pub code: String,
    /// The same in words.
    #[serde(rename = "Message", default)]
    pub message: String,
}

/// A page of `ListObjectVersions`. Servers differ in whether versions and delete markers stand mixed.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// Whether there is another page.
    #[serde(rename = "IsTruncated", default)]
    pub is_truncated: bool,
    /// Where that begins: the key.
    #[serde(rename = "NextKeyMarker")]
    pub next_key: Option<String>,
    /// Where that begins: the version.
    #[serde(rename = "NextVersionIdMarker")]
    pub next_version: Option<String>,
    /// Versions, newest first.
    #[serde(rename = "Version", default)]
    pub versions: Vec<Item>,
    /// Delete markers, newest first.
    #[serde(rename = "DeleteMarker", default)]
    pub markers: Vec<Item>,
}

/// A version or a delete marker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Item {
    /// The key.
    pub key: String,
    /// Its id.
    pub version_id: String,
    /// Whether it is the current one.
    #[serde(default)]
    pub is_latest: bool,
    /// When it was written, RFC 3339.
    pub last_modified: String,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
}

#[derive(Debug, Deserialize)]
struct VersioningAnswer {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Deserialize)]
struct BucketList {
    #[serde(rename = "Buckets")]
    buckets: Option<Buckets>,
}

#[derive(Deserialize)]
struct Buckets {
    #[serde(rename = "Bucket", default)]
    buckets: Vec<NamedBucket>,
}

#[derive(Deserialize)]
struct NamedBucket {
    #[serde(rename = "Name")]
    name: String,
}

/// What turns versions on.
pub(super) const VERSIONS_ON: &str = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";

/// What says where a new bucket is to be.
pub(super) fn location(region: &str) -> String {
    format!(
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
        quick_xml::escape::escape(region)
    )
}

/// The names in `ListAllMyBucketsResult`. Another document is not taken for an empty list.
pub(super) fn buckets(body: &[u8]) -> Result<Vec<String>, String> {
    let is_list = body.windows(LIST.len()).any(|window| window == LIST);
    let list: BucketList = parse(body)?;
    if !is_list {
        return Err("not a list of buckets".to_owned());
    }
    Ok(list
        .buckets
        .map(|buckets| buckets.buckets.into_iter().map(|bucket| bucket.name).collect())
        .unwrap_or_default())
}

const LIST: &[u8] = b"<ListAllMyBucketsResult";

/// Reads a refusal; nothing where it is none.
pub fn refusal(body: &[u8]) -> Option<Refusal> {
    parse(body).ok()
}

/// Reads a page of versions.
pub fn page(body: &[u8]) -> Result<Page, String> {
    parse(body)
}

/// `Enabled`, `Suspended`, or nothing when it never was on.
pub fn versioning(body: &[u8]) -> Result<Option<String>, String> {
    parse::<VersioningAnswer>(body).map(|answer| answer.status)
}

fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|_| "not UTF-8 text".to_owned())?;
    quick_xml::de::from_str(text).map_err(|_| "not the XML that was expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
  <Name>b</Name><Prefix>k</Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker>
  <NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v2</NextVersionIdMarker>
  <MaxKeys>3</MaxKeys><IsTruncated>true</IsTruncated>
  <DeleteMarker><Key>k</Key><VersionId>v4</VersionId><IsLatest>true</IsLatest>
    <LastModified>2026-01-30T01:00:00.000Z</LastModified><Owner><ID>o</ID></Owner></DeleteMarker>
  <Version><Key>k</Key><VersionId>v3</VersionId><IsLatest>false</IsLatest>
    <LastModified>2026-01-29T01:00:00.000Z</LastModified><ETag>"e"</ETag><Size>7</Size>
    <StorageClass>STANDARD</StorageClass><Owner><ID>o</ID></Owner></Version>
  <DeleteMarker><Key>k</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest>
    <LastModified>2026-01-28T01:00:00.000Z</LastModified></DeleteMarker>
</ListVersionsResult>"#;

    #[test]
    fn a_page_has_versions_and_markers_though_they_stand_mixed() {
        let page = page(PAGE.as_bytes()).unwrap();
        assert!(page.is_truncated);
        assert_eq!((page.next_key.as_deref(), page.next_version.as_deref()), (Some("k"), Some("v2")));
        let ids = |items: &[Item]| items.iter().map(|item| item.version_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&page.versions), ["v3"]);
        assert_eq!(page.versions[0].size, 7);
        assert_eq!(ids(&page.markers), ["v4", "v2"]);
        assert!(page.markers[0].is_latest);
    }

    #[test]
    fn a_list_of_buckets_is_read_and_another_document_is_none() {
        let list = |inner: &str| {
            buckets(
                format!("<ListAllMyBucketsResult><Owner><ID>o</ID></Owner>{inner}</ListAllMyBucketsResult>")
                    .as_bytes(),
            )
        };
        assert_eq!(list("").unwrap(), Vec::<String>::new());
        assert_eq!(list("<Buckets></Buckets>").unwrap(), Vec::<String>::new());
        let two = "<Buckets><Bucket><Name>a</Name></Bucket><Bucket><Name>b</Name></Bucket></Buckets>";
        assert_eq!(list(two).unwrap(), ["a", "b"]);
        assert!(buckets(b"<html><body>Grafana</body></html>").is_err());
        assert!(location("a<b").contains("a&lt;b"));
    }

    #[test]
    fn versioning_that_never_was_on_is_none() {
        let answer = |inner: &str| {
            versioning(format!("<VersioningConfiguration>{inner}</VersioningConfiguration>").as_bytes())
        };
        assert_eq!(answer("").unwrap(), None);
        assert_eq!(answer("<Status>Enabled</Status>").unwrap().as_deref(), Some("Enabled"));
        assert!(versioning(b"<html>").is_err());
    }
}
