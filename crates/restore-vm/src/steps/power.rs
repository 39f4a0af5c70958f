//! Stopping and starting the guest.

use std::time::Duration;

use restore_common::{
    procedure::{Failure, Interrupted, Run},
    pve::{GuestKind, Vmid, running_state},
    remote::Command,
};

use crate::{assignment::Restore, ha::set_command};

/// How long a guest may take to shut down by itself before it is stopped.
const GRACE: &str = "60";

/// A clean shutdown, and a hard stop when the guest does not follow it in time.
pub fn shutdown_command(kind: GuestKind, vmid: Vmid) -> Command {
    let words = ["shutdown", &vmid.to_string(), "--timeout", GRACE, "--forceStop", "1"];
    Command::write(kind.tool()).args(words).limit(Duration::from_secs(180))
}

/// Starts a guest.
pub fn start_command(kind: GuestKind, vmid: Vmid) -> Command {
    Command::write(kind.tool()).args(["start", &vmid.to_string()]).limit(Duration::from_secs(180))
}

/// Step: the guest is stopped.
pub fn stop(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let (kind, vmid) = (restore.what.kind, restore.what.target);
    run.command(restore.host, &shutdown_command(kind, vmid))?;
    match state(restore)?.as_str() {
        "stopped" => Ok(None),
        other => Err(Failure::new(format!("{kind} {vmid} is still {other} after its shutdown")).into()),
    }
}

/// The way back of [`stop`]: a guest that ran runs again.
pub fn start_again(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    if state(restore)? == "stopped" {
        run.command(restore.host, &start_command(restore.what.kind, restore.what.target))?;
    }
    Ok(Some(format!("{} runs", restore.what.target_name())))
}

/// Step: the restored guest is started.
pub fn start(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let command = start_command(restore.what.kind, restore.what.target);
    run.command(restore.host, &command).map_err(|error| {
        if error.is::<Interrupted>() {
            return error;
        }
        let failure = Failure::new(format!("{} was restored but does not start", restore.what.target_name()));
        let advice = after_failed_start(restore);
        if advice.is_empty() { failure } else { failure.hint(advice) }.because(error).into()
    })?;
    Ok(None)
}

fn after_failed_start(restore: &Restore<'_>) -> String {
    let vmid = restore.what.target;
    let back = restore.found.safety.as_ref().map(|copy| {
        format!("`restore-vm {vmid} --archive {}` goes back to what was there before", copy.volid)
    });
    let ha = restore.what.ha.as_ref().map(|managed| {
        let command = set_command(&managed.sid, &managed.after);
        format!("{} stays out of high availability until `{command}` gives it back", managed.sid)
    });
    back.into_iter().chain(ha).collect::<Vec<_>>().join("; ")
}

/// The way back of [`start`], when the operator wants to go back after all: nothing is restored over a guest that runs.
pub fn stop_again(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    // Stopping a container that is stopped is an error.
    if state(restore)? != "stopped" {
        let (kind, vmid) = (restore.what.kind, restore.what.target.to_string());
        run.command(restore.host, &Command::write(kind.tool()).args(["stop", &vmid]))?;
    }
    Ok(None)
}

fn state(restore: &Restore<'_>) -> anyhow::Result<String> {
    let command = restore.what.kind.status_command(restore.what.target);
    let output = restore.host.run(&command)?;
    Ok(running_state(restore.host, &command, &output)?)
}
