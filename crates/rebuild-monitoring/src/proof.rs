//! The proof of the services, behind a plan and by itself.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use restore_common::{
    monitoring::{self, CHECKS, Inventory, Patience, Proof, Stack},
    procedure::{Check, CheckStatus, Report, Run, Session, checked},
};
use serde_json::json;

/// How long the proof waits after the stack was brought back: Prometheus may replay its log for minutes.
pub const AFTERWARDS: Duration = Duration::from_secs(600);

/// How long it waits when nothing was done before.
pub const ALONE: Duration = Duration::from_secs(60);

/// What a proof is about.
pub struct Proving {
    /// The stack.
    pub stack: Stack,
    /// What it had before.
    pub before: Inventory,
    /// How long to wait for what is starting.
    pub wait: Duration,
}

impl Proving {
    fn prove(&self, stack: &Stack, run: &Run<'_>) -> Proof {
        let patience = Patience {
            limit: self.wait,
            interrupted: &|| run.stop_requested(),
            say: &|words| run.say(words),
        };
        monitoring::prove(stack, &self.before, &patience)
    }

    /// A guest that was made a moment ago has a host key that nobody knows yet.
    fn prove_new(&self, run: &Run<'_>) -> anyhow::Result<Proof> {
        let folder = tempfile::tempdir()?;
        Ok(self.prove(&self.stack.clone().with_new_guest(folder.path()), run))
    }
}

/// The proof as checks of a plan. All services are asked at the same time, by the first of them. `is_new` tells whether
/// the guest was made anew.
pub fn checks<C>(
    proving: Proving,
    is_new: impl Fn(&C) -> bool + Copy + Send + Sync + 'static,
) -> Vec<Check<C>> {
    let shared = Arc::new((proving, OnceLock::new()));
    let check = |(at, (id, title)): (usize, &(&'static str, &'static str))| {
        let shared = Arc::clone(&shared);
        let run = move |context: &mut C, run: &Run<'_>| -> anyhow::Result<(CheckStatus, String)> {
            let (proving, proof) = &*shared;
            let proof: &Proof = match proof.get() {
                Some(proof) => proof,
                None if is_new(context) => {
                    let proved = proving.prove_new(run)?;
                    proof.get_or_init(|| proved)
                }
                None => proof.get_or_init(|| proving.prove(&proving.stack, run)),
            };
            let seen = proof.checks.get(at);
            Ok(seen.map_or((CheckStatus::Failed, "not looked at".to_owned()), |seen| {
                (seen.status, seen.saw.clone())
            }))
        };
        Check { id, title: (*title).to_owned(), run: Box::new(run) }
    };
    CHECKS.iter().enumerate().map(check).collect()
}

/// Only the proof.
pub fn alone(session: &Session<'_>, stack: &Stack, wait: Duration) -> Report {
    let interrupted = || session.interrupt.requested();
    let patience =
        Patience { limit: wait, interrupted: &interrupted, say: &|words| session.reporter.note(words) };
    let proof = monitoring::prove(stack, &Inventory::default(), &patience);
    let subject = json!({ "address": stack.address, "counts": proof.seen.counts() });
    checked(session, &title(stack), subject, proof.checks)
}

/// What a proof by itself is about.
fn title(stack: &Stack) -> String {
    format!("The monitoring stack at {}", stack.address)
}
