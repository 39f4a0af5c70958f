//! What answers by the network, asked from here as the guest's users would.

use std::{sync::Arc, time::Duration};

use restore_common::{
    probe::{self, Ping, SshBanner, Tcp},
    procedure::{Check, CheckStatus, Run},
    pve::GuestKind,
    ui,
};

use super::{Asked, Common, Found, Until, skipped};
use crate::assignment::{Assignment, Restore};

/// How long one attempt may take, and the pause between two.
pub(super) const ATTEMPT: Duration = Duration::from_secs(3);
pub(super) const PAUSE: Duration = Duration::from_millis(200);

/// How long silence on ping is listened to when the guest answers otherwise.
const SILENCE: Duration = Duration::from_secs(5);

fn address(what: &Assignment) -> &str {
    what.proof.address.as_deref().unwrap_or("the guest")
}

/// One check for each port.
pub(super) fn ports<'a>(what: &Assignment, common: &Arc<Common>) -> Vec<Check<Restore<'a>>> {
    what.proof.ports.iter().map(|&port| port_check(what, address(what), port, common)).collect()
}

/// The check by ping. It comes last: what its silence means depends on what else answered.
pub(super) fn by_ping<'a>(what: &Assignment, common: &Arc<Common>) -> Option<Check<Restore<'a>>> {
    let common = Arc::clone(common);
    let title = format!("{} answers to ping", address(what));
    let run = move |restore: &mut Restore<'a>, run: &Run<'_>| ping(restore, run, &common);
    what.proof.ping.then(|| Check { id: "ping", title, run: Box::new(run) })
}

fn port_check<'a>(what: &Assignment, address: &str, port: u16, common: &Arc<Common>) -> Check<Restore<'a>> {
    let common = Arc::clone(common);
    if port == what.proof.ssh_port {
        let title = format!("{address} answers on TCP {port} as SSH");
        let run = move |restore: &mut Restore<'a>, run: &Run<'_>| ssh(restore, run, &common, port);
        return Check { id: "ssh", title, run: Box::new(run) };
    }
    let title = format!("{address} answers on TCP {port}");
    let run = move |restore: &mut Restore<'a>, run: &Run<'_>| {
        let limit = restore.what.proof.wait;
        tcp(restore, run, &common, port, limit)
    };
    Check { id: "port", title, run: Box::new(run) }
}

/// A question by the network, to an address that the guest may tell only once it is up.
pub(super) struct ByNetwork<'a> {
    /// What is waited for, without the address.
    pub(super) what: &'a str,
    pub(super) limit: Duration,
    pub(super) run: &'a Run<'a>,
    pub(super) common: &'a Common,
}

impl ByNetwork<'_> {
    /// Asks until the answer is yes. The question gets the address and how long it may take.
    pub(super) fn ask(
        &self,
        restore: &Restore<'_>,
        mut question: impl FnMut(&str, Duration) -> Asked,
    ) -> Found {
        if let Some(reason) = restore.what.unheard() {
            return skipped(reason);
        }
        let what = &restore.what;
        let tells_none = what.kind == GuestKind::Qemu && !what.inside.config.flag("agent");
        let is_known = what.proof.address.is_some();
        if tells_none && !is_known {
            return skipped("no address of the guest is known (tfvars, restore.toml, configuration, agent)");
        }
        let Self { what, limit, run, common } = *self;
        let until = Until { what, limit, left: common.left(limit), interval: PAUSE, run };
        until.ask(|| {
            let Some(address) = common.address(restore)? else {
                return Ok(Err("the guest tells no address".to_owned()));
            };
            let asked = question(&address, ATTEMPT.min(limit));
            if asked.is_ok() {
                common.heard();
            }
            // An address that only the guest could tell is news; the other is in the check's title.
            let told = |said| if is_known { said } else { format!("{address}: {said}") };
            Ok(asked.map(told).map_err(told))
        })
    }
}

/// A port is open.
pub(super) fn tcp(
    restore: &Restore<'_>,
    run: &Run<'_>,
    common: &Common,
    port: u16,
    limit: Duration,
) -> Found {
    let what = format!("TCP port {port}");
    let by_network = ByNetwork { what: &what, limit, run, common };
    by_network.ask(restore, |address, attempt| match probe::tcp(address, port, attempt) {
        Tcp::Open => Ok("open".to_owned()),
        seen => Err(seen.to_string()),
    })
}

/// An SSH server introduces itself.
fn ssh(restore: &Restore<'_>, run: &Run<'_>, common: &Common, port: u16) -> Found {
    let what = format!("SSH on TCP port {port}");
    let by_network = ByNetwork { what: &what, limit: restore.what.proof.wait, run, common };
    by_network.ask(restore, |address, attempt| match probe::ssh_banner(address, port, attempt) {
        SshBanner::Ssh(banner) => Ok(super::shown(banner)),
        seen => Err(seen.to_string()),
    })
}

/// The guest answers to ping. Silence means little where something else answers: many systems drop it.
fn ping(restore: &Restore<'_>, run: &Run<'_>, common: &Common) -> Found {
    let wait = restore.what.proof.wait;
    let heard = common.was_heard();
    let mut not_asked = None;
    let by_network = ByNetwork { what: "an answer to ping", limit: wait, run, common };
    // With an answer by TCP the network is up, and a few seconds say enough.
    let patient = Common::default();
    let by_network = if heard {
        ByNetwork { limit: wait.min(SILENCE), common: &patient, ..by_network }
    } else {
        by_network
    };
    let found = by_network.ask(restore, |address, attempt| match probe::ping(address, attempt) {
        Ping::Answered => Ok("answers".to_owned()),
        Ping::NoAnswer => Err("no answer".to_owned()),
        // It will be no other way later: end the wait, and say so.
        Ping::NotAsked(reason) => {
            not_asked = Some(reason);
            Ok(String::new())
        }
    })?;
    Ok(match (found, not_asked) {
        (_, Some(reason)) => (CheckStatus::Skipped, ui::sanitize(&reason).into_owned()),
        ((CheckStatus::Failed, saw), None) if heard => {
            (CheckStatus::Skipped, format!("{saw}, though it does on TCP: it may drop ping"))
        }
        ((CheckStatus::Failed, saw), None) => {
            (CheckStatus::Failed, format!("{saw} (`ping = false` in restore.toml if it never does)"))
        }
        (found, None) => found,
    })
}
