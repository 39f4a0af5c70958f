//! Reading archives to their end: on the node that holds them, or on this machine.
//!
//! What is common to both is here: the queue, the time that is left, the second reading of an archive that failed, the
//! progress in all, and what goes into the ledger and the report.

mod limited;
mod node;
mod queue;
mod reading;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use restore_common::{
    ledger::{Entry, Ledger, Verdict},
    remote::Host,
    ui::{Progress, ProgressMode, format},
};

pub(crate) use limited::Limited;
pub(crate) use queue::{Stamp, Work, archives, is_fresh, on_record, sort, verified_before};
pub(crate) use reading::{Outcome, changed, file_name};

use crate::{
    app::{Frame, PROGRAM, VERSION},
    codes::deep::{CHANGED, KNOWN_BAD, NOT_CHECKED, NOT_READ, NOT_RECORDED, UNSTABLE},
    finding::{Finding, Severity},
    report::{ArchivePart, NodePart, Verified},
};

/// A node that answered, and what is known of it so far.
pub struct Place<'a> {
    /// The connection.
    pub host: &'a dyn Host,
    /// Its guests and archives.
    pub part: &'a mut NodePart,
}

/// Reads the archives of all nodes to their end, every node at the same time, and puts what is found into their parts.
/// After Ctrl-C it ends soon and what was read until then counts.
pub fn read_nodes(frame: &Frame<'_>, places: &mut [Place<'_>], ledger: &Ledger) -> anyhow::Result<()> {
    let total = Total::new(frame.mode, "all archives");
    let run = Run { frame, ledger, total: &total, until: deadline(frame) };
    thread::scope(|scope| {
        let run = &run;
        let started: Vec<_> =
            places.iter_mut().map(|place| scope.spawn(move || node::read(run, place))).collect();
        started.into_iter().try_for_each(|thread| {
            thread.join().map_err(|_| anyhow::anyhow!("reading a node's archives ended unexpectedly"))?
        })
    })
}

/// What an earlier verification says about archives that are only looked at: when it was, and that a size is another now.
pub fn recall(part: &mut NodePart, ledger: &Ledger) {
    let label = part.label.clone();
    for archive in archives(part) {
        let Some(entry) = on_record(ledger, &label, archive) else { continue };
        // The look has the time in whole seconds.
        let is_same = archive.mtime.is_none_or(|seconds| entry.mtime_seconds() == Some(seconds));
        let recalled = Recalled::of(&entry, archive.size, is_same);
        recalled.tell(archive);
    }
}

/// What an earlier verification says about an archive that this run does not read.
pub(crate) struct Recalled {
    verified: Option<Verified>,
    finding: Option<Finding>,
}

impl Recalled {
    /// For the archive of this size now; `is_same` tells whether its time is the one on record.
    pub(crate) fn of(entry: &Entry, size: u64, is_same: bool) -> Self {
        if entry.size != size {
            return Self { verified: None, finding: entry.sha256.as_ref().map(|_| other_size(entry, size)) };
        }
        if !is_same {
            return Self { verified: None, finding: None };
        }
        Self { verified: verified_before(entry), finding: known_bad(entry) }
    }

    /// Puts it into the report. That it was bad is not said when the look has found as much.
    pub(crate) fn tell(self, archive: &mut ArchivePart) {
        archive.verified = self.verified;
        let is_bad = archive.findings.iter().any(|finding| finding.severity() == Severity::Error);
        archive.findings.extend(self.finding.filter(|finding| !is_bad || finding.code != &KNOWN_BAD));
    }
}

fn other_size(entry: &Entry, size: u64) -> Finding {
    let (now, then) = (format::bytes(size), format::bytes(entry.size));
    let words =
        format!("it has {now} ({size} bytes); when it was verified it had {then} ({} bytes)", entry.size);
    Finding::new(&CHANGED, words)
}

/// That an archive was bad the last time: nothing has become better because nobody reads it.
fn known_bad(entry: &Entry) -> Option<Finding> {
    let words = format!("found on {}", entry.when.strftime("%Y-%m-%d"));
    (entry.verdict == Verdict::Bad).then(|| Finding::new(&KNOWN_BAD, words))
}

/// What the reading of one node, or one folder, needs.
pub(crate) struct Run<'a> {
    pub(crate) frame: &'a Frame<'a>,
    pub(crate) ledger: &'a Ledger,
    pub(crate) total: &'a Total,
    /// No other archive is begun after this.
    pub(crate) until: Option<Instant>,
}

/// When `--max-duration` is over.
pub(crate) fn deadline(frame: &Frame<'_>) -> Option<Instant> {
    frame.cli.max_duration.and_then(|limit| Instant::now().checked_add(limit))
}

/// What became of an archive.
pub(crate) struct Done {
    index: usize,
    verified: Option<Verified>,
    findings: Vec<Finding>,
}

impl Run<'_> {
    /// Takes out what was verified lately and is unchanged.
    pub(crate) fn wanted(&self, stamp: &Stamp, before: Option<&Entry>) -> bool {
        let days = self.frame.cli.skip_verified;
        !before.zip(days).is_some_and(|(entry, days)| is_fresh(entry, stamp, days, Timestamp::now()))
    }

    /// Reads a queue with several workers, in its order, and gives what became of each archive.
    pub(crate) fn work_off(
        &self,
        node: &str,
        mut queue: Vec<Work>,
        workers: usize,
        read: &(dyn Fn(&Work, u8) -> Outcome + Sync),
    ) -> anyhow::Result<Vec<Done>> {
        sort(&mut queue);
        self.total.add(queue.iter().map(|work| work.stamp.size).sum());
        let queue = Mutex::new(VecDeque::from(queue));
        let done = Mutex::new(Vec::new());
        let worker = || {
            loop {
                let Some(work) = locked(&queue).pop_front() else { return };
                let became = self.one(node, &work, read);
                locked(&done).push(became);
            }
        };
        thread::scope(|scope| {
            let started: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
            started.into_iter().try_for_each(|thread| {
                thread.join().map_err(|_| anyhow::anyhow!("a reader ended unexpectedly"))
            })
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why no other archive is begun.
    fn over(&self) -> Option<&'static str> {
        if self.frame.interrupt.requested() {
            return Some("interrupted before it was read to its end");
        }
        let is_over = self.until.is_some_and(|until| Instant::now() >= until);
        is_over.then_some("the time of `--max-duration` was over before its turn came")
    }

    /// Reads one archive, once more when it fails, and records it.
    fn one(&self, node: &str, work: &Work, read: &(dyn Fn(&Work, u8) -> Outcome + Sync)) -> Done {
        if let Some(words) = self.over() {
            return left_out(work, words);
        }
        let begun = Instant::now();
        let first = read(work, 1);
        let again = matches!(first, Outcome::Bad { .. }) && !self.frame.interrupt.requested();
        let second = again.then(|| read(work, 2));
        if self.frame.interrupt.requested() && !matches!(first, Outcome::Good { .. }) {
            return left_out(work, "interrupted before it was read to its end");
        }
        let (outcome, unstable) = settle(first, second);
        let mut became = done(work, &outcome, unstable.as_ref());
        let entry = Entry {
            size: work.stamp.size,
            mtime: work.stamp.mtime.clone(),
            when: Timestamp::now(),
            sha256: None,
            verdict: Verdict::Bad,
            by: format!("{PROGRAM} {VERSION}"),
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        let entry = reading::entry_of(&outcome, work.before.as_ref(), unstable.is_none(), entry);
        let recorded = entry.map_or(Ok(()), |entry| self.ledger.record(node, &work.path, entry));
        // What was found is worth more than the note of it.
        became.findings.extend(recorded.err().map(|error| Finding::new(&NOT_RECORDED, error.to_string())));
        became
    }
}

/// An archive that was not read this time.
fn left_out(work: &Work, words: &str) -> Done {
    let recalled = work.before.as_ref().map(|entry| {
        Recalled::of(entry, work.stamp.size, entry.is_about(work.stamp.size, &work.stamp.mtime))
    });
    let (verified, known) = recalled.map_or((None, None), |recalled| (recalled.verified, recalled.finding));
    let findings = [Finding::new(&NOT_READ, words)].into_iter().chain(known).collect();
    Done { index: work.index, verified, findings }
}

/// What the report says of an archive that was read.
fn done(work: &Work, outcome: &Outcome, unstable: Option<&Finding>) -> Done {
    let mut done = Done { index: work.index, verified: None, findings: Vec::new() };
    match outcome {
        Outcome::Good { sha256 } => {
            let (when, sha256) = (Timestamp::now(), sha256.clone());
            done.verified = unstable.is_none().then_some(Verified { when, sha256, now: true });
        }
        Outcome::Bad { finding, .. } => done.findings.push(finding.clone()),
        Outcome::Gone => done.findings.push(Finding::new(&NOT_READ, "it was removed meanwhile")),
        Outcome::Unknown(words) => done.findings.push(Finding::new(&NOT_CHECKED, words.clone())),
    }
    done.findings.extend(unstable.cloned());
    done
}

/// What two readings say together. The second is there when the first was bad.
fn settle(first: Outcome, second: Option<Outcome>) -> (Outcome, Option<Finding>) {
    let (Outcome::Bad { finding, sha256 }, Some(second)) = (&first, second) else { return (first, None) };
    match second {
        Outcome::Good { .. } => {
            let words = format!("read once: {}; read again: good", finding.words);
            (second, Some(Finding::new(&UNSTABLE, words)))
        }
        Outcome::Bad { finding: other, sha256: sum } => {
            // The same bytes, or the same error: the archive. Other bytes each time: something between it and us.
            let same = sum == *sha256 && other.code == finding.code;
            let words = if same { " (read twice)" } else { " (read twice, not the same each time)" };
            let words = format!("{}{words}", other.words);
            let unstable = (!same && sum != *sha256)
                .then(|| Finding::new(&UNSTABLE, "two readings of it gave different bytes"));
            (Outcome::Bad { finding: Finding::new(other.code, words), sha256: sum }, unstable)
        }
        // The first verdict stands.
        Outcome::Gone | Outcome::Unknown(_) => (first, None),
    }
}

/// Puts what became of the archives into the report.
pub(crate) fn put(part: &mut NodePart, done: Vec<Done>) {
    let mut archives: Vec<&mut ArchivePart> = archives(part).collect();
    for Done { index, verified, findings } in done {
        let Some(archive) = archives.get_mut(index) else { continue };
        if let Some(verified) = verified {
            archive.verified = Some(verified);
        }
        for finding in findings {
            // What the look at the beginning has told already is not told twice.
            if archive.findings.iter().all(|known| known.code != finding.code) {
                archive.findings.push(finding);
            }
        }
    }
}

/// The progress of all archives together.
pub(crate) struct Total(Mutex<Sums>);

struct Sums {
    mode: ProgressMode,
    title: &'static str,
    bar: Option<Progress>,
    total: u64,
    done: u64,
}

impl Total {
    pub(crate) fn new(mode: ProgressMode, title: &'static str) -> Self {
        Self(Mutex::new(Sums { mode, title, bar: None, total: 0, done: 0 }))
    }

    /// So many bytes are to be read, too.
    fn add(&self, bytes: u64) {
        let mut sums = locked(&self.0);
        sums.total += bytes;
        if sums.total > 0 {
            sums.bar = Some(Progress::start(sums.mode, sums.title, Some(sums.total)));
        }
    }

    /// So many more bytes are done.
    pub(crate) fn advance(&self, bytes: u64) {
        let mut sums = locked(&self.0);
        sums.done += bytes;
        let done = sums.done;
        if let Some(bar) = &mut sums.bar {
            bar.set(done);
        }
    }
}

/// The progress of one archive, within that of all.
pub(crate) struct Meter<'a> {
    bar: Progress,
    total: &'a Total,
    done: u64,
    /// A second reading does not count in all.
    counts: bool,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(run: &Run<'a>, work: &Work, attempt: u8) -> Self {
        let title = match attempt {
            1 => file_name(&work.path).to_owned(),
            _ => format!("{} (again)", file_name(&work.path)),
        };
        let bar = Progress::start(run.frame.mode, &title, Some(work.stamp.size));
        Self { bar, total: run.total, done: 0, counts: attempt == 1 }
    }

    /// So many of its bytes are read.
    pub(crate) fn set(&mut self, read: u64) {
        let more = read.saturating_sub(self.done);
        self.done += more;
        self.bar.set(self.done);
        if self.counts && more > 0 {
            self.total.advance(more);
        }
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says what a dry run leaves out.
pub(crate) fn say_only(queue: &[Work]) -> Finding {
    let bytes = queue.iter().map(|work| work.stamp.size).sum();
    let count = queue.len();
    Finding::new(&NOT_READ, format!("dry run: {count} archives would be read, {}", format::bytes(bytes)))
}

/// How long reading an archive of this size may go without a word before it counts as stuck.
pub(crate) const SILENT: Duration = Duration::from_secs(600);
