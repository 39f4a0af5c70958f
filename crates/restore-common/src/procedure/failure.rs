//! Errors that say what to do next.

use std::fmt;

use crate::{remote::HostError, s3::S3Error};

/// What failed, and what the operator can do about it.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure in words: lower case, no full stop, literals in backticks.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, source: None }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What lies behind it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

/// The operator pressed Ctrl-C, or the program was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// A step that was cut off had not come to this point, and now it will not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was cut off here")]
pub struct CutOff;

/// Whether the node could not be reached any more: whatever was begun there may go on.
pub fn is_out_of_reach(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(host_error(cause), Some(HostError::Lost { .. } | HostError::Unreachable { .. }))
    })
}

/// The first advice found along the causes of an error.
pub fn hint_of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let own = cause.downcast_ref::<Failure>().and_then(|f| f.hint.clone());
        let of_server = || cause.downcast_ref::<S3Error>().map(|error| error.trouble.advice().to_owned());
        own.or_else(|| host_error(cause).and_then(HostError::hint)).or_else(of_server)
    })
}

fn host_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a HostError> {
    let pve = cause.downcast_ref::<crate::pve::PveError>();
    cause.downcast_ref::<HostError>().or(match pve {
        Some(crate::pve::PveError::Host(error)) => Some(error),
        _ => None,
    })
}
