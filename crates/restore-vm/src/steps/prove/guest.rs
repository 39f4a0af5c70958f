//! What the node and the guest agent say.

use std::time::Duration;

use restore_common::{procedure::Run, pve::running_state, remote::Command};

use super::{Common, Found, Until, failed, passed, shown};
use crate::{assignment::Restore, disks, steps::replace::present_config};

/// The configuration is there, is not the stump that a failed restore leaves, and has every disk of the backup.
pub(super) fn configuration(restore: &mut Restore<'_>, _run: &Run<'_>) -> Found {
    let Some(config) = present_config(restore)? else { return failed("there is no configuration") };
    if config.is_left_by_a_failed_restore() {
        return failed("the configuration is the stump of a failed restore");
    }
    let what = &restore.what;
    let expected = disks::keys_in_archive(what.kind, &what.inside.config);
    let kept = what.excluded.iter().map(|d| d.key.clone());
    let missing: Vec<_> = expected.into_iter().chain(kept).filter(|key| config.get(key).is_none()).collect();
    if !missing.is_empty() {
        return failed(format!("missing: {}", missing.join(", ")));
    }
    let keys: Vec<_> = config.disks(what.kind).into_iter().map(|d| d.key).collect();
    passed(format!("{} disks: {}", keys.len(), keys.join(", ")))
}

/// The node says that the guest runs.
pub(super) fn running(restore: &mut Restore<'_>, _run: &Run<'_>) -> Found {
    let command = restore.what.kind.status_command(restore.what.target);
    let output = restore.host.run(&command)?;
    match running_state(restore.host, &command, &output)?.as_str() {
        "running" => passed("running"),
        other => failed(other.to_owned()),
    }
}

/// The pause between two questions to the agent. Each starts a program on the node, and waits up to 3 s by itself.
const PAUSE: Duration = Duration::from_millis(500);

/// The guest agent answers: the operating system in the VM is up.
pub(super) fn agent(restore: &mut Restore<'_>, run: &Run<'_>, common: &Common) -> Found {
    let limit = restore.what.proof.wait;
    let until = Until { what: "the guest agent", limit, left: common.left(limit), interval: PAUSE, run };
    let ping = Command::read("qm").args(["guest", "cmd", &restore.what.target.to_string(), "ping"]);
    until.ask(|| {
        let output = restore.host.run(&ping)?;
        Ok(if output.success() {
            Ok("answers".to_owned())
        } else {
            Err(format!("no answer: {}", shown(&output.stderr)))
        })
    })
}
