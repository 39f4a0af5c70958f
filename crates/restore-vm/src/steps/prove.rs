//! The proof: the node and the guest are asked again, nothing that a command returned is believed.

use std::time::Duration;

use restore_common::{
    probe::{self, Tcp, Wait, Waited},
    procedure::{CheckStatus, Run},
    pve::running_state,
    remote::Command,
    ui,
};

use super::replace::present_config;
use crate::{assignment::Restore, disks};

type Found = anyhow::Result<(CheckStatus, String)>;

fn passed(saw: impl Into<String>) -> Found {
    Ok((CheckStatus::Passed, saw.into()))
}

fn failed(saw: impl Into<String>) -> Found {
    Ok((CheckStatus::Failed, saw.into()))
}

/// The configuration is there, is not the stump that a failed restore leaves, and has every disk of the backup.
pub fn configuration(restore: &mut Restore<'_>, _run: &Run<'_>) -> Found {
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
pub fn running(restore: &mut Restore<'_>, _run: &Run<'_>) -> Found {
    let command = restore.what.kind.status_command(restore.what.target);
    let output = restore.host.run(&command)?;
    match running_state(restore.host, &command, &output)?.as_str() {
        "running" => passed("running"),
        other => failed(other.to_owned()),
    }
}

/// Runs a command on the node again and again, once a second, until it succeeds. The waiting happens on the node, so
/// that it costs one remote execution however long it takes.
fn until_it_succeeds(command: &[&str], limit: Duration) -> Command {
    let script = r#"until out=$("$@" 2>&1); do sleep 1; done"#;
    let seconds = limit.as_secs().max(1).to_string();
    let wait = Command::read("timeout").args([&seconds, "bash", "-c", script, "until"]);
    wait.args(command.iter().copied()).limit(limit + Duration::from_secs(30))
}

/// The guest agent answers: the operating system in the VM is up.
pub fn agent(restore: &mut Restore<'_>, run: &Run<'_>) -> Found {
    run.say("waiting for the guest agent");
    let vmid = restore.what.target.to_string();
    let wait = until_it_succeeds(&["qm", "guest", "cmd", &vmid, "ping"], restore.what.wait);
    let output = restore.host.run(&wait)?;
    if output.success() {
        return passed("answers");
    }
    let asked = Command::read("qm").args(["guest", "cmd", &vmid, "ping"]);
    let last = restore.host.run(&asked)?;
    let limit = ui::format::duration(restore.what.wait);
    failed(format!("no answer within {limit}: {}", ui::sanitize(last.stderr.trim())))
}

/// How long one connection attempt may take, and the pause between two.
const ATTEMPT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);

/// Each port answers on the guest's address. Asked from here, as its users would.
pub fn ports(restore: &mut Restore<'_>, run: &Run<'_>) -> Found {
    let Some(address) = address(restore)? else {
        return Ok((
            CheckStatus::Skipped,
            "no address of the guest is known (tfvars, configuration, agent)".to_owned(),
        ));
    };
    let mut open = Vec::new();
    for &port in &restore.what.ports {
        if let Some(seen) = wait_for_port(&address, port, restore.what.wait, run) {
            return failed(format!("{address} port {port}: {seen}"));
        }
        open.push(port.to_string());
    }
    passed(format!("{address} answers on {}", open.join(", ")))
}

/// Waits until a port is open; what was seen last when it did not open.
fn wait_for_port(address: &str, port: u16, limit: Duration, run: &Run<'_>) -> Option<String> {
    let what = format!("{address} port {port}");
    let wait = Wait { what: &what, limit, interval: PAUSE, interrupted: &|| run.stop_requested() };
    run.say(&wait.to_string());
    let mut last = Tcp::TimedOut;
    let opened = wait.until(|| {
        last = probe::tcp(address, port, ATTEMPT.min(limit));
        Ok::<_, std::convert::Infallible>((last == Tcp::Open).then_some(()))
    });
    match opened {
        Ok(Waited::Ready { .. }) => None,
        Ok(Waited::TimedOut) => Some(format!("{last} within {}", ui::format::duration(limit))),
        Ok(Waited::Interrupted) => Some(format!("interrupted, last seen: {last}")),
        Err(never) => match never {},
    }
}

/// The guest's address: from the project or its configuration, else what it says itself.
fn address(restore: &Restore<'_>) -> anyhow::Result<Option<String>> {
    if let Some(address) = &restore.what.address {
        return Ok(Some(address.clone()));
    }
    let output =
        restore.host.run(&restore_common::pve::addresses_command(restore.what.kind, restore.what.target))?;
    Ok(restore_common::pve::first_address(restore.what.kind, &output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_on_the_node_hands_the_command_over_as_arguments() {
        let command =
            until_it_succeeds(&["qm", "guest", "cmd", "101", "ping"], Duration::from_secs(5)).to_string();
        assert!(command.starts_with("timeout 5 bash -c 'until out="), "{command}");
        assert!(command.ends_with(" until qm guest cmd 101 ping"), "{command}");
    }
}
