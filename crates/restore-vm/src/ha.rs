//! Guests under high availability: they are taken out before the work and given back after it.
//!
//! The manager knows nothing of a restore. It would start the guest while it is restored, and `qm` and `pct` only hand
//! their requests on to it as long as it looks after the guest.

use restore_common::{
    procedure::Problem,
    pve::{GuestKind, HaResource, HaService, NodeFacts, PveError, Vmid, ha_sid},
    remote::{Command, Host},
};
use serde::{Deserialize, Serialize};

use crate::look::Holder;

/// A guest that high availability looks after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// As it is called there: `vm:101`.
    pub sid: String,
    /// The state that it was to be kept in before.
    pub before: String,
    /// The state that it is to be kept in afterwards.
    pub after: String,
}

impl Managed {
    /// The guest, unless it is not looked after.
    pub fn find(facts: &NodeFacts, kind: GuestKind, vmid: Vmid) -> Option<Self> {
        let sid = ha_sid(kind, vmid);
        let before = requested(&facts.ha, &sid).filter(|state| *state != "ignored")?.to_owned();
        Some(Self { after: before.clone(), sid, before })
    }

    /// Whether the guest runs there.
    pub fn is_started(&self) -> bool {
        self.before == "started"
    }

    /// The same, for a guest that is left stopped: given back as it was it would be started.
    #[must_use]
    pub fn left_stopped(self) -> Self {
        let after = if self.is_started() { "stopped".to_owned() } else { self.after };
        Self { after, ..self }
    }
}

/// The state that a guest is to be kept in; nothing for one that is not among them.
pub fn requested<'a>(resources: &'a [HaResource], sid: &str) -> Option<&'a str> {
    resources.iter().find(|resource| resource.sid == sid).map(HaResource::requested)
}

/// Asks for another state.
pub fn set_command(sid: &str, state: &str) -> Command {
    Command::write("ha-manager").args(["set", sid, "--state", state])
}

/// States in which the manager is about to do something, or waits for an operator.
const UNSETTLED: [&str; 5] = ["fence", "freeze", "migrate", "recovery", "relocate"];

/// What speaks against taking it out. One remote execution.
pub fn problem(
    host: &dyn Host,
    managed: &Managed,
    holder: &Holder,
    is_copy: bool,
) -> Result<Option<Problem>, PveError> {
    let Managed { sid, before, .. } = managed;
    if is_copy {
        let problem = Problem::new(format!(
            "high availability still has `{sid}` ({before}), although there is no such guest, and would take the copy over"
        ));
        return Ok(Some(problem.hint(format!(
            "choose another number with `--target-id`, or take it out: `ha-manager remove {sid}` on the node"
        ))));
    }
    let command = HaService::ask();
    let service = HaService::read(host, &command, &host.run(&command)?, sid)?;
    let state = service.as_ref().and_then(HaService::managed_state).unwrap_or_default();
    // The guest that is gone is what the error is about.
    if state == "error" && holder.here().is_some() {
        let problem = Problem::new(format!(
            "high availability has `{sid}` in the state `error`, and keeps off it until that is cleared"
        ));
        return Ok(Some(problem.hint(format!(
            "see why (`ha-manager status` on the node), then clear it: `ha-manager set {sid} --state disabled`"
        ))));
    }
    Ok(UNSETTLED.contains(&state).then(|| {
        let problem = Problem::new(format!("high availability is at work on `{sid}` ({state})"));
        problem.hint("wait until it has settled: `ha-manager status` on the node")
    }))
}
