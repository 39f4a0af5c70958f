//! The proof of the services, behind a plan and by itself.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use restore_common::{
    monitoring::{Inventory, Patience, Proof},
    procedure::{Check, CheckStatus, Report, Run, Session, checked},
};
use serde_json::json;

use crate::{Services, site::Site};

/// How long the proof waits after the stack was brought back: a service may read its own log for minutes first.
pub const AFTERWARDS: Duration = Duration::from_secs(600);

/// How long it waits when nothing was done before.
pub const ALONE: Duration = Duration::from_secs(60);

/// What a proof is about.
pub struct Proving {
    /// Its services.
    pub services: Box<dyn Services>,
    /// What they had before.
    pub before: Inventory,
    /// How long to wait for what is starting.
    pub wait: Duration,
}

impl Proving {
    fn prove(&self, guest_is_new: bool, run: &Run<'_>) -> anyhow::Result<Proof> {
        let patience = Patience {
            limit: self.wait,
            interrupted: &|| run.stop_requested(),
            say: &|words| run.say(words),
        };
        self.services.prove(guest_is_new, &self.before, &patience)
    }
}

/// The proof as checks of a plan. All services are asked at the same time, by the first of them. `is_new` tells whether
/// the guest was made anew.
pub fn checks<C>(
    proving: Proving,
    is_new: impl Fn(&C) -> bool + Copy + Send + Sync + 'static,
) -> Vec<Check<C>> {
    let titles = proving.services.checks();
    let shared = Arc::new((proving, OnceLock::new()));
    let check = |(at, (id, title)): (usize, (&'static str, String))| {
        let shared = Arc::clone(&shared);
        let run = move |context: &mut C, run: &Run<'_>| -> anyhow::Result<(CheckStatus, String)> {
            let (proving, proof) = &*shared;
            let proof: &Proof = match proof.get() {
                Some(proof) => proof,
                None => {
                    let proved = proving.prove(is_new(context), run)?;
                    proof.get_or_init(|| proved)
                }
            };
            let seen = proof.checks.get(at);
            Ok(seen.map_or((CheckStatus::Failed, "not looked at".to_owned()), |seen| {
                (seen.status, seen.saw.clone())
            }))
        };
        Check { id, title, run: Box::new(run) }
    };
    titles.into_iter().enumerate().map(check).collect()
}

/// Only the proof.
pub fn alone(session: &Session<'_>, site: &Site<'_>, wait: Duration) -> anyhow::Result<Report> {
    let services = site.services(None)?;
    let interrupted = || session.interrupt.requested();
    let patience =
        Patience { limit: wait, interrupted: &interrupted, say: &|words| session.reporter.note(words) };
    let proof = services.prove(false, &Inventory::default(), &patience)?;
    let address = services.address();
    let subject = json!({ "address": address, "counts": proof.seen.counts() });
    let title = format!("The {} stack at {address}", site.about().key);
    Ok(checked(session, &title, subject, proof.checks))
}
