//! What the high-availability manager makes of a guest.
//!
//! What is asked of it stands in `resources.cfg` at once, and there `qm` and `pct` look whether they may act themselves.
//! The manager notices a change only some 10 to 20 s later, and until then goes on as before: a guest that it has as
//! started is started again when it is seen stopped.

use serde::Deserialize;

use super::{GuestKind, PveError, Vmid, json};
use crate::remote::{Command, Host, Output};

/// A guest as the manager has it now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HaService {
    sid: Option<String>,
    #[serde(default)]
    state: String,
    crm_state: Option<String>,
}

impl HaService {
    /// Asks for all of them.
    pub fn ask() -> Command {
        json::get("/cluster/ha/status/current", &[])
    }

    /// The one called `sid` in the answer to [`HaService::ask`]; nothing when the manager does not know it.
    pub fn read(
        host: &dyn Host,
        command: &Command,
        output: &Output,
        sid: &str,
    ) -> Result<Option<Self>, PveError> {
        let entries: Vec<Self> = json::parse(host, command, output)?;
        Ok(entries.into_iter().find(|entry| entry.sid.as_deref() == Some(sid)))
    }

    /// The state that the manager has it in. Where it has none, it does nothing with the guest: what is shown as its
    /// state is then only what was asked for.
    pub fn managed_state(&self) -> Option<&str> {
        self.crm_state.as_deref().filter(|state| *state != "ignored")
    }

    /// What is shown as its state.
    pub fn state(&self) -> &str {
        &self.state
    }
}

/// A guest as high availability names it: `vm:100`, `ct:200`.
pub fn ha_sid(kind: GuestKind, vmid: Vmid) -> String {
    match kind {
        GuestKind::Qemu => format!("vm:{vmid}"),
        GuestKind::Lxc => format!("ct:{vmid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::managed(r#"{"sid":"vm:101","state":"started","crm_state":"started"}"#, Some("started"))]
    #[case::not_yet_let_go(r#"{"sid":"vm:101","state":"ignored","crm_state":"started"}"#, Some("started"))]
    #[case::let_go(r#"{"sid":"vm:101","state":"ignored"}"#, None)]
    #[case::let_go_in_words(r#"{"sid":"vm:101","state":"ignored","crm_state":"ignored"}"#, None)]
    fn what_is_asked_for_is_not_what_the_manager_does(#[case] entry: &str, #[case] expected: Option<&str>) {
        let service: HaService = serde_json::from_str(entry).unwrap();
        assert_eq!(service.managed_state(), expected);
    }
}
