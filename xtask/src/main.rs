//! Lint, test, demo, lab and bench: everything that is done with this repository, as one command each.

mod lint;
mod process;
mod servers;

use std::{env, process::ExitCode};

use clap::{Parser, Subcommand};

use process::Cargo;

/// What is done with this repository
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Formatting, clippy with warnings as errors, documentation, links
    Lint,
    /// All tests, with a sample of the fault matrix
    Test {
        /// The whole fault matrix
        #[arg(long)]
        all: bool,
        /// Words for the test runner: a part of a test's name
        words: Vec<String>,
    },
    /// Install what the tests run against: MinIO, and OpenTofu where there is no Terraform. Needs Go
    Servers,
    /// Break two guests of a homelab on loopback and restore them
    Demo {
        /// Answer every question with yes, as without a terminal
        #[arg(long)]
        yes: bool,
    },
    /// A homelab on loopback with a shell in it, to rehearse
    Lab {
        /// Version of Proxmox VE: 8 or 9
        #[arg(long, default_value = "8")]
        pve: String,
        /// Keep the Terraform states of its project in S3: `embedded` or `minio`
        #[arg(long)]
        s3: Option<String>,
    },
    /// Run the programs in a terminal and put what they show into the documents
    Capture,
    /// Measure every figure that this project promises
    Bench {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let cargo = Cargo::new();
    match task {
        Task::Lint => lint::run(&cargo),
        Task::Test { all, words } => test(&cargo, all, &words),
        Task::Servers => servers::install(),
        Task::Demo { yes } => {
            lab_programs(&cargo)?;
            cargo.program("debug", "restore-lab", if yes { &["demo", "--yes"] } else { &["demo"] })
        }
        Task::Lab { pve, s3 } => {
            lab_programs(&cargo)?;
            let mut words = vec!["shell", "--pve", &pve];
            words.extend(s3.iter().flat_map(|engine| ["--s3", engine]));
            cargo.program("debug", "restore-lab", &words)
        }
        Task::Capture => {
            lab_programs(&cargo)?;
            cargo.run(&["build", "--quiet", "--package", "restore-e2e", "--bins"])?;
            let pages = ["docs/BACKUP-RESTORE.md", "docs/STATE.md", "docs/VERIFY.md"]
                .map(|page| cargo.root().join(page));
            let pages = pages.each_ref().map(|page| page.to_string_lossy());
            cargo.program("debug", "restore-captures", &pages.each_ref().map(AsRef::as_ref))
        }
        Task::Bench { json } => {
            cargo.run(&[
                "build",
                "--quiet",
                "--release",
                "--package=restore-vm",
                "--package=restore-tfstate",
                "--package=verify-backups",
            ])?;
            lab_programs(&cargo)?;
            cargo.run(&["build", "--quiet", "--package", "restore-e2e", "--bins"])?;
            cargo.program("debug", "restore-bench", if json { &["--json"] } else { &[] })
        }
    }
}

/// The tests start programs of other packages, which a test run by itself does not build.
fn test(cargo: &Cargo, all: bool, words: &[String]) -> anyhow::Result<()> {
    lab_programs(cargo)?;
    let mut arguments = vec!["test", "--workspace"];
    if !words.is_empty() {
        arguments.push("--");
        arguments.extend(words.iter().map(String::as_str));
    }
    let mut variables = Vec::new();
    if all {
        variables.push(("MATRIX", "all"));
    }
    if env::var_os("TMPDIR").is_none() && has_room(IN_MEMORY) {
        variables.push(("TMPDIR", IN_MEMORY));
    }
    cargo.run_with(&arguments, &variables)
}

/// The labs of the tests live here if they can: on a disk they take half as long again.
const IN_MEMORY: &str = "/dev/shm";

/// Whether a folder can take the labs of several tests at once.
fn has_room(folder: &str) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|about| about.f_bavail.saturating_mul(about.f_frsize) >= 4 << 30)
}

/// The programs that a homelab is made of, and those that are tried in it.
fn lab_programs(cargo: &Cargo) -> anyhow::Result<()> {
    cargo.run(&[
        "build",
        "--quiet",
        "--bins",
        "--package=restore-vm",
        "--package=restore-tfstate",
        "--package=verify-backups",
        "--package=restore-lab",
    ])
}
