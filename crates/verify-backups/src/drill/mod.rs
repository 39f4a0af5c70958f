//! The drill: the newest backup of each guest restored as a throw-away guest without network, started, asked, and
//! destroyed. The only real proof of a backup.
//!
//! Each guest is a procedure of its own, with a journal: whatever fails, and when Ctrl-C is pressed, its throw-away guest
//! is removed by the way back. A run that was killed is taken back by the next one, which knows it by its journal, or its
//! guest by the mark that [`mark`] puts on it. Nothing without the mark is ever stopped or destroyed; what a restore left
//! before it got one is removed as far as that restore made it.

mod decide;
mod ground;
mod leftovers;
pub mod mark;
mod remove;
mod show;
mod steps;

use std::time::Duration;

use jiff::Timestamp;
use restore_common::{
    cli::journals,
    contact::at_once,
    homelab::Project,
    ledger::{Drilled, Ledger, Proof},
    procedure::{Exit, Interrupted, Report, Reporter, Session, carry_out},
    pve::{PveError, Vmid, VolumeId},
    remote::{Host, ReadOnly, RunId},
    ui::{Answer, Prompt},
};
use restore_vm::assignment::Restore;

use self::{
    decide::{Decided, Ready, Terms, choose},
    ground::Ground,
    steps::Drill,
};
use crate::{
    app::{Frame, PROGRAM, VERSION},
    codes,
    codes::{
        deep::NOT_RECORDED,
        drill::{BOOT_UNKNOWN, LEFT, NOT_DONE, NOT_REMOVED},
    },
    finding::Finding,
    nodes::Looked,
    report::{DrillPart, NodePart},
};

/// The name of every drill's journal: one at a time is at work from a machine.
const JOURNAL: &str = "verify-backups-drill";

const NO_TERMINAL: &str =
    "a drill needs an answer, and there is no terminal to ask on: run it on one, or say `--yes`";

/// A node that is drilled on.
struct Site<'a> {
    host: &'a dyn Host,
    node: &'a str,
}

/// Refuses a drill that nobody is there to agree to, before anything else takes its time.
pub fn can_ask(frame: &Frame<'_>) -> anyhow::Result<()> {
    let common = &frame.cli.common;
    if common.force || common.dry_run || Prompt::is_possible() {
        return Ok(());
    }
    anyhow::bail!(NO_TERMINAL)
}

/// Refuses numbers that nobody knows.
pub fn all_known(named: &[Vmid], looked: &[Looked]) -> anyhow::Result<()> {
    choose(named, looked).map(drop)
}

/// Removes what earlier drills left, then drills: the guests that are named, or all of them. Whatever keeps it from being
/// done is a finding beside all others that were made.
pub fn run(
    frame: &Frame<'_>,
    project: &Project,
    looked: &mut [Looked],
    ledger: &Ledger,
) -> anyhow::Result<()> {
    let Err(error) = drill_all(frame, project, looked, ledger) else { return Ok(()) };
    if frame.interrupt.requested() {
        return Err(error);
    }
    for looked in looked.iter_mut().filter(|looked| looked.look.is_some()) {
        looked.part.findings.push(Finding::new(&NOT_DONE, format!("{error:#}")));
    }
    Ok(())
}

fn drill_all(
    frame: &Frame<'_>,
    project: &Project,
    looked: &mut [Looked],
    ledger: &Ledger,
) -> anyhow::Result<()> {
    let known = leftovers::take_back_all(frame, looked)?;
    let grounds = grounds(looked, &known.over)?;
    for (looked, ground) in looked.iter_mut().zip(&grounds) {
        let (Some(site), Some(Ok(ground))) = (site(looked), ground) else { continue };
        if !frame.cli.common.dry_run {
            ground.stale.iter().for_each(|run| leftovers::clear(&site, run));
        }
        let findings = leftovers::remove_marked(frame, &site, ground, &known)?;
        // They say more than the look before, and what that saw may be gone.
        looked.part.findings.retain(|finding| finding.code != &LEFT);
        looked.part.findings.extend(findings);
        // A copy that had no mark yet was seen as a guest like any other.
        let was_copy = |vmid: Vmid| known.taken_back.iter().any(|(_, copy)| *copy == vmid);
        looked.part.guests.retain(|guest| !was_copy(guest.vmid) || ground.has(guest.vmid));
    }
    let terms = Terms::new(frame, project.drill())?;
    let named = frame.cli.drill.as_deref().unwrap_or_default();
    let ready = decide_all(&terms, named, looked, &grounds)?;
    if ready.is_empty() {
        frame.reporter().plan("No guest is drilled.");
        return Ok(());
    }
    frame.reporter().plan(&show::summary(&terms, &ready, looked, &grounds, ledger));
    if frame.cli.common.dry_run || !agreed(frame, ready.len())? {
        return Ok(());
    }
    for ready in ready {
        drill(frame, ready, looked, ledger, &known.over)?;
    }
    Ok(())
}

/// The session of one plan. Its journal is that of all drills.
fn session<'s>(frame: &'s Frame<'_>, reporter: &'s dyn Reporter, over: &[RunId]) -> Session<'s> {
    Session {
        program: PROGRAM,
        version: VERSION,
        dry_run: frame.cli.common.dry_run,
        yes: frame.cli.common.force,
        agreed: false,
        journals: journals(),
        journal_name: JOURNAL.to_owned(),
        again: format!("{PROGRAM} --drill"),
        over: over.to_vec(),
        interrupt: &frame.interrupt,
        reporter,
        prompt: Prompt::new(frame.interrupt.clone()).into(),
    }
}

fn site(looked: &Looked) -> Option<Site<'_>> {
    let host: &dyn Host = looked.contact.host.as_ref().ok()?.as_ref();
    Some(Site { host, node: looked.look.as_ref()?.facts.name.as_str() })
}

/// What the last drill of each guest says, where there was none just now. One that failed says so until there is another
/// backup, or another drill.
pub fn recall(part: &mut NodePart, ledger: &Ledger) {
    for guest in part.guests.iter_mut().filter(|guest| guest.drill.is_none()) {
        let is_of_kind = |entry: &Drilled| {
            entry.archive.parse().is_ok_and(|volid: VolumeId| volid.backup_kind() == Some(guest.kind))
        };
        let Some(entry) = ledger.drill(&part.label, guest.vmid).filter(is_of_kind) else { continue };
        let is_newest = guest.archives.first().is_some_and(|newest| newest.id == entry.archive);
        if let (true, Some(code), Some(words)) =
            (is_newest, entry.code.as_deref().and_then(codes::named), &entry.words)
        {
            guest.findings.push(Finding::new(code, words.clone()));
        }
        guest.drill = Some(DrillPart { entry, now: false });
    }
}

/// Looks at every node that answered, at the same time.
fn grounds(looked: &[Looked], over: &[RunId]) -> anyhow::Result<Vec<Option<Result<Ground, PveError>>>> {
    at_once(looked, |looked| {
        let (site, look) = (site(looked)?, looked.look.as_ref()?);
        Some(Ground::read(&ReadOnly(site.host), &look.facts, &look.archives, over))
    })
}

/// Decides for every guest; why one is not drilled is a finding about it.
fn decide_all(
    terms: &Terms<'_>,
    named: &[Vmid],
    looked: &mut [Looked],
    grounds: &[Option<Result<Ground, PveError>>],
) -> anyhow::Result<Vec<Ready>> {
    let mut ready = Vec::new();
    for (node, vmids) in choose(named, looked)?.into_iter().enumerate() {
        if vmids.is_empty() {
            continue;
        }
        let decided = match &grounds[node] {
            Some(Ok(ground)) => terms.decide(node, &looked[node], ground, &vmids),
            Some(Err(error)) => {
                let not = |vmid| Decided::Not { node, vmid, why: Finding::new(&NOT_DONE, error.to_string()) };
                vmids.into_iter().map(not).collect()
            }
            None => Vec::new(),
        };
        for decided in decided {
            match decided {
                Decided::Ready(one) => ready.push(one),
                Decided::Not { node, vmid, why } => note(&mut looked[node].part, vmid, vec![why], None),
            }
        }
        if terms.frame.interrupt.requested() {
            return Err(Interrupted.into());
        }
    }
    Ok(ready)
}

fn agreed(frame: &Frame<'_>, guests: usize) -> anyhow::Result<bool> {
    if frame.cli.common.force {
        return Ok(true);
    }
    let question = format!("Drill {}?", show::guests(guests));
    match Prompt::new(frame.interrupt.clone()).confirm(&question) {
        Answer::Yes => Ok(true),
        Answer::No => Ok(false),
        Answer::Interrupted => Err(Interrupted.into()),
        Answer::Refused => anyhow::bail!(NO_TERMINAL),
    }
}

/// Drills one guest. What came of it is in the report and on record before the next one begins.
fn drill(
    frame: &Frame<'_>,
    ready: Ready,
    looked: &mut [Looked],
    ledger: &Ledger,
    over: &[RunId],
) -> anyhow::Result<()> {
    let Ready { node, what } = ready;
    let vmid = what.source;
    let reporter = frame.reporter().lead(format!("{vmid}  "));
    let mut session = session(frame, &reporter, over);
    session.agreed = true;
    let began = Timestamp::now();
    let mut outcome = {
        let Some(site) = site(&looked[node]) else { return Ok(()) };
        let plan = steps::plan(&what);
        let mut drill = Drill::new(Restore::new(site.host, what));
        let report = carry_out(&session, plan, &mut drill);
        Came::of(&report, drill, began)
    };
    let part = &mut looked[node].part;
    let recorded =
        outcome.drilled.clone().map_or(Ok(()), |entry| ledger.record_drill(&part.label, vmid, entry));
    outcome.findings.extend(recorded.err().map(|error| Finding::new(&NOT_RECORDED, error.to_string())));
    if frame.interrupt.requested() {
        let is_left = |finding: &&Finding| finding.code == &NOT_REMOVED;
        let left: Vec<_> = outcome.findings.iter().filter(is_left).map(|f| f.words.as_str()).collect();
        if left.is_empty() {
            return Err(Interrupted.into());
        }
        anyhow::bail!("interrupted, and not everything was removed: {}", left.join("; "));
    }
    note(part, vmid, outcome.findings, outcome.drilled.map(|entry| DrillPart { entry, now: true }));
    Ok(())
}

/// Puts what was found into the report.
fn note(part: &mut NodePart, vmid: Vmid, findings: Vec<Finding>, drill: Option<DrillPart>) {
    if let Some(guest) = part.guests.iter_mut().find(|guest| guest.vmid == vmid) {
        guest.findings.extend(findings);
        guest.drill = drill.or(guest.drill.take());
    }
}

/// What came of a drill.
struct Came {
    findings: Vec<Finding>,
    drilled: Option<Drilled>,
}

impl Came {
    fn of(report: &Report, drill: Drill<'_>, began: Timestamp) -> Self {
        let interrupted = report.outcome == Exit::Interrupted;
        if report.outcome != Exit::ActNeeded {
            report.next.iter().for_each(|left| log::warn!("{left}"));
        }
        let mut findings = Vec::new();
        if report.outcome == Exit::ActNeeded {
            let target = drill.restore.what.target_name();
            findings.push(Finding::new(&NOT_REMOVED, format!("{target}: {}", words(report))));
        }
        // Once its removal begins the guest has proven all that it can.
        let reached = |id: &str| report.steps.iter().any(|step| step.id == id && step.seconds.is_some());
        let proof = match (&drill.accused, &drill.unknown) {
            (Some(_), _) => Some(Proof::Failed),
            (None, _) if !reached("remove") => None,
            (None, Some(_)) => Some(Proof::Started),
            (None, None) => Some(Proof::Proven),
        };
        let found = match (drill.accused, drill.unknown, proof) {
            (Some(finding), ..) => Some(finding),
            (None, Some(why), Some(_)) => Some(Finding::new(&BOOT_UNKNOWN, why)),
            (None, _, None) if !interrupted && findings.is_empty() => {
                Some(Finding::new(&NOT_DONE, words(report)))
            }
            _ => None,
        };
        let what = &drill.restore.what;
        let drilled = proof.map(|proof| Drilled {
            archive: what.archive.volid.to_string(),
            ctime: what.archive.ctime,
            when: began,
            proof,
            code: found.as_ref().map(|finding| finding.code.name.to_owned()),
            words: found.as_ref().map(|finding| finding.words.clone()),
            restore_ms: milliseconds(report, &["restore"]),
            boot_ms: milliseconds(report, &["start", "boot"]),
            took_ms: rounded(report.seconds),
            by: format!("{PROGRAM} {VERSION}"),
        });
        findings.extend(found);
        Self { findings, drilled }
    }
}

/// How long these steps took together; nothing unless all of them were begun.
fn milliseconds(report: &Report, steps: &[&str]) -> Option<u64> {
    let seconds = |id: &&str| report.steps.iter().find(|step| step.id == *id)?.seconds;
    Some(rounded(steps.iter().map(seconds).sum::<Option<f64>>()?))
}

fn rounded(seconds: f64) -> u64 {
    u64::try_from(Duration::try_from_secs_f64(seconds).unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Why a run ended as it did, in one line.
fn words(report: &Report) -> String {
    let problems = report.problems.iter().map(|problem| problem.what.clone());
    let errors = report.undo_errors.iter().chain(&report.error).map(|error| {
        let causes = error.causes.iter().fold(error.message.clone(), |text, cause| text + ": " + cause);
        match &error.hint {
            Some(hint) => format!("{causes} ({hint})"),
            None => causes,
        }
    });
    let all: Vec<_> = problems.chain(errors).collect();
    if all.is_empty() { report.state.clone() } else { all.join("; ") }
}
