//! What the embedded server refuses, in MinIO's words.

use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderValue},
};
use s3s::{S3Error, S3ErrorCode, s3_error};

use super::store::{Content, Version};

/// What is said of a delete marker: by its own ID nothing may be done with it, without one the object is gone.
pub(super) fn behind_marker(marker: &Version, is_asked_by_id: bool) -> S3Error {
    let mut error = if is_asked_by_id {
        s3_error!(MethodNotAllowed, "The specified method is not allowed against this resource.")
    } else {
        no_such_key()
    };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::from_str(&marker.id) {
        headers.insert("x-amz-version-id", id);
    }
    error.set_headers(headers);
    error
}

pub(super) fn no_such_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

pub(super) fn not_implemented() -> S3Error {
    s3_error!(NotImplemented, "A header you provided implies functionality that is not implemented")
}

pub(super) fn illegal_versioning() -> S3Error {
    refused(
        "IllegalVersioningConfigurationException",
        "Indicates that the versioning configuration specified in the request is invalid.",
    )
}

/// The body is not what the signature says.
pub(super) fn content_mismatch() -> S3Error {
    refused(
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

/// 400 with a code that S3 itself does not have.
pub(super) fn refused(code: &'static str, message: &'static str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

/// Says what is there instead.
pub(super) fn precondition_failed(there: &Content) -> S3Error {
    let words = "At least one of the pre-conditions you specified did not hold";
    let mut error = s3_error!(PreconditionFailed, "{words}");
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", there.etag)) {
        error.set_headers(HeaderMap::from_iter([(header::ETAG, tag)]));
    }
    error
}
