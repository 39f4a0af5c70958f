//! Starting what is there.

use restore_common::{
    procedure::{Failure, Interrupted, Run},
    pve::{GuestKind, Vmid, running_state},
    remote::Command,
};
use restore_vm::steps::power;

use crate::{
    container::{UNIT, in_container},
    work::{Ctx, Way},
};

type Said = anyhow::Result<Option<String>>;

const ADVICE: &str = "`--mode restore` brings the container back from a backup";

fn vmid(ctx: &Ctx<'_>) -> anyhow::Result<Vmid> {
    match &ctx.what.way {
        Way::Start { vmid, .. } => Ok(*vmid),
        _ => Err(Failure::new("there is no container to start").into()),
    }
}

/// Step: the container runs.
pub fn container(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (node, vmid) = (ctx.node()?, vmid(ctx)?);
    if state(ctx, vmid)? == "running" {
        return Ok(Some("it runs already".to_owned()));
    }
    run.command(node, &power::start_command(GuestKind::Lxc, vmid)).map_err(|error| advised(error, vmid))?;
    Ok(None)
}

/// The way back: it is stopped, as it was.
pub fn stop_again(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (node, vmid) = (ctx.node()?, vmid(ctx)?);
    if state(ctx, vmid)? != "stopped" {
        run.command(node, &power::shutdown_command(GuestKind::Lxc, vmid))?;
    }
    Ok(None)
}

fn state(ctx: &Ctx<'_>, vmid: Vmid) -> anyhow::Result<String> {
    let (node, question) = (ctx.node()?, GuestKind::Lxc.status_command(vmid));
    Ok(running_state(node, &question, &node.run(&question)?)?)
}

/// What starts the service: also when it only seems to run.
pub fn service_command(vmid: Vmid) -> Command {
    in_container(Command::write("pct"), vmid, &["systemctl", "restart", UNIT])
}

/// Step: the service in the container is started.
pub fn service(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (node, vmid) = (ctx.node()?, vmid(ctx)?);
    run.command(node, &service_command(vmid)).map_err(|error| advised(error, vmid))?;
    Ok(None)
}

fn advised(error: anyhow::Error, vmid: Vmid) -> anyhow::Error {
    if error.is::<Interrupted>() || restore_common::procedure::is_out_of_reach(&error) {
        return error;
    }
    Failure::new(format!("container {vmid}, or the service in it, does not start"))
        .hint(ADVICE)
        .because(error)
        .into()
}
