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
    restores::operators_command,
    watch::{self, Run},
};

const TIME: &str = "2026_01_30-01_00_04";
/// Bytes of the disk in the archives that are measured, and how many of them there are where it is about many.
const DISK: u64 = 1 << 30;
const MANY: u32 = 4;
/// Archives of the node that has not changed since it was verified.
const UNCHANGED: u32 = 200;

/// On the node, and on this machine.
pub fn figures(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let one = lab()?;
    let tests = many(|| seconds_of_zstd(&one))?;
    let many_lab = lab()?;
    copies(&many_lab, MANY)?;
    let local = |lab: &Lab, jobs: &str| -> Result<Run, Box<dyn Error>> {
        let folder = lab.path("/var/lib/vz").display().to_string();
        read(program, lab, &["--local", &folder, "--jobs", jobs])
    };
    let node = |lab: &Lab, jobs: &str| read(program, lab, &["--deep", "--jobs", jobs]);
    let quick = median(&seconds(&runs(|| read(program, &one, &["--quick"]))?));
    let deep = runs(|| node(&one, "1"))?;
    let here = runs(|| local(&one, "1"))?;
    let share = |runs: &[Run], fixed: f64| -> Vec<f64> {
        runs.iter().map(|run| median(&tests) / (run.seconds - fixed) * 100.0).collect()
    };
    let memory = |runs: &[Run]| runs.iter().map(|run| run.megabytes).collect();
    Ok(vec![
        Figure::shown("zstd -t of an archive with 1 GiB", "s", tests.clone()),
        Figure::at_least("deep: rate, of zstd -t's", "%", 90.0, share(&deep, quick)),
        Figure::at_least("deep: two at once", "times", 1.8, twice(|jobs| node(&many_lab, jobs))?),
        Figure::at_most("deep: resident memory", "MB", 50.0, memory(&deep)),
        Figure::at_least("--local: rate, of zstd -t's", "%", 90.0, share(&here, 0.0)),
        Figure::at_least("--local: two at once", "times", 1.8, twice(|jobs| local(&many_lab, jobs))?),
        Figure::at_most("--local: resident memory", "MB", 50.0, memory(&here)),
        Figure::at_most(
            format!("deep again, {UNCHANGED} archives unchanged"),
            "s",
            2.0,
            seconds(&unchanged(program)?),
        ),
    ])
}

/// How many times faster two at once are.
fn twice(read: impl Fn(&str) -> Result<Run, Box<dyn Error>>) -> Result<Vec<f64>, Box<dyn Error>> {
    many(|| Ok(read("1")?.seconds / read("2")?.seconds))
}

fn lab() -> Result<Lab, Box<dyn Error>> {
    Ok(LabBuilder::new().filled(DISK).backups(&[TIME]).start()?)
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
