//! Terraform makes the container anew.

use restore_common::{
    procedure::{Failure, Run},
    pve::{GuestKind, GuestRef, Vmid, running_state},
    remote::{Command, Host},
    terraform::{self, Applied, Counts, PlanSummary, Scope},
};
use restore_tfstate::{copies::local_state, home::backup_of, steps as shared};

use crate::work::{Apply, Ctx, Way};

type Said = anyhow::Result<Option<String>>;

fn decided<'c>(ctx: &'c Ctx<'_>) -> anyhow::Result<&'c Apply> {
    match &ctx.what.way {
        Way::Apply(apply) => Ok(apply),
        _ => Err(Failure::new("there is nothing to apply").into()),
    }
}

/// Step: the module is applied. That something happened is checked: Terraform ends well when an address names nothing.
pub fn apply(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let apply = decided(ctx)?.clone();
    let command = ctx.what.terraform.apply(&ctx.what.dir, &apply.scope);
    let applied = carry_out(ctx.local, &command, run);
    keep_state(ctx);
    let applied = applied?;
    if applied == Counts::default() {
        return Err(Failure::new(format!("Terraform ended well and did nothing for {}", apply.module))
            .hint("`terraform state list` shows what it believes to be there")
            .into());
    }
    ctx.found.applied = Some(applied.to_string());
    Ok(Some(applied.to_string()))
}

/// What the apply left is the freshest state of its environment, however it ended.
fn keep_state(ctx: &Ctx<'_>) {
    if let Some(site) = ctx.scene.own_site()
        && let Ok(bytes) = std::fs::read(local_state(site))
    {
        site.keep(&bytes);
    }
}

fn carry_out(host: &dyn Host, command: &Command, run: &Run<'_>) -> anyhow::Result<Counts> {
    let mut applied = Applied::default();
    terraform::apply(run, host, command, &mut applied)?;
    applied.summary.ok_or_else(|| Failure::new("the apply ended without saying what it did").into())
}

/// The way back: a container that was not there before is removed, with what little is in it.
pub fn remove(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let apply = decided(ctx)?.clone();
    keep_state(ctx);
    if let Some(site) = ctx.scene.own_site().filter(|_| apply.fallback.is_some()) {
        // What the local backend left beside the state, which goes with the fallback.
        shared::remove(&backup_of(&local_state(site)))?;
    }
    let Some(node) = ctx.node else { return Ok(Some("the node was not asked".to_owned())) };
    let mut removed = Vec::new();
    for vmid in made(node, &apply)? {
        let question = GuestKind::Lxc.status_command(vmid);
        if running_state(node, &question, &node.run(&question)?)? != "stopped" {
            run.command(node, &Command::write("pct").args(["stop", &vmid.to_string()]))?;
        }
        run.command(node, &Command::destroy("pct").args(["destroy", &vmid.to_string()]))?;
        removed.push(vmid.to_string());
    }
    let left = made(node, &apply)?;
    if !left.is_empty() {
        return Err(Failure::new(format!("container {} is still there", left[0])).into());
    }
    Ok(Some(match removed.as_slice() {
        [] => "none was made".to_owned(),
        removed => format!("removed container {}", removed.join(", ")),
    }))
}

/// Containers that the apply made: not there before (or set aside), and with the name or the number of the server's.
fn made(node: &dyn Host, apply: &Apply) -> anyhow::Result<Vec<Vmid>> {
    let question = GuestRef::ask_all();
    let guests = GuestRef::read_all(node, &question, &node.run(&question)?)?;
    let old = apply.old.as_ref().map(|old| old.vmid);
    let is_new = |guest: &&GuestRef| !apply.guests.contains(&guest.vmid) || Some(guest.vmid) == old;
    let is_it = |guest: &&GuestRef| {
        guest.kind == GuestKind::Lxc
            && (guest.name.as_deref() == Some(&apply.name) || Some(guest.vmid) == apply.in_state)
    };
    Ok(guests.iter().filter(is_new).filter(is_it).map(|guest| guest.vmid).collect())
}

/// Step: what is left to apply in the environment. Nothing that exists is removed or made anew unasked.
pub fn complete(ctx: &mut Ctx<'_>, run: &Run<'_>) -> Said {
    let (terraform, dir) = (&ctx.what.terraform, &ctx.what.dir);
    let plan = PlanSummary::parse(&ctx.local.run(&terraform.plan(dir))?.stdout)?;
    if plan.is_empty() {
        return Ok(Some("nothing is left".to_owned()));
    }
    if plan.destroy + plan.replace > 0 {
        return Err(Failure::new(format!(
            "an apply would destroy or replace something ({plan}), so it is not done unasked"
        ))
        .hint(format!(
            "read the plan, and apply it yourself: `{} -chdir={} apply`",
            terraform.program,
            dir.display()
        ))
        .into());
    }
    Ok(Some(carry_out(ctx.local, &terraform.apply(dir, &Scope::default()), run)?.to_string()))
}
