//! What the node and the guest agent say.

use std::time::Duration;

use restore_common::{procedure::Run, pve::running_state, remote::Command};

use super::{Common, Found, Until, failed, passed, shown};
use crate::{
    assignment::Restore,
    disks,
    identity::{Mark, identity, shared},
    steps::{links, replace::present_config},
};

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

/// Nothing that tells the guest from others is what the backup or the original has.
pub(super) fn own_identity(restore: &mut Restore<'_>, _run: &Run<'_>) -> Found {
    let Some(config) = present_config(restore)? else { return failed("there is no configuration") };
    let what = &restore.what;
    let now = identity(&config);
    let before = what.original.iter().chain(what.present.iter().map(|guest| &guest.config));
    let words = |marks: &[Mark]| {
        let words: Vec<_> = marks.iter().map(|mark| format!("{} {}", mark.what, mark.value)).collect();
        words.join(", ")
    };
    let shared = shared(&now, before.chain([&what.inside.config]));
    match (shared.as_slice(), now.as_slice()) {
        ([], []) => passed("it has none"),
        ([], _) => passed(words(&now)),
        _ => failed(format!("the same as of {} before: {}", what.source, words(&shared))),
    }
}

/// No card of the guest has a link.
pub(super) fn links_down(restore: &mut Restore<'_>, _run: &Run<'_>) -> Found {
    let Some(config) = present_config(restore)? else { return failed("there is no configuration") };
    let (down, up): (Vec<_>, Vec<_>) =
        links::cards(&config).into_iter().partition(|(_, value)| links::is_down(value));
    let keys = |cards: &[(&str, &str)]| cards.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ");
    if up.is_empty() { passed(keys(&down)) } else { failed(format!("up: {}", keys(&up))) }
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
