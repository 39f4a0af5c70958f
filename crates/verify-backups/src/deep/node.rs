//! The archives of one node, read by jobs on it over its one connection.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use restore_common::{
    pve::PveError,
    remote::{Command, Host, HostError, Job, JobEnd, ReadOnly, RunId},
};

use super::{
    Meter, Outcome, Place, Run, SILENT, Work, archives, put, queue, reading, recall, say_only,
    verified_before,
};
use crate::{
    app::PROGRAM,
    codes::{archive::UNFINISHED, deep::NOT_CHECKED},
    finding::Finding,
    report::NodePart,
};

/// Reads them all, and puts what is found into the node's part.
pub(super) fn read(run: &Run<'_>, place: &mut Place<'_>) -> anyhow::Result<()> {
    let queue = match queue_of(run, place) {
        Ok(queue) if queue.is_empty() => return Ok(()),
        Ok(queue) => queue,
        Err(error) => {
            place.part.findings.push(Finding::new(&NOT_CHECKED, error.to_string()));
            return Ok(());
        }
    };
    if run.frame.cli.common.dry_run {
        place.part.findings.push(say_only(&queue));
        recall(place.part, run.ledger);
        return Ok(());
    }
    let label = place.part.label.clone();
    clear_old_runs(place.host);
    let jobs = Jobs::begin(run, place.host)?;
    let workers = usize::from(run.frame.cli.jobs.unwrap_or(1));
    let done = run.work_off(&label, queue, workers, &|work, attempt| jobs.read(work, attempt));
    jobs.end(place.part);
    put(place.part, done?);
    Ok(())
}

/// Asks the node for sizes and times, and chooses what is to be read.
fn queue_of(run: &Run<'_>, place: &mut Place<'_>) -> Result<Vec<Work>, PveError> {
    let folders = queue::folders(place.part);
    if folders.is_empty() {
        return Ok(Vec::new());
    }
    let output = ReadOnly(place.host).run(&queue::stamps_command(&folders))?;
    let stamps = queue::stamps(&output);
    let label = place.part.label.clone();
    let mut queue = Vec::new();
    for (index, archive) in archives(place.part).enumerate() {
        let (Some(path), Some(name)) = (&archive.path, &archive.name) else { continue };
        // What a broken backup left is none.
        if archive.findings.iter().any(|finding| finding.code == &UNFINISHED) {
            continue;
        }
        // What is not there, or is empty, the look at the listing has told.
        let Some(stamp) = stamps.get(path).filter(|stamp| stamp.size > 0) else { continue };
        let before = queue::on_record(run.ledger, &label, archive);
        if run.wanted(stamp, before.as_ref()) {
            queue.push(Work {
                index,
                name: name.clone(),
                path: path.clone(),
                stamp: stamp.clone(),
                ctime: archive.ctime,
                before,
            });
        } else {
            archive.verified = before.as_ref().and_then(verified_before);
        }
    }
    let present = |path: &str| !queue::is_gone(path, &folders, &stamps);
    if !run.frame.cli.common.dry_run
        && output.success()
        && let Err(error) = run.ledger.forget_gone(&label, &present, Timestamp::now())
    {
        log::warn!("{error}");
    }
    Ok(queue)
}

/// Clears away what runs left that were killed: those that were begun more than a day ago, whoever they are of. One whose
/// work still goes on is left alone.
fn clear_old_runs(host: &dyn Host) {
    let root = host.root();
    let which = ["-mindepth", "1", "-maxdepth", "1", "-type", "d", "-name"];
    let question =
        Command::read("find").arg(root).args(which).arg(format!("*-{PROGRAM}-*")).args(["-printf", r"%f\n"]);
    // Where nothing was ever left there is no such folder.
    let Ok(output) = ReadOnly(host).run(&question) else { return };
    for run in output.stdout.lines().filter_map(|name| old_run(name, Timestamp::now())) {
        match host.clear(&run) {
            Ok(()) => log::info!("{}: removed what the run {run} had left", host.name()),
            Err(error) => log::info!("{error}"),
        }
    }
}

/// The run of this name, when it is one of this program's readings and was begun more than a day ago.
fn old_run(name: &str, now: Timestamp) -> Option<RunId> {
    let (begun, rest) = name.split_once('-')?;
    let numbers = rest.strip_prefix(PROGRAM)?.strip_prefix('-')?;
    let is_reading = numbers.chars().all(|c| c.is_ascii_digit() || c == '-');
    let begun = DateTime::strptime("%Y%m%dT%H%M%SZ", begun).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let is_old = now.duration_since(begun) > SignedDuration::from_hours(24);
    (is_reading && is_old).then(|| RunId::try_from(name.to_owned()).ok()).flatten()
}

/// The jobs of one run on a node.
struct Jobs<'a> {
    run: &'a Run<'a>,
    host: &'a dyn Host,
    id: RunId,
    count: AtomicU32,
}

impl<'a> Jobs<'a> {
    fn begin(run: &'a Run<'a>, host: &'a dyn Host) -> anyhow::Result<Self> {
        // Two environments may name one node in two ways, and each clears away what is its own.
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let number = RUNS.fetch_add(1, Ordering::SeqCst);
        let id = format!("{now}-{PROGRAM}-{}-{number}", std::process::id());
        let id = RunId::try_from(id).map_err(anyhow::Error::msg)?;
        Ok(Self { run, host, id, count: AtomicU32::new(0) })
    }

    fn read(&self, work: &Work, attempt: u8) -> Outcome {
        let command = reading::command(&work.name, &work.path, self.run.frame.cli.bwlimit);
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let job = Job::new(self.host.root(), &self.id, &format!("read-{number}"), &command);
        let mut heard = reading::Reading::default();
        let mut meter = Meter::start(self.run, work, attempt);
        let mut last = Instant::now();
        let end = self.host.run_job(&job, &command, &mut |line| {
            if !line.is_empty() {
                last = Instant::now();
                heard.hear(line);
                meter.set(heard.read);
            }
            let stop = self.run.frame.interrupt.requested() || last.elapsed() > SILENT;
            if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match end {
            Ok(JobEnd::Finished(output)) => reading::judge(&work.name, &heard, &output, work.before.as_ref()),
            Ok(JobEnd::Missing) => Outcome::Unknown("the node lost the work that read it".to_owned()),
            Ok(JobEnd::Detached) => self.stop(&job),
            Err(error) => could_not(&error),
        }
    }

    /// Ends the work on the node: after Ctrl-C, or when it is stuck.
    fn stop(&self, job: &Job) -> Outcome {
        match self.host.cancel(job) {
            Ok(_) => Outcome::Unknown(format!("no byte of it came for {} s", SILENT.as_secs())),
            Err(error) => could_not(&error),
        }
    }

    /// Leaves nothing on the node.
    fn end(&self, part: &mut NodePart) {
        if let Err(error) = self.host.clear(&self.id) {
            let words = format!("what the reading left on the node could not be removed: {error}");
            part.findings.push(Finding::new(&NOT_CHECKED, words));
        }
    }
}

fn could_not(error: &HostError) -> Outcome {
    Outcome::Unknown(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::old("20260129T010000Z-verify-backups-4711-0", true)]
    #[case::young("20260130T110000Z-verify-backups-4711-0", false)]
    #[case::of_the_future("20270130T110000Z-verify-backups-4711-0", false)]
    #[case::another_program("20260129T010000Z-restore-vm-4711", false)]
    #[case::a_drill("20260129T010000Z-verify-backups-drill-4711", false)]
    #[case::no_time("yesterday-verify-backups-4711-0", false)]
    #[case::outside("20260129T010000Z-verify-backups-../..", false)]
    fn only_old_readings_are_cleared_away(#[case] name: &str, #[case] is_cleared: bool) {
        let now = "2026-01-30T12:00:00Z".parse().unwrap();
        assert_eq!(old_run(name, now).is_some(), is_cleared);
    }
}
