//! The plan, from what was decided.

use restore_common::{
    procedure::{Plan, Question, Step, Undo},
    pve::{GuestKind, Vmid},
    remote::Command,
    terraform::Scope,
    ui::format,
};
use restore_vm::steps::power;
use serde_json::json;

use crate::{
    prove,
    steps::{apply, aside, lifted, server, start, states},
    work::{Apply, Ctx, Rebuild, Starts, Way},
};

/// Builds the plan.
pub fn build<'a>(ctx: &Ctx<'a>) -> Plan<Ctx<'a>> {
    let what = &ctx.what;
    Plan {
        title: title(what),
        facts: facts(what),
        details: what.details.clone(),
        warnings: what.warnings.clone(),
        steps: steps(ctx),
        checks: prove::checks(ctx),
        question: question(what),
        subject: json!({
            "environment": what.environment,
            "endpoint": what.endpoint,
            "mode": what.mode(),
            "container": what.vmid(),
            "archive": match &what.way {
                Way::Restore(assignment) => Some(&assignment.archive.volid),
                _ => None,
            },
            "buckets": what.buckets,
            "states": what.states.iter().map(|state| json!({
                "environment": state.environment,
                "known": state.known.as_ref().and_then(|seen| seen.summary.as_ref()),
            })).collect::<Vec<_>>(),
        }),
        next: Vec::new(),
    }
}

fn title(what: &Rebuild) -> String {
    let endpoint = &what.endpoint;
    match &what.way {
        Way::Add => format!("Add what the S3 server at {endpoint} lacks"),
        Way::Start { vmid, what: Starts::Container } => {
            format!("Start the S3 server at {endpoint}: container {vmid}")
        }
        Way::Start { vmid, what: Starts::Service } => {
            format!("Start the S3 server at {endpoint}: its service in container {vmid}")
        }
        Way::Restore(assignment) => {
            format!("Restore the S3 server at {endpoint}: {} from its backup", assignment.target_name())
        }
        Way::Apply(apply) => format!("Rebuild the S3 server at {endpoint} by {}", apply.module),
    }
}

fn facts(what: &Rebuild) -> Vec<(String, String)> {
    let mut facts = what.facts.clone();
    match &what.way {
        Way::Restore(assignment) => {
            let archive = &assignment.archive;
            let age = format::age(archive.ctime, assignment.looked_at);
            let words = format!("{} ({age}), {}", archive.volid, format::bytes(archive.size));
            facts.push(("backup".to_owned(), words));
        }
        Way::Apply(apply) => {
            let again = if apply.scope.replace.is_empty() {
                String::new()
            } else {
                format!("; anew: {}", apply.scope.replace.join(", "))
            };
            facts.push(("applied".to_owned(), format!("{} of {}{again}", apply.module, what.environment)));
            if let Some(old) = &apply.old {
                facts.push((
                    "kept".to_owned(),
                    format!("the volumes of container {}: {}", old.vmid, old.volumes.join(", ")),
                ));
            }
        }
        Way::Add | Way::Start { .. } => {}
    }
    facts
}

fn question(what: &Rebuild) -> Question {
    let over = match &what.way {
        Way::Restore(assignment) => assignment.present.as_ref().map(|_| assignment.target),
        Way::Apply(apply) => apply.old.as_ref().map(|old| old.vmid),
        Way::Add | Way::Start { .. } => None,
    };
    match over {
        Some(vmid) => {
            Question::Type { says: format!("container {vmid} will be replaced:"), word: vmid.to_string() }
        }
        None => Question::YesNo("Go ahead?".to_owned()),
    }
}

fn steps<'a>(ctx: &Ctx<'a>) -> Vec<Step<Ctx<'a>>> {
    let what = &ctx.what;
    let mut steps = vec![Step::write(
        "collect",
        "Keep a copy here of every state that is known",
        states::collect,
        Undo::NotNeeded("a copy harms nobody"),
    )];
    match &what.way {
        Way::Add => {}
        Way::Start { vmid, what } => steps.push(start_step(*vmid, *what)),
        Way::Restore(_) => {
            steps.extend(
                ctx.restore.iter().flat_map(|part| part.steps(lifted::restore, lifted::restore_back)),
            );
        }
        Way::Apply(apply) => {
            steps.extend(
                ctx.fallback.iter().flat_map(|part| part.steps(lifted::fallback, lifted::fallback_back)),
            );
            apply_steps(what, apply, &mut steps);
        }
    }
    steps.push(Step::read(
        "health",
        format!("Wait until the server at {} serves", what.endpoint),
        server::wait,
    ));
    let harmless = || Undo::NotNeeded("nothing that was there before is gone or changed");
    let buckets = format!("Make the buckets, with versions: {}", what.buckets.join(", "));
    steps.push(Step::write("buckets", buckets, server::buckets, harmless()).keep_on_failure());
    let environments: Vec<_> = what.states.iter().map(|state| state.environment.as_str()).collect();
    if !environments.is_empty() {
        let environments = environments.join(", ");
        let title = format!("Write each state where its bucket has none newer: {environments}");
        steps.push(Step::write("states", title, states::write, harmless()).keep_on_failure());
        let inits = ctx.scene.sites.iter().map(|site| what.terraform.init(&site.dir));
        let title = format!("Let Terraform take the backend again: {environments}");
        steps.push(
            Step::write("backends", title, states::backends, harmless()).commands(inits).keep_on_failure(),
        );
    }
    if what.complete {
        let title = format!("Apply what is left to apply in {}", what.environment);
        let step = Step::write("complete", title, apply::complete, harmless());
        steps.push(step.commands([what.terraform.apply(&what.dir, &Scope::default())]).keep_on_failure());
    }
    steps
}

fn start_step<'a>(vmid: Vmid, what: Starts) -> Step<Ctx<'a>> {
    match what {
        Starts::Container => {
            let undo = Undo::By { says: format!("stop container {vmid} again"), run: start::stop_again };
            Step::write("start", format!("Start container {vmid}"), start::container, undo)
                .commands([power::start_command(GuestKind::Lxc, vmid)])
        }
        Starts::Service => {
            let undo = Undo::NotNeeded("a service that was tried to be started harms nobody");
            let title = format!("Start the service in container {vmid} again");
            Step::write("start", title, start::service, undo).commands([start::service_command(vmid)])
        }
    }
}

fn apply_steps<'a>(what: &Rebuild, apply: &Apply, steps: &mut Vec<Step<Ctx<'a>>>) {
    if let Some(old) = &apply.old {
        let vmid = old.vmid;
        let title = format!("Set container {vmid} aside: its configuration is taken away, its volumes stay");
        let undo = Undo::By { says: format!("put container {vmid} back"), run: aside::put_back };
        let config = GuestKind::Lxc.config_path(vmid);
        let mut commands: Vec<Command> = Vec::new();
        commands.extend(old.runs.then(|| power::shutdown_command(GuestKind::Lxc, vmid)));
        commands.push(aside::remove_command(&config));
        steps.push(Step::destroy("aside", title, aside::set_aside, undo).commands(commands));
    }
    let undo = Undo::By { says: "remove the container that was made".to_owned(), run: apply::remove };
    let title = format!("Apply {} of {}", apply.module, what.environment);
    let command = what.terraform.apply(&what.dir, &apply.scope);
    steps.push(Step::write("apply", title, apply::apply, undo).commands([command]));
}
