//! `--mode restore`: the guest from its backup, by the library of `restore-vm`, then the proof of the services.

use std::thread;

use anyhow::anyhow;
use restore_common::{
    contact::{Contact, connect_all},
    monitoring::Inventory,
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
    Services,
    claims::{self, Claim, Found},
    proof::{self, AFTERWARDS, Proving},
    site::Site,
    state,
};

/// Looks, restores, proves.
pub fn run(site: &Site<'_>, session: &Session<'_>) -> anyhow::Result<Report> {
    let refused = |problems| Ok(refuse(session, &site.about().restoring(), problems, None));
    // What the old stack still tells is asked for while the nodes are.
    let (looked, before) = thread::scope(|scope| {
        let before = scope.spawn(|| before(site));
        let looked = look(site);
        (looked, before.join())
    });
    let before = before.map_err(|_| anyhow!("the look at the old stack ended unexpectedly"))?;
    let (homelab, args, reached) = match looked? {
        Ok(looked) => looked,
        Err(problems) => return refused(problems),
    };
    if let Some(problem) = without_backup(site, &args, &reached) {
        return refused(vec![problem]);
    }
    let assignment = match homelab.decide(&args, &reached)? {
        Ok(assignment) => assignment,
        Err(problems) => return refused(problems),
    };
    let services = site.services(assignment.proof.address.as_deref())?;
    if session.interrupt.requested() {
        return Err(Interrupted.into());
    }
    Ok(restore(site, session, &reached, assignment, services, before))
}

/// What the stack has now, where it answers.
fn before(site: &Site<'_>) -> Inventory {
    site.services(None).map(|services| services.take_stock()).unwrap_or_default()
}

fn restore(
    site: &Site<'_>,
    session: &Session<'_>,
    reached: &Reached,
    assignment: Assignment,
    services: Box<dyn Services>,
    before: Inventory,
) -> Report {
    let host: &dyn Host = reached.host.as_ref();
    let read_only = ReadOnly(host);
    let host = if session.dry_run { &read_only } else { host };
    let mut plan = plan::build(&assignment, reached.look.facts.time);
    prove_afterwards(site, &mut plan, services, before);
    carry_out(session, plan, &mut Restore::new(host, assignment))
}

/// The proof of the services behind that of the guest.
fn prove_afterwards(
    site: &Site<'_>,
    plan: &mut Plan<Restore<'_>>,
    services: Box<dyn Services>,
    before: Inventory,
) {
    if !before.is_empty() {
        let counts: Vec<_> =
            before.counts().into_iter().map(|(what, count)| format!("{what} {count}")).collect();
        plan.facts.push(("it has now".to_owned(), counts.join(", ")));
    }
    plan.subject[site.about().key] = json!({ "address": services.address(), "before": before });
    let wait = site.options.wait.map_or(AFTERWARDS, std::time::Duration::from_secs);
    plan.checks.extend(proof::checks(Proving { services, before, wait }, |_| false));
}

/// The same for a run that was cut off: what the stack had before is in its journal.
pub fn prove_after_recovery(
    site: &Site<'_>,
    begun: &Begun,
    plan: &mut Plan<Restore<'_>>,
) -> anyhow::Result<()> {
    let known = &begun.subject[site.about().key];
    let before = Inventory::deserialize(&known["before"]).unwrap_or_default();
    let services = site.services(known["address"].as_str())?;
    prove_afterwards(site, plan, services, before);
    Ok(())
}

/// What a look came to, or everything that speaks against going on.
type Looked<T> = anyhow::Result<Result<T, Vec<Problem>>>;

/// Finds the guest and the node that has it.
fn look(site: &Site<'_>) -> Looked<(Homelab, Args, Reached)> {
    let wanted = site.options;
    let options = wanted.restore(Vmid::LOWEST).options;
    let homelab = Homelab::find(&options)?;
    let contacts = connect_all(&wanted.common, &homelab.environments, wanted.node.as_slice())?;
    let (vmid, contacts) = match the_guest(site, contacts)? {
        Ok(found) => found,
        Err(problems) => return Ok(Err(problems)),
    };
    let args = wanted.restore(vmid);
    let survey = nodes::survey(&args.options, &contacts, &[vmid])?.remove(0);
    Ok(nodes::pick(&args, survey).map(|reached| (homelab, args, reached)))
}

/// The number of the guest, and the nodes that may have it.
fn the_guest(site: &Site<'_>, mut contacts: Vec<Contact>) -> Looked<(Vmid, Vec<Contact>)> {
    if let Some(vmid) = site.options.vmid {
        return Ok(Ok((vmid, contacts)));
    }
    Ok(
        match claims::find(&contacts, site.about(), site.address(), site.options.storage.as_ref(), || {
            state::vmids(site)
        })? {
            Found::One(claim) => {
                let Claim { vmid, contact, .. } = claim;
                // Nodes that stand alone may give the same number to other guests.
                Ok((vmid, vec![contacts.swap_remove(contact)]))
            }
            Found::Nobody => Err(vec![nobody(site, &contacts)]),
            Found::Problems(problems) => Err(problems),
        },
    )
}

/// Neither a guest nor a backup of one.
fn nobody(site: &Site<'_>, contacts: &[Contact]) -> Problem {
    let asked: Vec<_> = contacts.iter().map(|contact| contact.node.label()).collect();
    let address = site.address().map(|address| format!(", none with the address {}", ui::sanitize(address)));
    let problem = Problem::new(format!(
        "no node has a guest `{}`{}, and no backup of one (asked: {})",
        site.about().vm,
        address.unwrap_or_default(),
        asked.join(", ")
    ));
    problem.hint(rebuild_instead(site))
}

/// That there is no backup is no dead end here: the stack can be made anew.
fn without_backup(site: &Site<'_>, args: &Args, reached: &Reached) -> Option<Problem> {
    let look = &reached.look;
    // A storage that could not be listed may have one, and one that was named is not found elsewhere.
    if site.options.archive.is_some() || !look.unread.is_empty() {
        return None;
    }
    let problem = choose(look, args.vmid, &Selector::Newest).err()?;
    Some(Problem::new(problem.what).hint(rebuild_instead(site)))
}

/// What to do without a backup, what that costs, and how it is called.
fn rebuild_instead(site: &Site<'_>) -> String {
    format!(
        "`{} --mode rebuild` has Terraform make the stack anew; that costs {}, and all else that was only on the \
         disks of its VM",
        site.again(),
        site.about().history
    )
}
