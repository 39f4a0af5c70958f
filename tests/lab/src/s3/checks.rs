//! What has to hold of a request before it is done.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::HeaderMap;
use md5::{Digest as _, Md5};
use s3s::{
    S3Result,
    checksum::ChecksumHasher,
    crypto,
    dto::{ETagCondition, PutObjectInput, PutObjectOutput},
    s3_error,
};

use super::{
    refusals::{no_such_key, precondition_failed, refused},
    store::{Content, NULL},
};

/// The server knows IDs of its own form only.
pub(super) fn check_id(id: &str) -> S3Result<()> {
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    let is_uuid = groups == [8, 4, 4, 4, 12] && id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if id == NULL || is_uuid {
        return Ok(());
    }
    Err(s3_error!(InvalidArgument, "Invalid version id specified"))
}

/// `If-None-Match` and `If-Match` of a write.
pub(super) fn check_conditions(input: &PutObjectInput, current: Option<&Content>) -> S3Result<()> {
    let matches = |condition: &ETagCondition, content: &Content| match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => tag.value() == content.etag,
    };
    if let Some(content) = current
        && input.if_none_match.as_ref().is_some_and(|condition| matches(condition, content))
    {
        return Err(precondition_failed(content));
    }
    match (&input.if_match, current) {
        (Some(_), None) => Err(no_such_key()),
        (Some(condition), Some(content)) if !matches(condition, content) => Err(precondition_failed(content)),
        _ => Ok(()),
    }
}

/// The body is what the client's digests say, wherever it put them; they are told back.
pub(super) fn check_content(
    input: &PutObjectInput,
    trailers: &HeaderMap,
    body: &[u8],
) -> S3Result<PutObjectOutput> {
    if let Some(wanted) = &input.content_md5
        && STANDARD.encode(Md5::digest(body)) != *wanted
    {
        return Err(s3_error!(BadDigest, "The Content-Md5 you specified did not match what we received."));
    }
    let said = |header: Option<&String>, name: &str| {
        let trailer = || trailers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        header.cloned().or_else(trailer)
    };
    let crc32 = said(input.checksum_crc32.as_ref(), "x-amz-checksum-crc32");
    let crc32c = said(input.checksum_crc32c.as_ref(), "x-amz-checksum-crc32c");
    let crc64nvme = said(input.checksum_crc64nvme.as_ref(), "x-amz-checksum-crc64nvme");
    let sha1 = said(input.checksum_sha1.as_ref(), "x-amz-checksum-sha1");
    let sha256 = said(input.checksum_sha256.as_ref(), "x-amz-checksum-sha256");
    let mut hasher = ChecksumHasher {
        crc32: crc32.as_ref().map(|_| crypto::Crc32::default()),
        crc32c: crc32c.as_ref().map(|_| crypto::Crc32c::default()),
        crc64nvme: crc64nvme.as_ref().map(|_| crypto::Crc64Nvme::default()),
        sha1: sha1.as_ref().map(|_| crypto::Sha1::default()),
        sha256: sha256.as_ref().map(|_| crypto::Sha256::default()),
    };
    hasher.update(body);
    let real = hasher.finalize();
    let output = PutObjectOutput {
        checksum_crc32: real.checksum_crc32,
        checksum_crc32c: real.checksum_crc32c,
        checksum_crc64nvme: real.checksum_crc64nvme,
        checksum_sha1: real.checksum_sha1,
        checksum_sha256: real.checksum_sha256,
        ..PutObjectOutput::default()
    };
    let is_right = crc32 == output.checksum_crc32
        && crc32c == output.checksum_crc32c
        && crc64nvme == output.checksum_crc64nvme
        && sha1 == output.checksum_sha1
        && sha256 == output.checksum_sha256;
    if is_right {
        return Ok(output);
    }
    Err(refused(
        "XAmzContentChecksumMismatch",
        "The provided 'x-amz-checksum' header does not match what was computed.",
    ))
}
