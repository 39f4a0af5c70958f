//! Long work: what it costs that it outlives the connection, what is seen of it, and whether its size matters.

use std::{
    error::Error,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use restore_e2e::Terminal;
use restore_lab::lab::{Lab, LabBuilder};

use crate::{RUNS, figure::Figure, restores::operators_command, watch::watch};

/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(600);

/// A restore whose connection is cut while the node works.
pub fn under_way(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let mut reconnects = Vec::new();
    let mut added = Vec::new();
    for _ in 0..RUNS {
        let lab = Lab::start()?;
        lab.slow_down(&["qmrestore"], 1500)?;
        let server = lab.server().ok_or("no embedded server")?;
        let mut restore = restore(program, &lab).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        until("the node to restore", || Ok(works_on(&lab, "qmrestore")?))?;
        let connections = server.connections();
        server.cut_now();
        let cut = Instant::now();
        until("a new connection", || Ok(server.connections() > connections))?;
        reconnects.push(cut.elapsed().as_secs_f64());
        if !restore.wait()?.success() {
            return Err("the restore did not survive the cut".into());
        }
        added.push(executions_added(program)?);
    }
    Ok(vec![
        Figure::at_most("reconnect after a cut", "s", 2.0, reconnects),
        Figure::at_most("executions added by a job", "", 2.0, added),
    ])
}

/// How many more executions there are about `qmrestore` than the one it takes anyway, in an undisturbed run; clearing the
/// jobs away at the end of the run counts as well.
#[allow(clippy::cast_precision_loss)]
fn executions_added(program: &Path) -> Result<f64, Box<dyn Error>> {
    let lab = Lab::start()?;
    let output = restore(program, &lab).output()?;
    if !output.status.success() {
        return Err(format!("restore-vm: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let executions = lab.executions()?;
    let restores: Vec<_> =
        executions.iter().filter(|script| script.contains("qmrestore local:backup")).collect();
    let [restores] = restores[..] else { return Ok(restores.len() as f64) };
    let (_, rest) = restores.split_once("/jobs/").ok_or("the job has no folder")?;
    let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let name = format!("/jobs/{name}");
    let others = executions.iter().filter(|script| *script != restores && script.contains(&name)).count();
    let clears =
        executions.iter().filter(|script| script.contains("rm -rf") && script.contains("/jobs")).count();
    Ok((others + clears) as f64)
}

/// A VM with an archive of 100 MB and one with 4 GB: what is seen of the large one, and whether more memory is needed.
#[allow(clippy::cast_precision_loss)]
pub fn large_archives(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    let lab = |bytes| LabBuilder::new().filled(bytes).compress("0").backups(&["2026_01_30-01_00_04"]).start();
    let words = ["--safety", "none"];
    let (small, large) = (lab(100_000_000)?, lab(4_000_000_000)?);
    let run = |lab: &Lab| {
        watch(restore(program, lab).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?, &[0])
    };
    let (little, much) = (run(&small)?, run(&large)?);
    let mut command = restore(program, &large);
    command.args(words);
    let pause = longest_pause(Terminal::start(command)?)?;
    Ok(vec![
        Figure::at_most("memory: 4 GB archive, more than 100 MB", "MB", 5.0, vec![much - little]),
        Figure::at_most("longest time without new progress", "s", 1.0, vec![pause]),
    ])
}

/// The longest time between two pictures of the progress that have a rate and a time left, within one step.
fn longest_pause(terminal: Terminal) -> Result<f64, Box<dyn Error>> {
    let (code, moments) = terminal.watch(LIMIT)?;
    if code != 0 {
        return Err(format!("restore-vm: exit {code}").into());
    }
    let mut last: Option<Instant> = None;
    let mut longest = Duration::ZERO;
    for (at, text) in moments {
        // A step that ends is no pause.
        if text.contains("done in") {
            last = None;
        }
        if text.contains("/s") && text.contains("left") {
            longest = longest.max(last.map_or(Duration::ZERO, |last| at - last));
            last = Some(at);
        }
    }
    if longest.is_zero() { Err("no progress was shown".into()) } else { Ok(longest.as_secs_f64()) }
}

fn restore(program: &Path, lab: &Lab) -> Command {
    let mut command = operators_command(program, lab);
    command.args(["101", "--force"]);
    command
}

/// Whether the node has begun a command.
fn works_on(lab: &Lab, program: &str) -> std::io::Result<bool> {
    Ok(lab.journal()?.iter().any(|entry| entry["argv"][0] == program))
}

fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while !holds()? {
        if begun.elapsed() > LIMIT {
            return Err(format!("waited {} s for {what}", LIMIT.as_secs()).into());
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}
