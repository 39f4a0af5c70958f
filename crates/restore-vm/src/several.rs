//! Several guests in one run: one summary, one question, one report.
//!
//! Every guest is looked at before anything begins, and whatever speaks against one of them keeps all from beginning.
//! From then on each goes its own way: it has its own journal, is rolled back by itself, and can be resumed by itself.

use std::{
    collections::{BTreeMap, VecDeque},
    process::ExitCode,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use restore_common::{
    cli::{print, print_json},
    contact::{at_once, connect_all},
    procedure::{Exit, Problem, Question, Report, Reporter as _, one_line, plan_text, problems_text, refuse},
    pve::{StorageId, Vmid},
    remote::RunId,
    ui::{self, Answer, Prompt, Table, format},
};
use serde::Serialize;

use crate::{
    app::{self, Frame, Homelab, PROGRAM, VERSION},
    args::{Args, Cli},
    assignment::{Assignment, Start},
    nodes::{self, Reached},
    place, plan, recover, select,
};

/// Columns of the summary.
const WIDTH: usize = 80;

/// How many guests are looked into at the same time.
const LOOKS: usize = 4;

/// How many guests are restored at the same time, to however many storages.
const WORKERS: usize = 8;

/// How often a worker that waits for its turn looks whether it is still wanted.
const TURN: Duration = Duration::from_millis(200);

/// A guest that is ready to be restored.
struct Ready {
    args: Args,
    reached: Reached,
    assignment: Assignment,
    over: Vec<RunId>,
}

/// The report of a run with several guests, as one document.
#[derive(Debug, Serialize)]
struct Batch {
    schema: u32,
    program: &'static str,
    version: &'static str,
    title: String,
    outcome: Exit,
    exit: u8,
    dry_run: bool,
    problems: Vec<Problem>,
    /// A report for each guest that was begun, in the order that was asked for.
    guests: Vec<Report>,
    /// Guests that were not begun any more.
    not_begun: Vec<Vmid>,
    next: Vec<String>,
    seconds: f64,
}

impl Batch {
    fn new(frame: &Frame<'_>, title: String) -> Self {
        Self {
            schema: 1,
            program: PROGRAM,
            version: VERSION,
            title,
            outcome: Exit::Done,
            exit: 0,
            dry_run: frame.options.common.dry_run,
            problems: Vec::new(),
            guests: Vec::new(),
            not_begun: Vec::new(),
            next: Vec::new(),
            seconds: 0.0,
        }
    }

    fn ends(mut self, outcome: Exit) -> Self {
        self.outcome = outcome;
        self.exit = outcome.code();
        self
    }

    fn refused(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self.ends(Exit::NothingChanged)
    }
}

/// Runs the program for several guests and gives its exit code.
pub fn run(frame: &Frame<'_>, cli: &Cli, named: Vec<Vmid>) -> ExitCode {
    let mut title = match named.len() {
        0 => "Restore guests".to_owned(),
        n => format!("Restore {n} guests"),
    };
    let batch = match look_and_restore(frame, cli, named, &mut title) {
        Ok(Done::Listed(text)) => return print(&text, Exit::Done),
        Ok(Done::Batch(batch)) => *batch,
        Err(error) => {
            // The first reporter of a run is as good as any to say why nothing began.
            let reporter = frame.reporter();
            let session = frame.session(cli.vmids.first().copied().unwrap_or(Vmid::LOWEST), &reporter);
            let report = refuse(&session, &title, Vec::new(), Some(&error));
            let outcome = report.outcome;
            let mut batch = Batch::new(frame, title).ends(outcome);
            batch.guests.push(report);
            batch
        }
    };
    if frame.options.common.json {
        print_json(&batch, batch.outcome)
    } else {
        print(&text(&batch), batch.outcome)
    }
}

enum Done {
    Listed(String),
    Batch(Box<Batch>),
}

fn look_and_restore(
    frame: &Frame<'_>,
    cli: &Cli,
    mut vmids: Vec<Vmid>,
    title: &mut String,
) -> anyhow::Result<Done> {
    let options = &cli.options;
    let homelab = Homelab::find(options)?;
    let contacts = connect_all(&options.common, &homelab.environments, options.node.as_slice())?;
    let found = select::found(cli, &contacts)?;
    vmids.extend(found.into_iter().filter(|vmid| !cli.vmids.contains(vmid)));
    *title = format!("Restore {}", format::counted(vmids.len() as u64, "guest"));
    let done = |batch| Ok(Done::Batch(Box::new(batch)));
    let batch = Batch::new(frame, title.clone());
    if vmids.is_empty() {
        let problem = Problem::new("no guest has that tag or is in that pool");
        return done(
            batch.refused(vec![problem.hint("name the guests, or list them in a file for `--all-from`")]),
        );
    }
    let surveys = nodes::survey(options, &contacts, &vmids)?;
    let mut problems = Vec::new();
    let mut picked = Vec::new();
    for (vmid, survey) in vmids.into_iter().zip(surveys) {
        let args = Args { vmid, options: options.clone() };
        match nodes::pick(&args, survey) {
            Ok(reached) => picked.push((args, reached)),
            Err(found) => problems.extend(of_guest(vmid, found)),
        }
    }
    if options.list {
        let texts = picked.iter().map(|(args, reached)| app::listed(args, reached));
        return Ok(Done::Listed(texts.collect::<Result<Vec<_>, _>>()?.join("\n")));
    }
    let ready = decide_all(frame, &homelab, picked, &mut problems)?;
    if problems.is_empty() {
        problems.extend(too_much(&ready));
    }
    if !problems.is_empty() {
        return done(batch.refused(problems));
    }
    let reporter = frame.reporter();
    reporter.plan(&summary(frame, title, &ready));
    if options.common.dry_run {
        return done(batch);
    }
    match answer(frame, &ready) {
        Answer::Yes => done(restore_all(frame, cli, ready, batch)),
        Answer::Interrupted => done(batch.ends(Exit::Interrupted)),
        Answer::No => {
            let mut batch = batch.ends(Exit::NothingChanged);
            batch.next.push("declined: run it again when you are ready".to_owned());
            done(batch)
        }
        Answer::Refused => {
            let problem = Problem::new("this needs an answer, and standard input is no terminal");
            let hint = "run it on a terminal, or say `--yes` to go ahead without a question";
            done(batch.refused(vec![problem.hint(hint)]))
        }
    }
}

/// Says which guest a problem is about.
fn of_guest(vmid: Vmid, problems: Vec<Problem>) -> impl Iterator<Item = Problem> {
    problems.into_iter().map(move |problem| Problem { what: format!("{vmid}: {}", problem.what), ..problem })
}

/// Decides for every guest; what speaks against one goes to `problems`.
fn decide_all(
    frame: &Frame<'_>,
    homelab: &Homelab,
    picked: Vec<(Args, Reached)>,
    problems: &mut Vec<Problem>,
) -> anyhow::Result<Vec<Ready>> {
    let mut decided = Vec::new();
    for some in picked.chunks(LOOKS) {
        decided.extend(at_once(some, |(args, reached)| homelab.decide(args, reached))?);
    }
    let mut ready = Vec::new();
    for ((args, reached), assignment) in picked.into_iter().zip(decided) {
        let reporter = frame.reporter();
        let session = frame.session(args.vmid, &reporter);
        let history = recover::history(&args, &session)?;
        if let Some(open) = &history.open {
            problems.extend(of_guest(args.vmid, vec![recover::problem(&args, &session, open)?]));
        }
        match assignment? {
            Ok(assignment) => ready.push(Ready { args, reached, assignment, over: history.over }),
            Err(found) => problems.extend(of_guest(args.vmid, found)),
        }
    }
    Ok(ready)
}

/// Where a guest's disks go: the node's name and the storage.
fn places(ready: &Ready) -> Vec<(String, StorageId)> {
    let (what, options) = (&ready.assignment, &ready.args.options);
    let wish = place::Wish { target: options.target_storage.as_ref(), map: &options.storage_map };
    let storages = place::destinations(what.kind, &what.inside.config, wish).into_iter().map(|(_, s)| s);
    let mut places: Vec<_> = storages.map(|storage| (what.node.clone(), storage)).collect();
    places.sort();
    places.dedup();
    places
}

/// Guests that are made anew fit one by one, and may not fit together. Their compressed backups are the least they need.
fn too_much(ready: &[Ready]) -> Vec<Problem> {
    let mut needs: BTreeMap<(String, StorageId), (u64, Option<u64>)> = BTreeMap::new();
    for guest in ready.iter().filter(|guest| guest.assignment.present.is_none()) {
        for (node, storage) in places(guest) {
            let free = guest.reached.look.facts.storage(storage.as_str()).and_then(|s| s.available());
            let entry = needs.entry((node, storage)).or_insert((0, free));
            entry.0 += guest.assignment.archive.least_data();
        }
    }
    let full = needs.into_iter().filter_map(|((node, storage), (need, free))| {
        let free = free.filter(|free| need > *free)?;
        let (need, free) = (format::bytes(need), format::bytes(free));
        let problem = Problem::new(format!(
            "storage `{storage}` of {node} has {free} free, and the guests that go there need more than {need} together"
        ));
        Some(problem.hint("restore fewer at once, or put some elsewhere with `--storage-map`"))
    });
    full.collect()
}

/// One table, all warnings, and with `-v` or in a dry run every plan.
fn summary(frame: &Frame<'_>, title: &str, ready: &[Ready]) -> String {
    let common = &frame.options.common;
    let mut table =
        Table::new(["guest", "name", "node", "made", "size", "now"]).right("size").flexible("name");
    let (mut warnings, mut plans) = (String::new(), String::new());
    for Ready { reached, assignment, .. } in ready {
        let plan = plan::build(assignment, reached.look.facts.time);
        table.row([
            assignment.target.to_string(),
            ui::sanitize(assignment.inside.config.name().unwrap_or_default()).into_owned(),
            assignment.node.clone(),
            format::age(assignment.archive.ctime, reached.look.facts.time),
            format::bytes(assignment.archive.size),
            assignment.present.as_ref().map_or_else(|| "gone".to_owned(), |guest| guest.state.clone()),
        ]);
        for warning in &plan.warnings {
            warnings += &format!("  ! {}: {}\n", assignment.target, ui::sanitize(warning));
        }
        if let Start::No(reason) = &assignment.start {
            warnings += &format!("  ! {}: left stopped: {}\n", assignment.target, ui::sanitize(reason));
        }
        if common.dry_run || common.verbose > 0 {
            plans += &format!("\n{}", plan_text(&plan, false));
        }
    }
    let rows = table.render(WIDTH - 2);
    let indented = rows.lines().fold(String::new(), |text, line| text + "  " + line + "\n");
    let more = if plans.is_empty() { "\n`-v` shows every step\n" } else { "" };
    let dry = if common.dry_run { "\nThis is a dry run: nothing will be changed.\n" } else { "" };
    let gap = if warnings.is_empty() { "" } else { "\n" };
    format!("{title}\n\n{indented}{gap}{warnings}{plans}{more}{dry}")
}

fn answer(frame: &Frame<'_>, ready: &[Ready]) -> Answer {
    if frame.options.common.force {
        return Answer::Yes;
    }
    let mut prompt = Prompt::new(frame.interrupt.clone());
    match question(ready) {
        Question::YesNo(says) => prompt.confirm(&says),
        Question::Type { says, word } => prompt.type_word(&says, &word),
    }
}

fn question(ready: &[Ready]) -> Question {
    let over: Vec<_> = ready.iter().filter(|guest| guest.assignment.present.is_some()).collect();
    if over.is_empty() {
        return Question::YesNo(format!("Restore {}?", format::counted(ready.len() as u64, "guest")));
    }
    let names: Vec<_> = over.iter().map(|guest| guest.assignment.target.to_string()).collect();
    Question::Type {
        says: format!(
            "{} will be overwritten ({}):",
            format::counted(over.len() as u64, "guest"),
            names.join(", ")
        ),
        word: format!("overwrite {}", over.len()),
    }
}

/// Who waits, who is at work where, and whether anybody else is to begin.
struct Queue {
    waiting: VecDeque<(usize, Ready)>,
    busy: BTreeMap<(String, StorageId), usize>,
    stop: bool,
    reports: BTreeMap<usize, Report>,
}

/// The queue, for all workers.
struct Shared<'a> {
    queue: Mutex<Queue>,
    changed: Condvar,
    frame: &'a Frame<'a>,
    /// How many at once to each storage.
    limit: usize,
    fail_fast: bool,
}

fn restore_all(frame: &Frame<'_>, cli: &Cli, ready: Vec<Ready>, mut batch: Batch) -> Batch {
    let started = Instant::now();
    let limit = usize::from(cli.parallel);
    // One at a time is one at a time, whatever storages they go to.
    let workers = if limit == 1 { 1 } else { WORKERS.min(ready.len()) };
    let queue = Queue {
        waiting: ready.into_iter().enumerate().collect(),
        busy: BTreeMap::new(),
        stop: false,
        reports: BTreeMap::new(),
    };
    let shared =
        Shared { queue: Mutex::new(queue), changed: Condvar::new(), frame, limit, fail_fast: cli.fail_fast };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| shared.work());
        }
    });
    let queue = shared.queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    batch.guests = queue.reports.into_values().collect();
    batch.not_begun = queue.waiting.iter().map(|(_, guest)| guest.args.vmid).collect();
    batch.seconds = started.elapsed().as_secs_f64();
    if !batch.not_begun.is_empty() {
        let left: Vec<_> = batch.not_begun.iter().map(ToString::to_string).collect();
        batch.next.push(format!("not begun: `{PROGRAM} {}` restores them", left.join(" ")));
    }
    let outcome = if frame.interrupt.requested() {
        Exit::Interrupted
    } else {
        Exit::worst(batch.guests.iter().map(|report| report.outcome))
    };
    batch.ends(outcome)
}

impl Shared<'_> {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Restores one guest after the other until none is left.
    fn work(&self) {
        while let Some((index, guest)) = self.next() {
            let report = restore_one(self.frame, &guest);
            let mut queue = self.lock();
            for place in places(&guest) {
                if let Some(count) = queue.busy.get_mut(&place) {
                    *count -= 1;
                }
            }
            queue.stop |= self.fail_fast && report.outcome != Exit::Done;
            queue.reports.insert(index, report);
            self.changed.notify_all();
        }
    }

    /// The first guest whose storages have room for one more; waits while all have to wait.
    fn next(&self) -> Option<(usize, Ready)> {
        let mut queue = self.lock();
        loop {
            if queue.stop || self.frame.interrupt.requested() || queue.waiting.is_empty() {
                return None;
            }
            let has_room = |guest: &Ready| {
                places(guest)
                    .iter()
                    .all(|place| queue.busy.get(place).is_none_or(|count| *count < self.limit))
            };
            if let Some(at) = queue.waiting.iter().position(|(_, guest)| has_room(guest)) {
                let (index, guest) = queue.waiting.remove(at)?;
                for place in places(&guest) {
                    *queue.busy.entry(place).or_default() += 1;
                }
                return Some((index, guest));
            }
            let waited = self.changed.wait_timeout(queue, TURN);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn restore_one(frame: &Frame<'_>, guest: &Ready) -> Report {
    let target = guest.assignment.target;
    let reporter = frame.reporter().lead(format!("{target}  "));
    let mut session = frame.session(target, &reporter);
    session.agreed = true;
    session.over.clone_from(&guest.over);
    app::restore(&session, &guest.reached, guest.assignment.clone())
}

/// The report for people: a line a guest, then all about those that need attention.
fn text(batch: &Batch) -> String {
    let mut text = format!("{}: {}\n", batch.title, headline(batch));
    text += &problems_text(&batch.problems);
    if !batch.guests.is_empty() {
        text.push('\n');
    }
    for report in &batch.guests {
        text += &format!("  {}: {}\n", ui::sanitize(&report.title), one_line(report));
    }
    for report in batch.guests.iter().filter(|report| report.outcome != Exit::Done) {
        text += &format!("\n{}", report.text());
    }
    let kept =
        batch.guests.iter().filter(|report| report.outcome == Exit::Done).flat_map(|report| &report.kept);
    let kept: Vec<_> = kept
        .map(|kept| [&kept.what, &kept.place, &kept.remove].map(|words| ui::sanitize(words)))
        .map(|[what, place, remove]| format!("  {what}\n    {place}\n    remove: {remove}\n"))
        .collect();
    if !kept.is_empty() {
        text += &format!("\nKept\n{}", kept.concat());
    }
    if !batch.next.is_empty() {
        text.push_str("\nNext\n");
        batch.next.iter().for_each(|next| text += &format!("  - {}\n", ui::sanitize(next)));
    }
    text
}

fn headline(batch: &Batch) -> String {
    if batch.dry_run && batch.problems.is_empty() {
        return "nothing was changed: this was a dry run".to_owned();
    }
    if batch.guests.iter().all(|report| report.outcome == Exit::NothingChanged) && batch.not_begun.is_empty()
    {
        return "nothing was changed".to_owned();
    }
    let done = batch.guests.iter().filter(|report| report.outcome == Exit::Done).count();
    let all = batch.guests.len() + batch.not_begun.len();
    let took = format::duration(Duration::from_secs_f64(batch.seconds));
    format!("{done} of {all} done and proven in {took}")
}
