//! `--mode restore`: the guest from its backup, by the library of `restore-vm`, then the proof of the services.

use std::thread;

use anyhow::anyhow;
use restore_common::{
    contact::{Contact, connect_all},
    monitoring::{Inventory, Stack, take_stock},
    procedure::{Begun, Interrupted, Plan, Problem, Report, Session, carry_out, refuse},
    pve::Vmid,
    remote::{Host, ReadOnly},
    ui,
};
use restore_vm::{
    app::Homelab,
    args::Args,
    assignment::{Assignment, Restore},
    choose::{Selector, choose},
    nodes::{self, Reached},
    plan,
};
use serde::Deserialize as _;
use serde_json::json;

use crate::{
    args::Cli,
    claims::{self, Claim, Found},
    proof::{self, AFTERWARDS, Proving},
    site::{Site, again},
    state,
};

/// What a run is about.
pub const TITLE: &str = "Restore the monitoring stack";

/// Where in the subject of a report, and of a journal, the services are.
const SUBJECT: &str = "monitoring";

/// Looks, restores, proves.
pub fn run(cli: &Cli, site: &Site, session: &Session<'_>) -> anyhow::Result<Report> {
    let refused = |problems| Ok(refuse(session, TITLE, problems, None));
    // What the old stack still tells is asked for while the nodes are.
    let (looked, before) = thread::scope(|scope| {
        let before = scope.spawn(|| before(cli, site));
        let looked = look(cli, site);
        (looked, before.join())
    });
    let before = before.map_err(|_| anyhow!("the look at the old stack ended unexpectedly"))?;
    let (homelab, args, reached) = match looked? {
        Ok(looked) => looked,
        Err(problems) => return refused(problems),
    };
    if let Some(problem) = without_backup(cli, &args, &reached) {
        return refused(vec![problem]);
    }
    let assignment = match homelab.decide(&args, &reached)? {
        Ok(assignment) => assignment,
        Err(problems) => return refused(problems),
    };
    let stack = site.stack(cli, assignment.proof.address.as_deref())?;
    if session.interrupt.requested() {
        return Err(Interrupted.into());
    }
    Ok(restore(cli, session, &reached, assignment, stack, before))
}

/// What the stack has now, where it answers.
fn before(cli: &Cli, site: &Site) -> Inventory {
    site.stack(cli, None).map(|stack| take_stock(&stack)).unwrap_or_default()
}

fn restore(
    cli: &Cli,
    session: &Session<'_>,
    reached: &Reached,
    assignment: Assignment,
    stack: Stack,
    before: Inventory,
) -> Report {
    let host: &dyn Host = reached.host.as_ref();
    let read_only = ReadOnly(host);
    let host = if session.dry_run { &read_only } else { host };
    let mut plan = plan::build(&assignment, reached.look.facts.time);
    prove_afterwards(cli, &mut plan, stack, before);
    carry_out(session, plan, &mut Restore::new(host, assignment))
}

/// The proof of the services behind that of the guest.
fn prove_afterwards(cli: &Cli, plan: &mut Plan<Restore<'_>>, stack: Stack, before: Inventory) {
    if !before.is_empty() {
        let counts: Vec<_> =
            before.counts().into_iter().map(|(what, count)| format!("{what} {count}")).collect();
        plan.facts.push(("it has now".to_owned(), counts.join(", ")));
    }
    plan.subject[SUBJECT] = json!({ "address": stack.address, "before": before });
    let wait = cli.wait.map_or(AFTERWARDS, std::time::Duration::from_secs);
    plan.checks.extend(proof::checks(Proving { stack, before, wait }, |_| false));
}

/// The same for a run that was cut off: what the stack had before is in its journal.
pub fn prove_after_recovery(
    cli: &Cli,
    site: &Site,
    begun: &Begun,
    plan: &mut Plan<Restore<'_>>,
) -> anyhow::Result<()> {
    let known = &begun.subject[SUBJECT];
    let before = Inventory::deserialize(&known["before"]).unwrap_or_default();
    let stack = site.stack(cli, known["address"].as_str())?;
    prove_afterwards(cli, plan, stack, before);
    Ok(())
}

/// What a look came to, or everything that speaks against going on.
type Looked<T> = anyhow::Result<Result<T, Vec<Problem>>>;

/// Finds the guest and the node that has it.
fn look(cli: &Cli, site: &Site) -> Looked<(Homelab, Args, Reached)> {
    let options = cli.restore(Vmid::LOWEST).options;
    let homelab = Homelab::find(&options)?;
    let contacts = connect_all(&cli.common, &homelab.environments, cli.node.as_slice())?;
    let (vmid, contacts) = match the_guest(cli, site, contacts)? {
        Ok(found) => found,
        Err(problems) => return Ok(Err(problems)),
    };
    let args = cli.restore(vmid);
    let survey = nodes::survey(&args.options, &contacts, &[vmid])?.remove(0);
    Ok(nodes::pick(&args, survey).map(|reached| (homelab, args, reached)))
}

/// The number of the guest, and the nodes that may have it.
fn the_guest(cli: &Cli, site: &Site, mut contacts: Vec<Contact>) -> Looked<(Vmid, Vec<Contact>)> {
    if let Some(vmid) = cli.vmid {
        return Ok(Ok((vmid, contacts)));
    }
    Ok(match claims::find(&contacts, site.address(), cli.storage.as_ref(), || state::vmids(cli, site))? {
        Found::One(claim) => {
            let Claim { vmid, contact, .. } = claim;
            // Nodes that stand alone may give the same number to other guests.
            Ok((vmid, vec![contacts.swap_remove(contact)]))
        }
        Found::Nobody => Err(vec![nobody(cli, site, &contacts)]),
        Found::Problems(problems) => Err(problems),
    })
}

/// Neither a guest nor a backup of one.
fn nobody(cli: &Cli, site: &Site, contacts: &[Contact]) -> Problem {
    let asked: Vec<_> = contacts.iter().map(|contact| contact.node.label()).collect();
    let address = site.address().map(|address| format!(", none with the address {}", ui::sanitize(address)));
    let problem = Problem::new(format!(
        "no node has a guest `{}`{}, and no backup of one (asked: {})",
        restore_common::homelab::MONITORING_VM,
        address.unwrap_or_default(),
        asked.join(", ")
    ));
    problem.hint(rebuild_instead(cli))
}

/// That there is no backup is no dead end here: the stack can be made anew.
fn without_backup(cli: &Cli, args: &Args, reached: &Reached) -> Option<Problem> {
    let look = &reached.look;
    // A storage that could not be listed may have one, and one that was named is not found elsewhere.
    if cli.archive.is_some() || !look.unread.is_empty() {
        return None;
    }
    let problem = choose(look, args.vmid, &Selector::Newest).err()?;
    Some(Problem::new(problem.what).hint(rebuild_instead(cli)))
}

/// What to do without a backup, what that costs, and how it is called.
pub fn rebuild_instead(cli: &Cli) -> String {
    format!(
        "`{} --mode rebuild` has Terraform make the stack anew; that costs the history of all metrics, and all else that \
         was only on the disks of its VM",
        again(cli)
    )
}
