//! How long a node that went silent is tried again.

use std::time::{Duration, Instant};

use super::HostError;
use crate::ui::format;

/// How long a node is tried again before its silence is an error. Jobs go on all the same.
const LIMIT: Duration = Duration::from_secs(60);

/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Tries that are left.
pub(super) struct Patience {
    since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { since: None, pause: Duration::ZERO }
    }

    /// The node answered.
    pub(super) fn answered(&mut self) {
        if let Some(since) = self.since {
            log::warn!("connected again after {}", format::duration(since.elapsed()));
        }
        *self = Self::new();
    }

    /// How long to wait before the next try; the error back when it is none of the connection's, or patience is at its
    /// end. The first try is made at once.
    pub(super) fn after(&mut self, error: HostError) -> Result<Duration, HostError> {
        if !matches!(error, HostError::Lost { .. } | HostError::Unreachable { .. }) {
            return Err(error);
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() > LIMIT {
            return Err(error);
        }
        match &error {
            HostError::Lost { host, .. } => log::warn!("lost the connection to {host}, making a new one"),
            _ => log::info!("{error}; trying again"),
        }
        log::debug!("{error}");
        let pause = self.pause;
        self.pause = (pause * 2).clamp(Duration::from_millis(250), LONGEST_PAUSE);
        Ok(pause)
    }
}
