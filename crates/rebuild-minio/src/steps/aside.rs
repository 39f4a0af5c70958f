//! The container that is in the way: set aside so that nothing of it is lost.
//!
//! Terraform must not destroy it (the module says so), and destroying it on the node would take its volumes. Without its
//! configuration the node knows no such container any more, and a volume that is in no configuration is left alone.

use restore_common::{
    procedure::{Failure, Run},
    pve::GuestKind,
    remote::Command,
};
use restore_vm::{look::firewall_path, steps::power};

use crate::work::{Ctx, Old, Way};

type Said = anyhow::Result<Option<String>>;

fn old<'c>(ctx: &'c Ctx<'_>) -> anyhow::Result<&'c Old> {
    let old = match &ctx.what.way {
        Way::Apply(apply) => apply.old.as_ref(),
        _ => None,
    };
    old.ok_or_else(|| Failure::new("there is no container to set aside").into())
}

/// Removes a configuration.
pub fn remove_command(config: &str) -> Command {
    Command::destroy("rm").args(["-f", config])
}

/// Step: the node does not know the container any more.
pub fn set_aside(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (node, old) = (ctx.node()?, old(ctx)?.clone());
    let config = GuestKind::Lxc.config_path(old.vmid);
    let folder = run.folder(node, "before");
    let copy = format!("{folder}/{}.conf", old.vmid);
    ctx.found.old_config = Some(copy.clone());
    run.command(node, &Command::write("install").args(["-D", "-m", "600", "-t", &folder, &config]))?;
    let question = Command::read("cat").arg(&copy);
    let kept = node.run(&question)?;
    if kept.stdout_of(node, &question)?.trim().is_empty() {
        return Err(Failure::new(format!("the copy `{copy}` of its configuration is empty")).into());
    }
    if old.runs {
        run.command(node, &power::shutdown_command(GuestKind::Lxc, old.vmid))?;
    }
    run.command(node, &remove_command(&config))?;
    Ok(Some(format!("its volumes stay: {}", old.volumes.join(", "))))
}

/// The way back: it is there again, and runs if it ran.
pub fn put_back(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (node, old) = (ctx.node()?, old(ctx)?.clone());
    let config = GuestKind::Lxc.config_path(old.vmid);
    let copy = format!("{}/{}.conf", run.folder(node, "before"), old.vmid);
    let questions = [Command::read("cat").arg(&config), Command::read("cat").arg(&copy)];
    let answers = node.run_all(&questions)?;
    match (answers[0].success(), answers[1].success()) {
        // Not even copied: nothing was taken away.
        (true, false) => {}
        (true, true) if answers[0].stdout == answers[1].stdout => {}
        (true, true) => {
            return Err(Failure::new(format!("another container {} is there now", old.vmid))
                .hint(format!("remove it, then put the old one back: `cp {copy} {config}`"))
                .into());
        }
        (false, true) => {
            run.command(node, &Command::write("cp").args([copy.as_str(), config.as_str()]))?;
        }
        (false, false) => {
            return Err(Failure::new(format!("neither `{config}` nor its copy `{copy}` is there")).into());
        }
    }
    if let Some(text) = &old.firewall {
        let path = firewall_path(old.vmid);
        run.command(node, &Command::write("tee").arg(path).stdin(text.as_str()))?;
    }
    ctx.found.old_config = None;
    let question = GuestKind::Lxc.status_command(old.vmid);
    let state = restore_common::pve::running_state(node, &question, &node.run(&question)?)?;
    if old.runs && state == "stopped" {
        run.command(node, &power::start_command(GuestKind::Lxc, old.vmid))?;
    }
    run.command(node, &Command::destroy("rm").args(["-f", &copy]))?;
    Ok(None)
}
