//! What the quick look at very many backups costs, over a real sshd.

use std::{
    error::Error,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use restore_e2e::join;
use restore_lab::lab::{Front, Lab, LabBuilder};

use crate::{
    PVESH_MS, RUNS,
    figure::{Figure, median},
    restores::operators_command,
};

/// Nodes of the large homelab, and archives on each of them.
const NODES: u32 = 32;
const EACH: u32 = 300;
/// So many archives are asked about in the old way, one connection each; the figure is scaled up.
const SAMPLE: u32 = 10;

/// 1,000 and 10,000 archives on one node, and many nodes with some.
pub fn quick(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let lab = node_with(1_000)?;
    let thousand = runs(program, &lab)?;
    let old = one_connection_each(&lab)?;
    let share = vec![median(&thousand) / old * 100.0];
    let ten_thousand = runs(program, &node_with(10_000)?)?;
    let (one, many) = several_nodes(program, 0)?;
    let (slow_one, slow_many) = several_nodes(program, PVESH_MS)?;
    let times = |one: &[f64], many: &[f64]| vec![median(many) / median(one)];
    Ok(vec![
        Figure::at_most("quick: share of the old way's time", "%", 1.0, share),
        Figure::at_most("quick: 1,000 archives on a node", "s", 2.0, thousand).beside("ssh for each", old),
        Figure::at_most("quick: 10,000 archives on a node", "s", 6.0, ten_thousand),
        Figure::at_most("quick: 32 nodes x 300, of one node's", "times", 2.0, times(&one, &many)),
        Figure::at_most("the same, a call of pvesh taking 1 s", "times", 2.0, times(&slow_one, &slow_many)),
    ])
}

/// A node behind a real sshd whose folder has so many archives of two guests, all with their logs.
pub fn node_with(archives: u32) -> Result<Lab, Box<dyn Error>> {
    let lab = LabBuilder::new().small().unwatched().front(Front::OpenSsh);
    let lab = lab.backups(&["2026_01_30-01_00_04"]).start()?;
    let dump = lab.path("/var/lib/vz/dump");
    let names: Vec<_> = fs::read_dir(&dump)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    for number in 1..archives.div_ceil(2) {
        let (day, hour, minute) = (1 + number / 1440, number / 60 % 24, number % 60);
        let date = format!("2025_12_{day:02}-{hour:02}_{minute:02}_00");
        for name in &names {
            fs::hard_link(dump.join(name), dump.join(name.replace("2026_01_30-01_00_04", &date)))?;
        }
    }
    Ok(lab)
}

fn runs(program: &Path, lab: &Lab) -> Result<Vec<f64>, Box<dyn Error>> {
    (0..RUNS).map(|_| run(program, lab)).collect()
}

/// Warnings are no failure: the backups are old.
fn run(program: &Path, lab: &Lab) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    let output = operators_command(program, lab).args(["--no-state", "--max-age", "90000d"]).output()?;
    let took = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code().is_none_or(|code| code > 1) || !said.contains(": 0 errors") {
        return Err(format!("verify-backups: {said}{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(took)
}

/// What a connection for each archive would take: measured on a few, and scaled to 1,000.
fn one_connection_each(lab: &Lab) -> Result<f64, Box<dyn Error>> {
    let ssh = lab.operator().home().join(".ssh");
    let config = fs::read_to_string(ssh.join("config"))?;
    let host = config.split_whitespace().nth(1).ok_or("no host in the lab's ssh_config")?.to_owned();
    let started = Instant::now();
    for _ in 0..SAMPLE {
        let known = format!("UserKnownHostsFile={}", ssh.join("known_hosts").display());
        let status = Command::new("ssh")
            .arg("-F")
            .arg(ssh.join("config"))
            .arg("-i")
            .arg(ssh.join("id_ed25519"))
            .args(["-o", &known, &host, "stat /var/lib/vz/dump/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("ssh: {status}").into());
        }
    }
    Ok(started.elapsed().as_secs_f64() / f64::from(SAMPLE) * 1_000.0)
}

/// One node by itself, and all of them. A call of `pvesh` takes so much longer.
fn several_nodes(program: &Path, pvesh_ms: u64) -> Result<(Vec<f64>, Vec<f64>), Box<dyn Error>> {
    let alone = node_with(EACH)?;
    let labs = large_homelab(NODES)?;
    for lab in labs.iter().chain([&alone]) {
        lab.slow_down(&["pvesh"], pvesh_ms)?;
    }
    Ok((runs(program, &alone)?, runs(program, &labs[0])?))
}

/// Nodes with archives; all of them are environments of the first one's project.
pub fn large_homelab(nodes: u32) -> Result<Vec<Lab>, Box<dyn Error>> {
    let labs: Vec<Lab> = (0..nodes).map(|_| node_with(EACH)).collect::<Result<_, _>>()?;
    for (number, other) in labs.iter().enumerate().skip(1) {
        join(&labs[0], other, &format!("node{number}"))?;
    }
    Ok(labs)
}
