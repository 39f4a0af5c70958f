//! What a node prints.

use std::{ops::ControlFlow, sync::Mutex, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use restore_common::{
    homelab::NodeRef,
    pve::{
        BackupJob, BackupRun, GuestConfig, GuestKind, GuestRef, HaResource, HaService, Meter, NodeFacts,
        archive_begun, archives_in, first_address, map_lines, neighbour_in, pools_in, running_guests,
        running_state, tasks_in, verify_summary,
    },
    remote::{Command, Ending, Host, HostError, Job, JobEnd, JobState, Output, RunId},
};
use verify_backups::{
    nodes::{self, Scope},
    quick::Look,
    report::{self, Level, Report},
};

use crate::seen;

/// Stands between two answers in an input.
const NEXT: char = '\u{1e}';

/// The same text as the answer to every question.
pub(crate) fn pve(bytes: &[u8]) {
    let answer = printed(&String::from_utf8_lossy(bytes));
    let (text, ask, host) = (&answer.stdout, Command::read("ask"), Answering::default());
    let shown = [
        format!("{:?}", archives_in(&host, &ask, &answer, &TimeZone::UTC)),
        format!("{:?}", BackupRun::read(&host, &ask, &answer)),
        format!("{:?}", GuestRef::read_all(&host, &ask, &answer)),
        format!("{:?}", HaResource::read(&host, &ask, &answer)),
        format!("{:?}", HaService::read(&host, &ask, &answer, "vm:101")),
        format!("{:?}", NodeFacts::read_time(&host, &ask, &answer)),
        format!("{:?}", pools_in(&host, &ask, &answer)),
        format!("{:?}", running_state(&host, &ask, &answer)),
        format!("{:?}", tasks_in(&host, &ask, &answer)),
        format!("{:?}", [GuestKind::Qemu, GuestKind::Lxc].map(|kind| first_address(kind, &answer))),
        format!("{:?}", (neighbour_in(&answer), archive_begun(text), map_lines(text))),
    ];
    seen(shown);
    for job in BackupJob::read(&host, &ask, &answer).unwrap_or_default() {
        let vmid = "101".parse().unwrap_or_else(|error| panic!("{error}"));
        seen((job.longest_gap(), job.selects(vmid, Some("prod"))));
    }
    if let Ok(node) = "pve".parse() {
        let asks = [&ask; 4].map(Clone::clone);
        seen(running_guests(&host, &node, &asks, &[&answer; 4].map(Clone::clone)));
    }
    let summary = verify_summary(text);
    seen((summary.is_complete(), summary.data()));
    let mut meter = Meter::default();
    text.lines().for_each(|line| seen(meter.read(line)));
    config(text);
}

fn config(text: &str) {
    let config = GuestConfig::parse(text);
    for kind in [GuestKind::Qemu, GuestKind::Lxc] {
        for disk in config.disks(kind) {
            seen((disk.volume(), disk.storage(), disk.is_unused()));
        }
    }
    seen((config.bridges(), config.static_addresses(), config.flag("agent"), config.name()));
    assert_eq!(config.text(), text);
    let kept = String::from(config);
    assert!(kept.len() <= text.len());
}

/// All answers of a node's quick look, one behind the other, and every form of the report about it.
pub(crate) fn look(bytes: &[u8]) {
    let Some(report) = report_of(bytes) else { return };
    seen((report::text(&report, 80, true), report::json(&report, report.exit_code())));
    seen((report::metrics(&report, report.exit_code()), report::page(&report)));
}

/// The report about a node that gives these answers; nothing when they are none.
pub fn report_of(bytes: &[u8]) -> Option<Report> {
    let text = String::from_utf8_lossy(bytes);
    let host = Answering { answers: Mutex::new(text.split(NEXT).map(printed).collect()) };
    let look = Look::read(&host, None).ok()?;
    let node = NodeRef {
        environment: "prod".to_owned(),
        address: "192.168.1.100".to_owned(),
        node: None,
        ssh_user: None,
        ssh_port: None,
    };
    let part = nodes::part_of(&node, &look, &Scope::default());
    Some(Report {
        services: Vec::new(),
        error: None,
        began: Timestamp::UNIX_EPOCH,
        took: Duration::ZERO,
        level: Level::Quick,
        nodes: vec![part],
        buckets: Vec::new(),
        ready: Vec::new(),
    })
}

fn printed(text: &str) -> Output {
    Output { ending: Ending::Exit(0), stdout: text.to_owned(), stderr: String::new() }
}

/// A node that gives these answers in their order, and then none.
#[derive(Default)]
struct Answering {
    answers: Mutex<std::collections::VecDeque<Output>>,
}

impl Answering {
    fn no_jobs(&self) -> HostError {
        HostError::Protocol { host: self.name().to_owned(), reason: "it begins no job".to_owned() }
    }
}

impl Host for Answering {
    fn name(&self) -> &'static str {
        "pve"
    }

    fn run_all(&self, commands: &[Command]) -> Result<Vec<Output>, HostError> {
        let mut answers = self.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(commands.iter().map(|_| answers.pop_front().unwrap_or_else(|| printed("[]"))).collect())
    }

    fn run_job(
        &self,
        _: &Job,
        _: &Command,
        _: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<JobEnd, HostError> {
        Err(self.no_jobs())
    }

    fn follow(&self, _: &Job, _: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<JobEnd, HostError> {
        Err(self.no_jobs())
    }

    fn cancel(&self, _: &Job) -> Result<JobEnd, HostError> {
        Err(self.no_jobs())
    }

    fn job_states(&self, _: &[Job]) -> Result<Vec<JobState>, HostError> {
        Err(self.no_jobs())
    }

    fn clear(&self, _: &RunId) -> Result<(), HostError> {
        Err(self.no_jobs())
    }
}
