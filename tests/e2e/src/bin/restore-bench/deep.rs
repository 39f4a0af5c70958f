//! What reading archives to their end costs, beside `zstd -t`, which only decompresses.

use std::{
    error::Error,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use restore_lab::lab::{Lab, LabBuilder};

use crate::{
    RUNS,
    figure::{Figure, median},
    processors,
    restores::operators_command,
    watch::{self, Run},
};

const TIME: &str = "2026_01_30-01_00_04";
/// Bytes of the disk in the archive that is measured alone: what an archive costs whatever its size is, is to be a small part.
const LARGE: u64 = 4 << 30;
/// Bytes of the disk in the archives where it is about several, and how many they are.
const DISK: u64 = 1 << 30;
const MANY: u32 = 4;
/// Archives of the node that has not changed since it was verified.
const UNCHANGED: u32 = 200;

/// On the node, and on this machine.
pub fn figures(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let one = lab(LARGE)?;
    let several = lab(DISK)?;
    copies(&several, MANY)?;
    let local = |lab: &Lab, jobs: &str| -> Result<Run, Box<dyn Error>> {
        let folder = lab.path("/var/lib/vz").display().to_string();
        read(program, lab, &["--local", &folder, "--jobs", jobs])
    };
    let node = |lab: &Lab, jobs: &str| read(program, lab, &["--deep", "--jobs", jobs]);
    let zstd = many(|| seconds_of_zstd(&one))?;
    let plain_two = many(|| two_at_once(&["zstd", "-q", "-t"], &several))?;
    let piped_two = many(|| two_at_once(&["sh", "-c", "zstd -q -d -c \"$0\" | cat"], &several))?;
    let quick = || Ok(median(&seconds(&runs(|| read(program, &one, &["--quick"]))?)));
    let other_work = OtherWork { seconds: quick()?, on_one_processor: processors::on_one(quick)? };
    let mut figures = vec![
        Figure::shown("zstd -t of an archive with 4 GiB", "s", zstd),
        Figure::shown("zstd -t: two at once, of its rate", "times", plain_two),
        Figure::shown("zstd -dc | cat: two at once, of that rate", "times", piped_two),
    ];
    figures.extend(way("deep", &other_work, [&one, &several], node)?);
    figures.extend(way("--local", &OtherWork::default(), [&one, &several], local)?);
    let again = format!("deep again, {UNCHANGED} archives unchanged");
    figures.push(Figure::at_most(again, "s", 2.0, seconds(&unchanged(program)?)));
    Ok(figures)
}

/// Seconds that a look takes for other things than reading.
#[derive(Default)]
struct OtherWork {
    seconds: f64,
    on_one_processor: f64,
}

/// One way to read archives: of a lab with one of them, and of a lab with several.
fn way(
    name: &str,
    other_work: &OtherWork,
    [one, several]: [&Lab; 2],
    look: impl Fn(&Lab, &str) -> Result<Run, Box<dyn Error>>,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let single = rates(one, 1, other_work.seconds, || look(one, "1"))?;
    let each = rates(several, MANY, other_work.seconds, || look(several, "1"))?;
    let both = rates(several, MANY, other_work.seconds, || look(several, "2"))?;
    let narrow =
        processors::on_one(|| rates(several, MANY, other_work.on_one_processor, || look(several, "1")))?;
    let share = single.iter().map(|rate| rate.of_zstd * 100.0).collect();
    let memory = [&single, &both].into_iter().flatten().map(|rate| rate.megabytes).collect();
    let gain =
        |than: &[Rate]| both.iter().zip(than).map(|(both, than)| both.of_zstd / than.of_zstd).collect();
    let (of_each, of_narrow) = (gain(&each), gain(&narrow));
    let both = both.iter().map(|rate| rate.of_zstd).collect();
    Ok(vec![
        Figure::at_least(format!("{name}: rate, of zstd -t's"), "%", 90.0, share),
        Figure::at_least(format!("{name}: two at once, of zstd -t's rate"), "times", 1.8, both),
        Figure::shown(format!("{name}: two at once, of one at a time"), "times", of_each),
        Figure::at_least(format!("{name}: two processors, of one"), "times", 1.8, of_narrow),
        Figure::at_most(format!("{name}: resident memory"), "MB", 50.0, memory),
    ])
}

/// One reading beside a `zstd -t` just before it: what else the machine does changes by the minute.
struct Rate {
    /// Bytes a second, of those of `zstd -t`.
    of_zstd: f64,
    megabytes: f64,
}

/// Of a look that reads so many archives, and takes so many seconds for other things.
fn rates(
    lab: &Lab,
    archives: u32,
    other: f64,
    look: impl Fn() -> Result<Run, Box<dyn Error>>,
) -> Result<Vec<Rate>, Box<dyn Error>> {
    let rate = || {
        let plain = seconds_of_zstd(lab)?;
        let run = look()?;
        let of_zstd = plain * f64::from(archives) / (run.seconds - other);
        Ok(Rate { of_zstd, megabytes: run.megabytes })
    };
    (0..RUNS).map(|_| rate()).collect()
}

/// How many times the rate of one `zstd -t` two of these programs have together, each with the archive as its last word.
fn two_at_once(words: &[&str], lab: &Lab) -> Result<f64, Box<dyn Error>> {
    let plain = seconds_of_zstd(lab)?;
    let started = Instant::now();
    let start = || {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(archive(lab)).stdin(Stdio::null()).stdout(Stdio::null()).spawn()
    };
    let both = [start()?, start()?];
    for mut child in both {
        let status = child.wait()?;
        if !status.success() {
            return Err(format!("{}: {status}", words.join(" ")).into());
        }
    }
    Ok(2.0 * plain / started.elapsed().as_secs_f64())
}

/// A node with one archive, and with the real `zstd`, which is what its readings are compared with: the lab's own one does
/// not write while it unpacks.
fn lab(disk: u64) -> Result<Lab, Box<dyn Error>> {
    let lab = LabBuilder::new().filled(disk).backups(&[TIME]).start()?;
    fs::remove_file(lab.root().join(".bin/zstd"))?;
    Ok(lab)
}

fn archive(lab: &Lab) -> std::path::PathBuf {
    lab.archive(&format!("vzdump-qemu-101-{TIME}.vma.zst"))
}

/// More archives with the same bytes: nothing that reads them can know.
fn copies(lab: &Lab, count: u32) -> std::io::Result<()> {
    let whole = archive(lab);
    (1..count).try_for_each(|number| {
        let (hour, minute) = (number / 60, number % 60);
        let other = format!("vzdump-qemu-101-2026_01_29-{hour:02}_{minute:02}_04.vma.zst");
        fs::hard_link(&whole, whole.with_file_name(other))
    })
}

fn seconds_of_zstd(lab: &Lab) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    let status = Command::new("zstd").args(["-q", "-t"]).arg(archive(lab)).stdin(Stdio::null()).status()?;
    if status.success() { Ok(started.elapsed().as_secs_f64()) } else { Err(format!("zstd: {status}").into()) }
}

/// Nothing has changed since everything was verified.
fn unchanged(program: &Path) -> Result<Vec<Run>, Box<dyn Error>> {
    let lab = LabBuilder::new().small().backups(&[TIME]).start()?;
    copies(&lab, UNCHANGED)?;
    read(program, &lab, &["--deep", "--jobs", "4"])?;
    runs(|| read(program, &lab, &["--deep", "--skip-verified", "30"]))
}

/// Only the VM's archives. Warnings are no failure: the backups are old.
fn read(program: &Path, lab: &Lab, words: &[&str]) -> Result<Run, Box<dyn Error>> {
    let mut command = operators_command(program, lab);
    command.args(["--no-state", "--vmid", "101"]).args(words);
    watch::run(&mut command, &[0, 1])
}

fn seconds(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|run| run.seconds).collect()
}

fn runs(run: impl Fn() -> Result<Run, Box<dyn Error>>) -> Result<Vec<Run>, Box<dyn Error>> {
    (0..RUNS).map(|_| run()).collect()
}

fn many(value: impl Fn() -> Result<f64, Box<dyn Error>>) -> Result<Vec<f64>, Box<dyn Error>> {
    (0..RUNS).map(|_| value()).collect()
}
