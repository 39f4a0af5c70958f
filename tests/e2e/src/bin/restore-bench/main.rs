//! Measures every figure that this project promises, in one run, and shows them beside what was asked for.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod figure;
mod jobs;
mod minio;
mod monitoring;
mod restores;
mod states;
mod verify;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use figure::Figure;
use restore_lab::lab::{CT, VM};

/// Runs of each measurement; the median counts, the spread is shown.
pub const RUNS: usize = 5;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let json = words.iter().any(|word| word == "--json");
    let only = words.iter().find(|word| !word.starts_with('-'));
    match measure(only.map(String::as_str)) {
        Ok(figures) => {
            if json {
                println!("{:#}", figure::as_json(&figures));
            } else {
                figure::print_table(&figures);
            }
            if figures.iter().all(Figure::holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// All figures, or those of one program.
fn measure(only: Option<&str>) -> Result<Vec<Figure>, Box<dyn Error>> {
    let wanted = |program: &str| only.is_none_or(|only| only == program);
    let mut figures = Vec::new();
    if wanted("restore-vm") {
        let program = release_program("restore-vm")?;
        figures.extend(start(&program, "restore-vm --version", "restore-vm: release binary")?);
        figures.extend(restores::restores(&program, VM, "VM")?);
        figures.extend(restores::restores(&program, CT, "container")?);
        figures.extend(jobs::under_way(&program)?);
        figures.extend(jobs::large_archives(&program)?);
    }
    if wanted("restore-tfstate") {
        let program = release_program("restore-tfstate")?;
        figures.extend(start(&program, "restore-tfstate --version", "restore-tfstate: release binary")?);
        figures.extend(states::history(&program)?);
        figures.extend(states::large_states(&program)?);
        figures.extend(states::restore(&program)?);
    }
    if wanted("rebuild-minio") {
        let program = release_program("rebuild-minio")?;
        figures.extend(start(&program, "rebuild-minio --version", "rebuild-minio: release binary")?);
        figures.extend(minio::rebuild(&program)?);
    }
    if wanted("verify-backups") {
        let program = release_program("verify-backups")?;
        figures.extend(start(&program, "verify-backups --version", "verify-backups: release binary")?);
        figures.extend(verify::quick(&program)?);
    }
    if wanted("rebuild-monitoring") {
        let program = release_program("rebuild-monitoring")?;
        figures.extend(start(
            &program,
            "rebuild-monitoring --version",
            "rebuild-monitoring: release binary",
        )?);
        figures.extend(monitoring::figures(&program)?);
    }
    if figures.is_empty() {
        return Err("there are figures of restore-vm, restore-tfstate, rebuild-minio, verify-backups and rebuild-monitoring".into());
    }
    Ok(figures)
}

/// What it costs to have a program, and to start it.
fn start(program: &Path, started: &'static str, size: &'static str) -> Result<Vec<Figure>, Box<dyn Error>> {
    #[allow(clippy::cast_precision_loss, reason = "a program has fewer bytes than that")]
    let bytes = fs::metadata(program)?.len() as f64;
    Ok(vec![
        Figure { what: started, unit: "ms", asked: 10.0, values: version(program)? },
        Figure { what: size, unit: "MB", asked: 10.0, values: vec![bytes / 1e6] },
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
