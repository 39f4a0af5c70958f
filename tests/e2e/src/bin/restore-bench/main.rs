//! Measures every figure that this project promises, in one run, and shows them beside what was asked for.

#![allow(missing_docs, unreachable_pub, reason = "nobody else sees it")]

mod figure;
mod jobs;
mod restores;

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
    let json = std::env::args().any(|word| word == "--json");
    match measure() {
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

fn measure() -> Result<Vec<Figure>, Box<dyn Error>> {
    let program = release_program("restore-vm")?;
    let mut figures = vec![
        Figure { what: "restore-vm --version", unit: "ms", asked: 10.0, values: version(&program)? },
        Figure {
            what: "release binary",
            unit: "MB",
            asked: 10.0,
            #[allow(clippy::cast_precision_loss)]
            values: vec![fs::metadata(&program)?.len() as f64 / 1e6],
        },
    ];
    figures.extend(restores::restores(&program, VM, "VM")?);
    figures.extend(restores::restores(&program, CT, "container")?);
    figures.extend(jobs::under_way(&program)?);
    figures.extend(jobs::large_archives(&program)?);
    Ok(figures)
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
