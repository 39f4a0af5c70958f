//! Live restore: a VM runs from a Proxmox Backup Server while its disks are still being filled.

use restore_common::{
    procedure::{Problem, Run},
    pve::{GuestKind, Verification},
};

use crate::{
    args::CheckLevel,
    assignment::{Assignment, Restore, Start},
    steps::{power, replace},
};

/// What whoever uses it has to know.
pub const RISK: &str = "the guest runs while its data still comes: when the server, the connection to it or the \
                        restore fails, it is stopped, and what it wrote until then is lost";

/// What speaks against a live restore, when one was asked for.
pub fn problems(what: &Assignment) -> Vec<Problem> {
    if !what.live {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let (target, volid) = (what.target_name(), &what.archive.volid);
    let without = "restore it without `--live-restore`";
    match &what.archive.server {
        None => problems.push(
            Problem::new(format!(
                "`--live-restore` needs a backup on a Proxmox Backup Server, and `{volid}` is an archive"
            ))
            .hint(without),
        ),
        Some(server) if server.verification != Verification::Ok && what.check != CheckLevel::None => problems
            .push(
                Problem::new(format!(
                    "the server never verified `{volid}`, and a live restore trusts it blindly"
                ))
                .hint("have the server verify it first; `--check none` does without"),
            ),
        Some(_) => {}
    }
    if what.kind == GuestKind::Lxc {
        let problem = Problem::new(format!("{target} cannot be restored live: only VMs can"));
        problems.push(problem.hint(without));
    }
    if let Start::No(reason) = &what.start {
        problems.push(Problem::new(format!(
            "`--live-restore` starts {target} at once, which is to stay stopped: {reason}"
        )));
    }
    if !what.excluded.is_empty() {
        let keys: Vec<_> = what.excluded.iter().map(|disk| disk.key.as_str()).collect();
        let problem = Problem::new(format!(
            "{} can only be attached again before {target} runs, and a live restore starts it at once",
            keys.join(", ")
        ));
        problems.push(problem.hint(format!("{without}, or give them up with `--discard-excluded`")));
    }
    problems
}

/// The way back begins with this: the guest may run, under the lock of a restore that was killed, and nothing is restored
/// over a guest that runs.
pub fn end(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<()> {
    if !restore.what.live {
        return Ok(());
    }
    let Some(config) = replace::present_config(restore)? else { return Ok(()) };
    replace::remove_create_lock(restore, run, Some(&config))?;
    power::stop_again(restore, run)?;
    Ok(())
}
