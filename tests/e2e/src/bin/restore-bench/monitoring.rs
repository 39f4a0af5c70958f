//! What a proof of the monitoring stack takes, and what `rebuild-monitoring` itself takes of a restore.

use std::{
    error::Error,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use restore_lab::{
    lab::{Lab, LabBuilder, MONITORING},
    monitoring::{Options, Stack, is_installed},
};

use crate::{RUNS, figure::Figure, restores::operators_command, watch};

/// Between two looks at whether the stack is up.
const PAUSE: Duration = Duration::from_millis(10);

/// Both figures; none where the real services are not installed.
pub fn figures(program: &Path) -> Result<Vec<Figure>, Box<dyn Error>> {
    if !is_installed()? {
        return Ok(Vec::new());
    }
    let proofs = proofs(program)?;
    let restores: Vec<f64> = (0..RUNS).map(|_| restore(program)).collect::<Result<_, _>>()?;
    Ok(vec![
        Figure::at_most("monitoring: proof of a healthy stack", "s", 2.0, proofs),
        Figure::at_most("monitoring: own share of a restore", "s", 2.0, restores),
    ])
}

fn lab() -> Result<Lab, Box<dyn Error>> {
    let lab = LabBuilder::new().small().monitoring(Options::default()).start()?;
    stack(&lab)?.wait_until_ready()?;
    Ok(lab)
}

fn stack(lab: &Lab) -> Result<&Stack, Box<dyn Error>> {
    Ok(lab.stack().ok_or("the lab has no stack")?)
}

fn run(program: &Path, lab: &Lab, words: &[&str]) -> Result<f64, Box<dyn Error>> {
    Ok(watch::run(operators_command(program, lab).args(words), &[0])?.seconds)
}

fn proofs(program: &Path) -> Result<Vec<f64>, Box<dyn Error>> {
    let lab = lab()?;
    (0..RUNS).map(|_| run(program, &lab, &["--check-only"])).collect()
}

/// The whole, without what the node works and without the time until the services that were started are ready.
fn restore(program: &Path) -> Result<f64, Box<dyn Error>> {
    let lab = lab()?;
    lab.on_node(&["qm", "stop", &MONITORING.to_string()])?;
    lab.break_disk(MONITORING)?;
    let stack = stack(&lab)?;
    let until = |is_up: bool| {
        while stack.is_up() != is_up {
            thread::park_timeout(PAUSE);
        }
    };
    until(false);
    let node_seconds = lab.execution_seconds()?;
    let (whole, starting) = thread::scope(|scope| {
        let starting = scope.spawn(|| {
            until(true);
            let started = Instant::now();
            stack.wait_until_ready().map(|()| started.elapsed().as_secs_f64())
        });
        let whole = run(program, &lab, &["--yes", "--json"]).map_err(|error| error.to_string());
        (whole, starting.join())
    });
    let starting = starting.map_err(|_| "the look at the stack ended unexpectedly")??;
    Ok(whole? - starting - (lab.execution_seconds()? - node_seconds))
}
