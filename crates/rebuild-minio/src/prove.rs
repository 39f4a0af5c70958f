//! The proof: server, node and Terraform are asked again.

use restore_common::{
    procedure::{Check, CheckStatus, Run},
    pve::GuestKind,
    remote::Host as _,
    s3::Versioning,
    terraform::PlanSummary,
};
use restore_tfstate::site::Seen;

use crate::work::{Ctx, Way};

type Found = anyhow::Result<(CheckStatus, String)>;

/// Every check, cheapest first: the server, a line a bucket, a line a state, a line a plan.
pub fn checks<'a>(ctx: &Ctx<'a>) -> Vec<Check<Ctx<'a>>> {
    let mut checks = Vec::new();
    if let Some(part) = &ctx.restore {
        checks.extend(part.checks().into_iter().enumerate().map(|(at, (id, title))| Check {
            id,
            title,
            run: Box::new(move |ctx: &mut Ctx<'a>, run: &Run<'_>| match ctx.restore.as_mut() {
                Some(part) => part.check(at, run),
                None => skipped("there was no restore"),
            }),
        }));
    }
    checks.push(Check {
        id: "server",
        title: format!("the server at {} serves", ctx.what.endpoint),
        run: Box::new(|ctx, _| server(ctx)),
    });
    for name in ctx.what.buckets.clone() {
        let title = format!("bucket `{name}` keeps versions");
        checks.push(Check { id: "bucket", title, run: Box::new(move |ctx, _| bucket(ctx, &name)) });
    }
    for state in &ctx.what.states {
        let name = state.environment.clone();
        let title = format!("the state of {name} is in its bucket");
        checks.push(Check { id: "state", title, run: Box::new(move |ctx, _| state_of(ctx, &name)) });
    }
    for state in &ctx.what.states {
        let name = state.environment.clone();
        let title = format!("Terraform works with the state of {name}");
        checks.push(Check { id: "plan", title, run: Box::new(move |ctx, _| plan_of(ctx, &name)) });
    }
    if matches!(ctx.what.way, Way::Apply(_)) && ctx.node.is_some() {
        let title = "its container is there".to_owned();
        checks.push(Check { id: "container", title, run: Box::new(|ctx, _| container(ctx)) });
    }
    checks
}

fn passed(saw: impl Into<String>) -> Found {
    Ok((CheckStatus::Passed, saw.into()))
}

fn failed(saw: impl Into<String>) -> Found {
    Ok((CheckStatus::Failed, saw.into()))
}

fn skipped(why: impl Into<String>) -> Found {
    Ok((CheckStatus::Skipped, why.into()))
}

fn server(ctx: &mut Ctx<'_>) -> Found {
    let kind = ctx.scene.server.serves()?;
    let word = |can| if can { "yes" } else { "no" };
    passed(match &ctx.found.capabilities {
        Some(can) => {
            format!("{kind}; versions: {}; conditional writes: {}", word(can.versions), word(can.conditions))
        }
        None => kind.to_string(),
    })
}

fn bucket(ctx: &mut Ctx<'_>, name: &str) -> Found {
    if let Some(reason) = ctx.found.without_versions.get(name) {
        return failed(format!(
            "this server keeps no versions ({reason}): an earlier state cannot be brought back"
        ));
    }
    match ctx.scene.server.bucket(name)?.versioning()? {
        Versioning::Enabled => passed("it does"),
        Versioning::Suspended => failed("it is suspended"),
        Versioning::Off => failed("it does not"),
    }
}

fn state_of(ctx: &mut Ctx<'_>, environment: &str) -> Found {
    if let Some(outcome) = ctx.found.backends.get(environment).filter(|outcome| !outcome.good) {
        return failed(outcome.words.clone());
    }
    if let Some(outcome) = ctx.found.states.get(environment).filter(|outcome| !outcome.good) {
        return failed(outcome.words.clone());
    }
    let (Some(site), Some(state)) = (ctx.scene.site(environment), ctx.state(environment)) else {
        return skipped("it is not kept in this server");
    };
    let Some(now) = site.current()?.map(|object| Seen::of(&object.bytes)) else {
        return failed("there is none");
    };
    if now.summary.is_none() {
        return failed(now.describe());
    }
    match &state.known {
        Some(known) if !now.is_kin_of(known) && !state.chosen => {
            failed(format!("it has another lineage than the one before: {}", now.describe()))
        }
        Some(known) if now.serial() < known.serial() => failed(format!(
            "it is older than the one that was known: {} instead of {}",
            now.describe(),
            known.describe()
        )),
        Some(_) => passed(format!("{}, same lineage, no older than before", now.describe())),
        None => passed(now.describe()),
    }
}

fn plan_of(ctx: &mut Ctx<'_>, environment: &str) -> Found {
    let Some(site) = ctx.scene.site(environment) else { return skipped("it is not kept in this server") };
    let bad = |outcomes: &std::collections::BTreeMap<String, crate::work::Outcome>| {
        outcomes.get(environment).is_some_and(|outcome| !outcome.good)
    };
    if bad(&ctx.found.states) || bad(&ctx.found.backends) {
        return skipped("its state is not in its place");
    }
    let host = site.host()?;
    let output = host.run(&ctx.what.terraform.plan(&site.dir))?;
    match PlanSummary::parse(&output.stdout) {
        Ok(plan) => {
            let words = plan.to_string();
            ctx.found.plans.insert(environment.to_owned(), plan);
            passed(words)
        }
        Err(error) => failed(error.to_string()),
    }
}

fn container(ctx: &mut Ctx<'_>) -> Found {
    let Way::Apply(apply) = &ctx.what.way else { return skipped("none was made") };
    let node = ctx.node()?;
    let question = restore_common::pve::GuestRef::ask_all();
    let guests = restore_common::pve::GuestRef::read_all(node, &question, &node.run(&question)?)?;
    let named = |guest: &&restore_common::pve::GuestRef| {
        guest.kind == GuestKind::Lxc && guest.name.as_deref() == Some(&apply.name)
    };
    match guests.iter().find(named) {
        Some(guest) => passed(format!("container {} on {}", guest.vmid, node.name())),
        None => failed(format!("{} has no container named `{}`", node.name(), apply.name)),
    }
}
