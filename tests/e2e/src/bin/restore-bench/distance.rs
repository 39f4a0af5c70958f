//! What a long way costs: every program with a node, and an S3 server, that are 0, 20 and 150 ms away.

use std::{
    error::Error,
    io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use restore_e2e::States;
use restore_lab::{
    homelab::Homelab,
    lab::{Lab, LabBuilder},
    link::{Link, Way},
    monitoring::Options,
    s3::{self, Credentials, Embedded, S3Server},
};

use crate::{
    PVESH_MS,
    figure::{Table, median},
    restores::operators_command,
    states, watch,
};

/// Milliseconds of a round trip: the local network, a good line, and one to the other side of the world.
const AWAY: [u64; 3] = [0, 20, 150];
/// Runs at each distance.
const RUNS: usize = 3;
/// The programs that are measured, by what they are asked.
pub type Programs<'a> = &'a dyn Fn(&str) -> Result<std::path::PathBuf, Box<dyn Error>>;

/// One table for all programs.
pub fn table(program: Programs<'_>) -> Result<Table, Box<dyn Error>> {
    let (restore, verify) = (program("restore-vm")?, program("verify-backups")?);
    let (tfstate, monitoring) = (program("restore-tfstate")?, program("rebuild-monitoring")?);
    let minio = program("rebuild-minio")?;
    Ok(Table {
        title: "seconds at a distance, round trips one after the other",
        columns: &["0 ms", "20 ms", "150 ms", "trips", "kB"],
        rows: vec![
            row("restore-vm 101 --dry-run", |way| on_node(&restore, &["101", "--dry-run"], way))?,
            row("restore-vm 101", |way| on_node(&restore, &["101", "--force", "--json"], way))?,
            row("verify-backups", |way| on_node(&verify, &["--no-state", "--max-age", "90000d"], way))?,
            row("verify-backups --deep", |way| {
                on_node(&verify, &["--no-state", "--deep", "--max-age", "90000d"], way)
            })?,
            row("rebuild-monitoring --dry-run", |way| stack(&monitoring, way))?,
            row("rebuild-minio --dry-run", |way| dead_minio(&minio, way))?,
            row("restore-tfstate --list, 100 versions", |way| history(&tfstate, way))?,
        ],
    })
}

/// How often the node's slowest program is called, and what that makes of the whole when a call costs what it costs there.
pub fn calls(program: Programs<'_>) -> Result<Table, Box<dyn Error>> {
    let row = |what: &str, name: &str, words: &[&str]| -> Result<(String, Vec<f64>), Box<dyn Error>> {
        let program = program(name)?;
        let lab = Lab::start()?;
        let free = run(&program, &lab, words)?;
        let lab = Lab::start()?;
        lab.slow_down(&["pvesh"], PVESH_MS)?;
        let charged = run(&program, &lab, words)?;
        Ok((what.to_owned(), vec![of_pvesh(&lab)?, free, charged]))
    };
    Ok(Table {
        title: "calls of pvesh, and seconds when one costs 1 s",
        columns: &["calls", "free", "at 1 s"],
        rows: vec![
            row("restore-vm 101 --dry-run", "restore-vm", &["101", "--dry-run"])?,
            row("restore-vm 101", "restore-vm", &["101", "--force", "--json"])?,
            row("verify-backups", "verify-backups", &["--no-state", "--max-age", "90000d"])?,
        ],
    })
}

#[allow(clippy::cast_precision_loss)]
fn of_pvesh(lab: &Lab) -> io::Result<f64> {
    Ok(lab.journal()?.iter().filter(|entry| entry["argv"][0] == "pvesh").count() as f64)
}

/// The medians at each distance, the round trips that the whole waits for, which is what each millisecond more costs, and
/// what goes over the line. `run` gives seconds and bytes.
#[allow(clippy::cast_precision_loss)]
fn row(
    what: &str,
    run: impl Fn(Way) -> Result<(f64, u64), Box<dyn Error>>,
) -> Result<(String, Vec<f64>), Box<dyn Error>> {
    let (mut values, mut carried) = (Vec::new(), 0);
    for milliseconds in AWAY {
        let way = Way { round_trip: Duration::from_millis(milliseconds), bytes_per_second: None };
        let runs: Vec<(f64, u64)> = (0..RUNS).map(|_| run(way)).collect::<Result<_, _>>()?;
        values.push(median(&runs.iter().map(|(seconds, _)| *seconds).collect::<Vec<_>>()));
        carried = runs[0].1;
    }
    let further = (AWAY[2] - AWAY[1]) as f64 / 1e3;
    values.push(((values[2] - values[1]) / further).round());
    values.push(carried as f64 / 1e3);
    Ok((what.to_owned(), values))
}

fn run(program: &Path, lab: &Lab, words: &[&str]) -> Result<f64, Box<dyn Error>> {
    Ok(watch::run(operators_command(program, lab).args(words), &[0, 1])?.seconds)
}

fn on_node(program: &Path, words: &[&str], way: Way) -> Result<(f64, u64), Box<dyn Error>> {
    let lab = Lab::start()?;
    let link = lab.lengthen(way)?;
    Ok((run(program, &lab, words)?, link.bytes()))
}

fn stack(program: &Path, way: Way) -> Result<(f64, u64), Box<dyn Error>> {
    let lab = LabBuilder::new().small().monitoring(Options::default()).start()?;
    let link = lab.lengthen(way)?;
    Ok((run(program, &lab, &["--dry-run"])?, link.bytes()))
}

fn dead_minio(program: &Path, way: Way) -> Result<(f64, u64), Box<dyn Error>> {
    let homelab = Homelab::builder().start()?.ok_or("a program of the homelab is not there")?;
    let mut pull = homelab.command("restore-tfstate");
    if !pull.args(["--all", "--pull"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
        return Err("the states could not be pulled".into());
    }
    homelab.destroy_minio()?;
    homelab.wait_for_minio(false)?;
    let link = homelab.lengthen(way)?;
    let mut command = Command::new(program);
    let plain = homelab.command("rebuild-minio");
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let run = watch::run(command.arg("--dry-run").current_dir(homelab.operator().project()), &[0])?;
    Ok((run.seconds, link.bytes()))
}

fn history(program: &Path, way: Way) -> Result<(f64, u64), Box<dyn Error>> {
    let server = Embedded::start(&s3::Options::default())?;
    let address: SocketAddr = server.endpoint().trim_start_matches("http://").parse()?;
    let link = Link::start(address.ip(), address, way)?;
    let states = States::with(Distant { server, link });
    states::fill(&states, 100, 6_000)?;
    let run = watch::run(&mut states::listing(program, &states), &[0])?;
    Ok((run.seconds, states.server.link.bytes()))
}

/// An S3 server at the end of a link.
#[derive(Debug)]
struct Distant {
    server: Embedded,
    link: Link,
}

impl S3Server for Distant {
    fn endpoint(&self) -> String {
        format!("http://{}", self.link.address())
    }

    fn authority(&self) -> Option<&Path> {
        self.server.authority()
    }

    fn credentials(&self) -> &Credentials {
        self.server.credentials()
    }

    fn stop(&mut self) -> io::Result<()> {
        self.server.stop()
    }

    fn start_again(&mut self) -> io::Result<()> {
        self.server.start_again()
    }

    /// Its administrator sits beside it.
    fn client(&self) -> io::Result<s3::Client> {
        self.server.client()
    }
}
