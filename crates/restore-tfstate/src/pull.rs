//! `--pull`: a copy of a state that is kept here.

use std::path::PathBuf;

use restore_common::procedure::Failure;
use serde::Serialize;

use crate::site::{Seen, Site};

/// A copy that was kept.
#[derive(Serialize)]
pub(crate) struct Pulled {
    pub(crate) environment: String,
    pub(crate) path: PathBuf,
    pub(crate) what: String,
    pub(crate) serial: u64,
}

/// Keeps a copy of the current state here.
pub(crate) fn pull(site: &Site) -> anyhow::Result<Pulled> {
    let object = site.current()?.ok_or_else(|| {
        Failure::new(format!("there is no state at {}", site.place()))
            .hint("`--list` shows whether there are versions of it")
    })?;
    let seen = Seen::of(&object.bytes);
    if seen.summary.is_none() {
        return Err(Failure::new(format!("what is at {} is no state", site.place())).into());
    }
    let path = site.cache.keep(&site.environment, &site.workspace, &object.bytes)?;
    Ok(Pulled { environment: site.name(), path, what: seen.describe(), serial: seen.serial() })
}
