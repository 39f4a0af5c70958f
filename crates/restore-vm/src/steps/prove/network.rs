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

/// The checks of ports and of ping.
pub(super) fn checks<'a>(what: &Assignment, common: &Arc<Common>) -> Vec<Check<Restore<'a>>> {
    let address = what.proof.address.as_deref().unwrap_or("the guest");
    let mut checks: Vec<_> =
        what.proof.ports.iter().map(|&port| port_check(what, address, port, common)).collect();
    if what.proof.ping {
        let common = Arc::clone(common);
        checks.push(Check {
            id: "ping",
            title: format!("{address} answers to ping"),
            run: Box::new(move |restore, run| ping(restore, run, &common)),
        });
    }
    checks
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
        if tells_none && what.proof.address.is_none() {
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
            Ok(asked)
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
        Tcp::Open => Ok(format!("{address} port {port} is open")),
        seen => Err(format!("{address} port {port}: {seen}")),
    })
}

/// An SSH server introduces itself.
fn ssh(restore: &Restore<'_>, run: &Run<'_>, common: &Common, port: u16) -> Found {
    let what = format!("SSH on TCP port {port}");
    let by_network = ByNetwork { what: &what, limit: restore.what.proof.wait, run, common };
    by_network.ask(restore, |address, attempt| match probe::ssh_banner(address, port, attempt) {
        SshBanner::Ssh(banner) => Ok(format!("{address} port {port}: {}", super::shown(banner))),
        seen => Err(format!("{address} port {port}: {seen}")),
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
        Ping::Answered => Ok(format!("{address} answers")),
        Ping::NoAnswer => Err(format!("{address} does not answer")),
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
