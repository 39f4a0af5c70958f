//! Alertmanager: ready, and its receivers. Source: its API, version 2.

use serde::Deserialize;

use super::asking::{Asker, Look, Seen, listed};
use crate::procedure::CheckStatus;

#[derive(Deserialize)]
struct Receiver {
    name: String,
}

/// All checks of Alertmanager.
pub(super) fn look(asker: &Asker<'_>) -> Vec<Seen> {
    let service = &asker.stack.alertmanager;
    let ready = Seen::timed(|| {
        let ready = asker.until("Alertmanager", || asker.ok(service, "/-/ready", None));
        Seen::of("alertmanager", ready.map(|_| "ready".to_owned()))
    });
    if ready.status != CheckStatus::Passed {
        return vec![ready, Seen::skipped("receivers", "not asked: Alertmanager is not ready")];
    }
    let receivers = Seen::timed(|| {
        let mut names = None;
        let looked = asker.until("the receivers", || {
            asker.json::<Vec<Receiver>>(service, "/api/v2/receivers", None).and_then(|receivers| {
                if receivers.is_empty() {
                    return Look::IsNot("it has no receiver".to_owned());
                }
                let saw = listed(receivers.iter().map(|receiver| &receiver.name));
                names = Some(receivers.into_iter().map(|receiver| receiver.name).collect());
                Look::Is(saw)
            })
        });
        Seen { names, ..Seen::of("receivers", looked) }
    });
    vec![ready, receivers]
}
