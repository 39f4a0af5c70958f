//! The answers of S3, which are XML. Source: the API reference of Amazon S3; MinIO's answers have the same shape.

use serde::Deserialize;

/// Why a request was refused.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(rename = "Code")]
    pub(super) code: String,
    #[serde(rename = "Message", default)]
    pub(super) message: String,
}

/// A page of `ListObjectVersions`. Servers differ in whether versions and delete markers stand mixed.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    #[serde(rename = "IsTruncated", default)]
    pub(super) is_truncated: bool,
    #[serde(rename = "NextKeyMarker")]
    pub(super) next_key: Option<String>,
    #[serde(rename = "NextVersionIdMarker")]
    pub(super) next_version: Option<String>,
    #[serde(rename = "Version", default)]
    pub(super) versions: Vec<Item>,
    #[serde(rename = "DeleteMarker", default)]
    pub(super) markers: Vec<Item>,
}

/// A version or a delete marker.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item {
    pub(super) key: String,
    pub(super) version_id: String,
    #[serde(default)]
    pub(super) is_latest: bool,
    pub(super) last_modified: String,
    #[serde(default)]
    pub(super) size: u64,
}

#[derive(Debug, Deserialize)]
struct VersioningAnswer {
    #[serde(rename = "Status")]
    status: Option<String>,
}

pub(super) fn refusal(body: &[u8]) -> Option<Refusal> {
    parse(body).ok()
}

pub(super) fn page(body: &[u8]) -> Result<Page, String> {
    parse(body)
}

/// `Enabled`, `Suspended`, or nothing when it never was on.
pub(super) fn versioning(body: &[u8]) -> Result<Option<String>, String> {
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
    fn versioning_that_never_was_on_is_none() {
        let answer = |inner: &str| {
            versioning(format!("<VersioningConfiguration>{inner}</VersioningConfiguration>").as_bytes())
        };
        assert_eq!(answer("").unwrap(), None);
        assert_eq!(answer("<Status>Enabled</Status>").unwrap().as_deref(), Some("Enabled"));
        assert!(versioning(b"<html>").is_err());
    }
}
