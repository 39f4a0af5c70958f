//! One drill: a guest is made, asked, and removed again. Whatever fails, it is removed.

use restore_common::{
    procedure::{
        CheckStatus, CutOff, Failure, Interrupted, JournalError, Kept, Plan, Question, Run, Step, Undo,
        Workplace,
    },
    pve::{GuestKind, PveError, running_state},
    remote::{Command, CommandFailed, Host, HostError},
    ui::format,
};
use restore_vm::{
    args::CheckLevel,
    assignment::{Assignment, Restore},
    steps::{
        archive, power,
        prove::{ask_all, system_is_up},
        replace,
    },
};
use serde_json::Value;

use super::{
    mark::{Mark, set_apart},
    remove::{destroy, destroy_command},
};
use crate::{
    codes::drill::{CHECK_FAILED, NOT_BOOTED, RESTORE_FAILED},
    finding::{Code, Finding},
};

/// How the programs of a node say that a disk is full: `vma` by the number, all others in words.
const NO_SPACE: [&str; 2] = ["failed (-28)", "No space left on device"];

/// A drill at work.
pub(super) struct Drill<'a> {
    /// The restore that it begins with.
    pub restore: Restore<'a>,
    /// What was proven to be wrong with the backup.
    pub accused: Option<Finding>,
    /// Why nothing in the guest could say whether its system came up.
    pub unknown: Option<String>,
}

impl<'a> Drill<'a> {
    /// Ready to begin, or to be taken back.
    pub(super) fn new(restore: Restore<'a>) -> Self {
        Self { restore, accused: None, unknown: None }
    }

    /// Speaks against the backup when the node or the guest gave an answer; that nobody could be asked says nothing.
    fn accuse(&mut self, code: &'static Code, error: anyhow::Error) -> anyhow::Error {
        let is_silence = error.chain().any(|cause| {
            let of_node =
                matches!(cause.downcast_ref(), Some(PveError::Host(_) | PveError::Unreadable { .. }));
            let of_run = cause.is::<Interrupted>() || cause.is::<CutOff>() || cause.is::<JournalError>();
            of_node || of_run || cause.is::<HostError>()
        });
        if !is_silence {
            self.accused = Some(Finding::new(code, format!("{error:#}")));
        }
        error
    }
}

impl Workplace for Drill<'_> {
    fn host(&self) -> &dyn Host {
        self.restore.host
    }

    fn kept(&self) -> Vec<Kept> {
        self.restore.kept()
    }

    fn claim(&self) -> String {
        self.restore.claim()
    }

    fn work(&self) -> Value {
        self.restore.work()
    }

    fn found(&self) -> Value {
        self.restore.found()
    }
}

/// The plan of one drill. Pure: the same assignment makes the same plan.
pub(super) fn plan<'a>(what: &Assignment) -> Plan<Drill<'a>> {
    let (target, archive) = (what.target_name(), &what.archive);
    let made = format!("{}, {}", archive.name.time, format::bytes(archive.size));
    Plan {
        title: format!("Drill {} as {target} on {}", what.source, what.node),
        facts: vec![("from".to_owned(), archive.volid.to_string()), ("made".to_owned(), made)],
        details: Vec::new(),
        warnings: Vec::new(),
        steps: steps(what),
        checks: Vec::new(),
        question: Question::YesNo(format!("Drill {}?", what.source)),
        subject: serde_json::json!({
            "environment": what.reached_by,
            "node": what.node,
            "vmid": what.source,
            "target_id": what.target,
            "archive": archive.volid,
        }),
        next: Vec::new(),
    }
}

fn steps<'a>(what: &Assignment) -> Vec<Step<Drill<'a>>> {
    let (target, kind, vmid) = (what.target_name(), what.kind, what.target);
    let mut steps = Vec::new();
    if what.check == CheckLevel::Full {
        let title = "Read the backup to its end: the node would restore one that was cut off";
        let command = archive::check_command(&what.archive.name, &what.inside.path);
        steps.push(Step::read("check", title, check).commands([command]));
    }
    let title = format!("See that {vmid} is free");
    steps.push(Step::read("stock", title, take_stock).commands(replace::list_volumes(what)));
    let size = what.data_size().map(|bytes| format!("{} of disks", format::bytes(bytes)));
    let undo = Undo::By { says: format!("remove {target}"), run: remove };
    let title = format!("Restore the backup as {target}");
    steps
        .push(Step::write("restore", title, restore, undo).commands([what.restore_command()]).expected(size));
    let tee = Command::write("tee").arg(kind.config_path(vmid));
    let undo = Undo::NotNeeded("the guest is removed as a whole");
    let title = format!("Mark {target} and set it apart");
    let words = "no link, nothing of the node, no start by itself".to_owned();
    steps.push(Step::write("set-apart", title, apart, undo).commands([tee]).expected(Some(words)));
    let undo = Undo::By { says: format!("stop {target} should it run"), run: stop };
    steps.push(
        Step::write("start", format!("Start {target}"), start, undo)
            .commands([power::start_command(kind, vmid)]),
    );
    steps.push(Step::read("boot", format!("Wait until {} is up", system(what)), boot));
    if !what.proof.own.is_empty() {
        let names: Vec<_> = what.proof.own.iter().map(|own| own.name.as_str()).collect();
        steps.push(Step::read("checks", format!("Ask in {target}: {}", names.join(", ")), own_checks));
    }
    let undo = Undo::NotNeeded("it is tried again");
    let title = format!("Stop {target} and destroy it");
    steps.push(Step::destroy("remove", title, remove, undo).commands([destroy_command(kind, vmid)]));
    steps
}

fn system(what: &Assignment) -> &'static str {
    match what.kind {
        GuestKind::Qemu if what.inside.config.flag("agent") => "its guest agent",
        GuestKind::Qemu => "the VM (it has no agent to ask)",
        GuestKind::Lxc => "its init",
    }
}

type Done = anyhow::Result<Option<String>>;

fn check(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    archive::check(&mut drill.restore, run).map_err(|error| drill.accuse(&RESTORE_FAILED, error))
}

fn take_stock(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    replace::take_stock(&mut drill.restore, run)
}

fn restore(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    replace::restore(&mut drill.restore, run).map_err(|error| {
        if has_no_space(&error) {
            let hint = "make room there, or name another one with `storage` of `[drill]` in restore.toml";
            return Failure::new("its storage filled up meanwhile").hint(hint).because(error).into();
        }
        // What the node refuses before it reads the backup says nothing about that.
        if drill.restore.found.begun { drill.accuse(&RESTORE_FAILED, error) } else { error }
    })
}

/// Whether the node said that a disk is full. That says nothing about the backup.
fn has_no_space(error: &anyhow::Error) -> bool {
    let said = |failed: &CommandFailed| {
        let texts = [&failed.stdout, &failed.stderr];
        texts.iter().any(|text| NO_SPACE.iter().any(|sign| text.contains(sign)))
    };
    error.chain().any(|cause| match cause.downcast_ref() {
        Some(PveError::Failed(failed)) => said(failed),
        _ => cause.downcast_ref().is_some_and(said),
    })
}

/// From here on the guest carries the mark, and the file on the node is what was written.
fn apart(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    let (restore, kind) = (&drill.restore, drill.restore.what.kind);
    let gone = || Failure::new(format!("{} has no configuration any more", restore.what.target_name()));
    let config = replace::present_config(restore)?.ok_or_else(gone)?;
    let mark = Mark { run: run.id().clone(), vmid: restore.what.target, source: restore.what.source };
    let text = set_apart(kind, &config, &mark);
    replace::write_config(restore, run, &text)?;
    let now = replace::present_config(restore)?.ok_or_else(gone)?;
    if now.text() == text {
        return Ok(None);
    }
    Err(Failure::new(format!("{} is not what was written", kind.config_path(restore.what.target))).into())
}

fn start(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    power::start(&mut drill.restore, run).map_err(|error| drill.accuse(&NOT_BOOTED, error))
}

fn stop(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    // Only a guest with the mark is touched; `remove` tells what became of another.
    if marked(drill, run)? { power::stop_again(&mut drill.restore, run) } else { Ok(None) }
}

fn boot(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    let (status, saw) = system_is_up(&mut drill.restore, run)?;
    run.safe_point()?;
    let state = state(drill)?;
    if status == CheckStatus::Failed || state != "running" {
        let words = if state == "running" { saw } else { format!("the node says `{state}`; {saw}") };
        let failure = Failure::new(format!("its system did not come up: {words}"));
        return Err(drill.accuse(&NOT_BOOTED, failure.into()));
    }
    drill.unknown = (status == CheckStatus::Skipped).then(|| saw.clone());
    Ok(Some(saw))
}

fn own_checks(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    let asked = ask_all(&mut drill.restore, run)?;
    run.safe_point()?;
    let line = |(name, _, saw): &(String, CheckStatus, String)| format!("{name}: {saw}");
    let of =
        |wanted| asked.iter().filter(move |(_, status, _)| *status == wanted).map(line).collect::<Vec<_>>();
    let failed = of(CheckStatus::Failed);
    if failed.is_empty() {
        return Ok(Some(asked.iter().map(line).collect::<Vec<_>>().join("; ")));
    }
    Err(drill.accuse(&CHECK_FAILED, Failure::new(failed.join("; ")).into()))
}

fn state(drill: &Drill<'_>) -> anyhow::Result<String> {
    let host = drill.restore.host;
    let command = drill.restore.what.kind.status_command(drill.restore.what.target);
    Ok(running_state(host, &command, &host.run(&command)?)?)
}

/// Whether the guest that has the number now carries this run's mark.
fn marked(drill: &Drill<'_>, run: &Run<'_>) -> anyhow::Result<bool> {
    let config = replace::present_config(&drill.restore)?;
    let mark = config.and_then(|config| Mark::of(&config, drill.restore.what.target));
    Ok(mark.is_some_and(|mark| mark.run == *run.id()))
}

/// The last step, and the way back of the restore: nothing of the guest is left. One without the mark was never started,
/// and is removed only as far as the restore made it.
fn remove(drill: &mut Drill<'_>, run: &Run<'_>) -> Done {
    let (kind, vmid) = (drill.restore.what.kind, drill.restore.what.target);
    if !marked(drill, run)? {
        if replace::present_config(&drill.restore)?.is_some() && state(drill)? != "stopped" {
            let failure = Failure::new(format!(
                "{kind} {vmid} runs and does not carry the drill's mark: it was not touched"
            ));
            return Err(failure.hint("look what it is, and remove it by hand if it is nobody's").into());
        }
        return replace::remove_new(&mut drill.restore, run);
    }
    destroy(drill.restore.host, run, kind, vmid)?;
    let before = &drill.restore.found.volumes_before;
    let now = replace::volumes_now(&drill.restore)?;
    let left: Vec<_> = now.into_iter().filter(|volume| !before.contains(volume)).collect();
    if left.is_empty() {
        return Ok(None);
    }
    Err(Failure::new(format!("{kind} {vmid} is destroyed, but {} is still there", left.join(", "))).into())
}
