//! Measures every figure that this project promises, in one run, and shows them beside what was asked for.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod deep;
mod distance;
mod figure;
mod growth;
mod jobs;
mod minio;
mod monitoring;
mod processors;
mod restores;
mod states;
mod verify;
mod watch;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use figure::{Figure, Findings};
use restore_lab::lab::{CT, VM};

/// Runs of each measurement; the median counts, the spread is shown.
pub const RUNS: usize = 5;

/// What one call of `pvesh` takes on a real node, most of it to load its modules.
pub const PVESH_MS: u64 = 1_000;

/// Exit code of bad usage, as that of the programs.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word.starts_with('-') && word != "--json") {
        eprintln!(
            "usage: restore-bench [--json] [PART]\n\nparts: {}",
            PARTS.map(|(name, _)| name).join(", ")
        );
        return ExitCode::from(USAGE);
    }
    let json = words.iter().any(|word| word == "--json");
    let only = words.iter().find(|word| !word.starts_with('-'));
    match measure(only.map(String::as_str)) {
        Ok(findings) => {
            if json {
                println!("{:#}", findings.json());
            } else {
                findings.print();
            }
            if findings.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured, by the word that asks for it alone.
const PARTS: [(&str, Part); 7] = [
    ("restore-vm", restore_vm),
    ("restore-tfstate", restore_tfstate),
    ("rebuild-minio", rebuild_minio),
    ("rebuild-monitoring", rebuild_monitoring),
    ("verify-backups", verify_backups),
    ("deep", deep_reading),
    ("distance", distances),
];

type Part = fn(&mut Findings) -> Result<(), Box<dyn Error>>;

/// Everything, or one part.
fn measure(only: Option<&str>) -> Result<Findings, Box<dyn Error>> {
    let mut findings = Findings::default();
    let mut parts = PARTS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name)).peekable();
    if parts.peek().is_none() {
        return Err(format!("what can be measured alone: {}", PARTS.map(|(name, _)| name).join(", ")).into());
    }
    for (name, part) in parts {
        eprintln!("measuring {name} ...");
        part(&mut findings).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(findings)
}

fn restore_vm(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    let program = release_program("restore-vm")?;
    let figures = &mut findings.figures;
    figures.extend(start(&program, "restore-vm")?);
    figures.extend(restores::restores(&program, VM, "VM")?);
    figures.extend(restores::restores(&program, CT, "container")?);
    figures.extend(jobs::under_way(&program)?);
    figures.extend(jobs::large_archives(&program)?);
    Ok(())
}

fn restore_tfstate(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    let program = release_program("restore-tfstate")?;
    let figures = &mut findings.figures;
    figures.extend(start(&program, "restore-tfstate")?);
    figures.extend(states::history(&program)?);
    figures.extend(states::large_states(&program)?);
    figures.extend(states::restore(&program)?);
    findings.tables.push(growth::of_restore_tfstate(&program)?);
    Ok(())
}

fn rebuild_minio(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    let program = release_program("rebuild-minio")?;
    findings.figures.extend(start(&program, "rebuild-minio")?);
    findings.figures.extend(minio::rebuild(&program)?);
    Ok(())
}

fn rebuild_monitoring(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    let program = release_program("rebuild-monitoring")?;
    findings.figures.extend(start(&program, "rebuild-monitoring")?);
    findings.figures.extend(monitoring::figures(&program)?);
    Ok(())
}

fn verify_backups(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    let program = release_program("verify-backups")?;
    findings.figures.extend(start(&program, "verify-backups")?);
    findings.figures.extend(verify::quick(&program)?);
    findings.tables.extend(growth::of_verify_backups(&program)?);
    Ok(())
}

fn deep_reading(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    findings.figures.extend(deep::figures(&release_program("verify-backups")?)?);
    Ok(())
}

fn distances(findings: &mut Findings) -> Result<(), Box<dyn Error>> {
    findings.tables.push(distance::table(&release_program)?);
    findings.tables.push(distance::calls(&release_program)?);
    Ok(())
}

/// What it costs to have a program, and to start it. Of one its size was asked.
fn start(program: &Path, name: &str) -> Result<Vec<Figure>, Box<dyn Error>> {
    #[allow(clippy::cast_precision_loss, reason = "a program has fewer bytes than that")]
    let megabytes = vec![fs::metadata(program)?.len() as f64 / 1e6];
    let what = format!("{name}: release binary");
    Ok(vec![
        Figure::at_most(format!("{name} --version"), "ms", 10.0, version(program)?),
        match name {
            "restore-vm" => Figure::at_most(what, "MB", 10.0, megabytes),
            _ => Figure::shown(what, "MB", megabytes),
        },
    ])
}

/// The optimised program, as operators have it.
fn release_program(name: &str) -> Result<PathBuf, Box<dyn Error>> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("no target folder")?;
    let program = target.join("release").join(name);
    if program.exists() { Ok(program) } else { Err(format!("{} is not built", program.display()).into()) }
}

fn version(program: &Path) -> Result<Vec<f64>, Box<dyn Error>> {
    let run = || -> Result<f64, Box<dyn Error>> {
        let started = Instant::now();
        Command::new(program).arg("--version").stdout(Stdio::null()).status()?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    (0..RUNS * 4).map(|_| run()).collect()
}
