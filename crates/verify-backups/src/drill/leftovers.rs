//! What earlier drills left: runs that were cut off, known by their journals, and guests that carry a mark.

use restore_common::{
    cli::journals,
    procedure::{
        Begun, Exit, Interrupted, Open, Past, Recovery, Report, carry_on, carry_out, has_ended, history,
    },
    pve::{PveError, Vmid},
    remote::{Command, Host, ReadOnly, RunId, claim_path},
};
use restore_vm::assignment::{Assignment, Restore};

use super::{
    JOURNAL, Site,
    ground::{Ground, Marked},
    remove::{self, Leftover},
    session, site,
    steps::{self, Drill},
    words,
};
use crate::{
    app::Frame,
    codes::drill::{LEFT, NOT_REMOVED},
    finding::Finding,
    nodes::Looked,
};

/// Runs of which it is known what became of them.
#[derive(Default)]
pub(super) struct Known {
    /// They are over: what they claimed on a node is free.
    pub over: Vec<RunId>,
    /// They were taken back just now, or would be if this were no dry run; with the number that each had.
    pub taken_back: Vec<(RunId, Vmid)>,
}

/// Takes back every drill that was cut off on one of these nodes. While one is left, or one is at work, no other begins.
pub(super) fn take_back_all(frame: &Frame<'_>, looked: &[Looked]) -> anyhow::Result<Known> {
    let mut known = Known::default();
    loop {
        let concerns = |begun: &Begun| looked.iter().any(|looked| is_of(looked, begun));
        let history = history(&journals(), JOURNAL, &concerns)?;
        known.over = history.over;
        let past = match history.open {
            None => return Ok(known),
            Some(Open::Busy(begun)) => anyhow::bail!("another drill is at work: {}", begun.owner),
            Some(Open::Cut(past)) => past,
        };
        let run = past.run().clone();
        if known.taken_back.iter().any(|(known, _)| *known == run) {
            anyhow::bail!("what the drill `{run}` left is still there, so no other was begun");
        }
        let vmid = take_back(frame, looked, &past, &known.over)?;
        known.taken_back.push((run, vmid));
        if frame.cli.common.dry_run {
            return Ok(known);
        }
    }
}

/// Whether a run was at work on this node. Nodes that cannot be asked now keep what they have, and the others are drilled.
fn is_of(looked: &Looked, begun: &Begun) -> bool {
    let same = |key: &str, value: &str| begun.subject[key].as_str() == Some(value);
    let is_node = looked.look.as_ref().is_some_and(|look| same("node", look.facts.name.as_str()));
    is_node && same("environment", &looked.contact.node.environment)
}

/// Gives the number that the run's guest had.
fn take_back(frame: &Frame<'_>, looked: &[Looked], past: &Past, over: &[RunId]) -> anyhow::Result<Vmid> {
    let begun = past.begun();
    let of_node = looked.iter().filter(|looked| is_of(looked, begun)).find_map(site);
    let gone = || anyhow::anyhow!("the node of the drill `{}` is not there any more", past.run());
    let host = of_node.ok_or_else(gone)?.host;
    let written_by =
        || anyhow::anyhow!("the journal `{}` was written by another version", past.path().display());
    let what: Assignment = serde_json::from_value(begun.work.clone()).map_err(|_| written_by())?;
    let read_only = ReadOnly(host);
    let host = if frame.cli.common.dry_run { &read_only } else { host };
    let restore = Restore::from_journal(host, &begun.work, past.found()).map_err(|_| written_by())?;
    let reporter = frame.reporter();
    let session = session(frame, &reporter, over);
    let report = carry_on(&session, past, Recovery::RollBack, steps::plan(&what), &mut Drill::new(restore));
    settled(&report)?;
    Ok(what.target)
}

/// Nothing else begins when the operator must act, or wants to stop.
fn settled(report: &Report) -> anyhow::Result<()> {
    match report.outcome {
        Exit::Interrupted => Err(Interrupted.into()),
        Exit::ActNeeded => anyhow::bail!("{}: {}", report.title, words(report)),
        _ => Ok(()),
    }
}

/// Removes the guests on one node that carry a mark, as far as it is known that their drill is over and the operator
/// agrees. What stays is a finding.
pub(super) fn remove_marked(
    frame: &Frame<'_>,
    site: &Site<'_>,
    ground: &Ground,
    known: &Known,
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for marked in &ground.marked {
        // One that is there although its run was taken back would be gone if this were no dry run.
        if known.taken_back.iter().any(|(run, _)| *run == marked.mark.run) {
            findings.push(left(marked));
        } else {
            findings.extend(remove_one(frame, site, marked, known)?);
        }
    }
    Ok(findings)
}

/// Clears away what a run noted on its node: its jobs and its claim are of no use to anybody any more.
pub(super) fn clear(site: &Site<'_>, run: &RunId) {
    if let Err(error) = site.host.clear(run) {
        log::warn!("what the drill `{run}` noted is left on {}: {error}", site.node);
    }
}

fn left(Marked { kind, mark }: &Marked) -> Finding {
    Finding::new(&LEFT, format!("{kind} {}, made from {} by `{}`", mark.vmid, mark.source, mark.run))
}

/// Whether somebody's drill may still be at work on it. Silence is no "nobody".
fn at_work(site: &Site<'_>, marked: &Marked, known: &Known) -> Option<Finding> {
    let (name, run) = (format!("{} {}", marked.kind, marked.mark.vmid), &marked.mark.run);
    if known.over.contains(run) {
        return None;
    }
    let words = match owner(site.host, run) {
        Ok(owner) => {
            let owner = owner.filter(|owner| !has_ended(owner))?;
            let root = site.host.root();
            let claim = claim_path(root, &format!("guest-{}", marked.mark.vmid));
            format!(
                "{name} is being drilled by {owner}; if that will never come back: `rm -r {root}/{run} {claim}` on {}",
                site.node
            )
        }
        Err(error) => format!("{name}; whose it is could not be asked: {error}"),
    };
    Some(Finding::new(&LEFT, words))
}

fn remove_one(
    frame: &Frame<'_>,
    site: &Site<'_>,
    marked: &Marked,
    known: &Known,
) -> anyhow::Result<Option<Finding>> {
    if let Some(finding) = at_work(site, marked, known) {
        return Ok(Some(finding));
    }
    let Marked { kind, mark } = marked;
    let read_only = ReadOnly(site.host);
    let host = if frame.cli.common.dry_run { &read_only } else { site.host };
    let mut leftover = Leftover { host, node: site.node.to_owned(), kind: *kind, mark: mark.clone() };
    let reporter = frame.reporter();
    let over = [known.over.as_slice(), std::slice::from_ref(&mark.run)].concat();
    let report = carry_out(&session(frame, &reporter, &over), remove::plan(&leftover), &mut leftover);
    Ok(match report.outcome {
        Exit::Interrupted => return Err(Interrupted.into()),
        Exit::Done if !report.dry_run => {
            clear(site, &mark.run);
            None
        }
        Exit::ActNeeded => {
            Some(Finding::new(&NOT_REMOVED, format!("{kind} {}: {}", mark.vmid, words(&report))))
        }
        _ => Some(left(marked)),
    })
}

/// Who claimed the run's guest on the node; nothing when that was given back, or never taken.
fn owner(host: &dyn Host, run: &RunId) -> Result<Option<String>, PveError> {
    let path = run.folder(host.root(), "owner");
    let (above, _) = host.root().rsplit_once('/').unwrap_or_default();
    let find = Command::read("find").args([above, "-maxdepth", "3", "-path", &format!("*/{run}/owner")]);
    let read = Command::read("cat").arg(path);
    let answers = host.run_all(&[find.clone(), read.clone()])?;
    if answers[0].stdout_of(host, &find)?.trim().is_empty() {
        return Ok(None);
    }
    Ok(Some(answers[1].stdout_of(host, &read)?.trim().to_owned()))
}
