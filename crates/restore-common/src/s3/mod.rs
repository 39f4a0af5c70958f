//! A bucket with versions, on any server that speaks S3.
//!
//! Requests are signed by `rusty-s3` and sent by the HTTP client that the rest of the project uses: so a certificate of
//! the operator's own, limits of time and the kinds of failure are the same everywhere. Every call has a limit, and reads
//! are tried again when the server is busy or the answer broke off.

mod bucket;
mod error;
mod http;
mod server;
pub mod xml;

pub use bucket::{Bucket, Condition, Endpoint, Object, Version, Versioning};
pub use error::{S3Error, Trouble};
pub use http::Credentials;
pub(crate) use http::certificates;
pub use server::{Capabilities, Kind, Server};
