//! Removing a throw-away guest.

use restore_common::{
    procedure::{Failure, Kept, Plan, Question, Run, Step, Undo, Workplace},
    pve::{GuestConfig, GuestKind, Vmid, running_state},
    remote::{Command, Host},
};
use serde_json::Value;

use super::mark::Mark;

/// Destroys a guest: its volumes, its configuration, its firewall file. Without `--purge`, which would take the number out
/// of backup jobs and high availability, where another guest may have been meant.
pub(super) fn destroy_command(kind: GuestKind, vmid: Vmid) -> Command {
    Command::destroy(kind.tool()).args(["destroy", &vmid.to_string()])
}

/// Stops and destroys a guest, whose mark the caller has seen.
pub(super) fn destroy(host: &dyn Host, run: &Run<'_>, kind: GuestKind, vmid: Vmid) -> anyhow::Result<()> {
    let status = kind.status_command(vmid);
    // Stopping a container that is stopped is an error.
    if running_state(host, &status, &host.run(&status)?)? != "stopped" {
        run.command(host, &Command::write(kind.tool()).args(["stop", &vmid.to_string()]))?;
    }
    run.command(host, &destroy_command(kind, vmid))?;
    Ok(())
}

/// A guest that a drill left, of which only its mark is known.
pub(super) struct Leftover<'a> {
    /// The node.
    pub host: &'a dyn Host,
    /// The node's name.
    pub node: String,
    /// VM or container.
    pub kind: GuestKind,
    /// What it carries.
    pub mark: Mark,
}

impl Workplace for Leftover<'_> {
    fn host(&self) -> &dyn Host {
        self.host
    }

    fn kept(&self) -> Vec<Kept> {
        Vec::new()
    }

    fn claim(&self) -> String {
        format!("guest-{}", self.mark.vmid)
    }

    fn work(&self) -> Value {
        Value::Null
    }

    fn found(&self) -> Value {
        Value::Null
    }
}

/// The plan that removes it.
pub(super) fn plan<'a>(left: &Leftover<'_>) -> Plan<Leftover<'a>> {
    let Leftover { node, kind, mark, .. } = left;
    let Mark { run, vmid, source } = mark;
    let undo = Undo::Impossible("what is left of it is found again by the next drill".to_owned());
    let step = Step::destroy("remove", format!("Stop {kind} {vmid} and destroy it"), remove, undo);
    Plan {
        title: format!("Remove {kind} {vmid} on {node}, which a drill of {source} left"),
        facts: vec![("made by".to_owned(), run.to_string())],
        details: Vec::new(),
        warnings: Vec::new(),
        steps: vec![step.commands([destroy_command(*kind, *vmid)])],
        checks: Vec::new(),
        question: Question::YesNo(format!("Remove {kind} {vmid}?")),
        subject: serde_json::json!({ "node": node, "target_id": vmid, "vmid": source, "run": run }),
        next: Vec::new(),
    }
}

fn remove(left: &mut Leftover<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let (host, kind, vmid) = (left.host, left.kind, left.mark.vmid);
    let read = Command::read("cat").arg(kind.config_path(vmid));
    let config = GuestConfig::parse(host.run(&read)?.stdout_of(host, &read)?);
    if Mark::of(&config, vmid).as_ref() != Some(&left.mark) {
        return Err(Failure::new(format!(
            "{kind} {vmid} does not carry the mark any more: it was not touched"
        ))
        .into());
    }
    destroy(host, run, kind, vmid)?;
    let mut storages: Vec<_> =
        config.disks(kind).iter().filter_map(restore_common::pve::Disk::storage).collect();
    storages.sort();
    storages.dedup();
    let list = |storage: &restore_common::pve::StorageId| {
        Command::read("pvesm").args(["list", storage.as_str(), "--vmid", &vmid.to_string()])
    };
    let lists: Vec<_> = storages.iter().map(list).collect();
    let volumes = restore_vm::steps::replace::volumes_in(host, &lists, &host.run_all(&lists)?)?;
    if volumes.is_empty() {
        return Ok(None);
    }
    let failure =
        Failure::new(format!("{kind} {vmid} is destroyed, but {} is still there", volumes.join(", ")));
    Err(failure.hint("`pvesm free VOLUME` on the node removes it").into())
}
