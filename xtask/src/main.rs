//! Lint, test, fuzz, demo, lab and bench: everything that is done with this repository, as one command each.

mod dist;
mod fuzz;
mod licences;
mod lint;
mod pages;
mod process;
mod servers;
mod supply;

use std::{env, process::ExitCode, thread};

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
    /// Formatting, clippy with warnings as errors, documentation, links, what others wrote
    Lint,
    /// All tests, with a sample of the fault matrix
    Test {
        /// The whole fault matrix
        #[arg(long)]
        all: bool,
        /// Words for the test runner: a part of a test's name
        words: Vec<String>,
    },
    /// Have libFuzzer try every reader of foreign bytes. Needs a nightly compiler and `cargo install cargo-fuzz`
    Fuzz {
        /// One of `fuzz/fuzz_targets`; all of them without a name
        target: Option<String>,
        /// So long each
        #[arg(long, default_value_t = 10)]
        minutes: u32,
    },
    /// Install what the tests run against: MinIO, the lab's Terraform provider, and OpenTofu where there is no Terraform. Needs Go
    Servers,
    /// Break two guests of a homelab on loopback, restore them and verify everything
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
        /// A homelab on its worst day: node-lost, state-broken, minio-dead or monitoring-dead
        #[arg(long, conflicts_with_all = ["pve", "monitoring"])]
        scenario: Option<String>,
        /// With the monitoring VM (needs prometheus and prometheus-alertmanager)
        #[arg(long)]
        monitoring: bool,
    },
    /// Run the programs in a terminal and put what they show into the documents
    Capture,
    /// Write the tables of the documents anew, from the programs
    Pages,
    /// A tarball and a Debian package of the programs, the same from the same sources
    Dist {
        /// Try the Debian package in a fresh Debian root (needs root and debootstrap)
        #[arg(long = "try")]
        tried: bool,
    },
    /// Measure every figure that this project promises
    Bench {
        /// One of its parts, as `restore-vm`, `deep` or `distance`; all of them without a name
        part: Option<String>,
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
        Task::Fuzz { target, minutes } => fuzz::run(&cargo, target.as_deref(), minutes),
        Task::Servers => servers::install(),
        Task::Demo { yes } => {
            programs(&cargo)?;
            cargo.program("debug", "restore-lab", if yes { &["demo", "--yes"] } else { &["demo"] })
        }
        Task::Lab { pve, s3, monitoring, scenario } => {
            programs(&cargo)?;
            let mut words = vec!["shell"];
            words.extend(match &scenario {
                Some(name) => ["--scenario", name],
                None => ["--pve", &pve],
            });
            words.extend(s3.iter().flat_map(|engine| ["--s3", engine]));
            words.extend(monitoring.then_some("--monitoring"));
            cargo.program("debug", "restore-lab", &words)
        }
        Task::Capture => {
            programs(&cargo)?;
            let pages = [
                "docs/BACKUP-RESTORE.md",
                "docs/STATE.md",
                "docs/MINIO.md",
                "docs/MONITORING.md",
                "docs/VERIFY.md",
                "docs/DISASTER-RECOVERY.md",
                "docs/restore-vm.svg",
            ]
            .map(|page| cargo.root().join(page));
            let pages = pages.each_ref().map(|page| page.to_string_lossy());
            cargo.program("debug", "restore-captures", &pages.each_ref().map(AsRef::as_ref))
        }
        Task::Pages => pages::write(&cargo),
        Task::Dist { tried } => dist::run(&cargo, tried),
        Task::Bench { part, json } => {
            cargo.run(&[&["build", "--quiet", "--release"][..], &packages()].concat())?;
            programs(&cargo)?;
            let words: Vec<&str> = part.iter().map(String::as_str).chain(json.then_some("--json")).collect();
            cargo.program("debug", "restore-bench", &words)
        }
    }
}

/// The five programs.
pub(crate) const PROGRAMS: [&str; 5] =
    ["restore-vm", "restore-tfstate", "rebuild-minio", "rebuild-monitoring", "verify-backups"];

/// The words that make cargo take the programs and nothing else.
pub(crate) fn packages() -> Vec<&'static str> {
    PROGRAMS.into_iter().flat_map(|program| ["--package", program]).collect()
}

/// The tests start programs of other packages, which a test run by itself does not build.
fn test(cargo: &Cargo, all: bool, words: &[String]) -> anyhow::Result<()> {
    programs(cargo)?;
    // One that fails keeps no other from being run: a run takes long, and should tell everything.
    let mut arguments = vec!["test", "--workspace", "--no-fail-fast"];
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
    // Most tests wait for what they started, so there are more of them than processors.
    let threads = 2 * thread::available_parallelism()?.get();
    let threads = threads.to_string();
    if env::var_os("RUST_TEST_THREADS").is_none() {
        variables.push(("RUST_TEST_THREADS", &threads));
    }
    cargo.run_with(&arguments, &variables)
}

/// The labs of the tests live here if they can: on a disk they take half as long again.
const IN_MEMORY: &str = "/dev/shm";

/// Whether a folder can take the labs of several tests at once.
fn has_room(folder: &str) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|about| about.f_bavail.saturating_mul(about.f_frsize) >= 4 << 30)
}

/// Every program of the workspace, as the tests find them. All together: a part of them would be built with other
/// features of what all use, and so anew.
pub(crate) fn programs(cargo: &Cargo) -> anyhow::Result<()> {
    cargo.run(&["build", "--quiet", "--workspace", "--bins"])
}
