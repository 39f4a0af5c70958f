//! What a restore costs in connections, executions, time and memory.

use std::{
    error::Error,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use restore_lab::lab::Lab;

use crate::{RUNS, figure::Figure, watch::watch};

/// What one restore cost.
struct Cost {
    connections: f64,
    look: f64,
    executions: f64,
    own_seconds: f64,
    wall_seconds: f64,
    memory: f64,
}

/// What a restore costs.
pub fn restores(program: &Path, vmid: u32, kind: &str) -> Result<Vec<Figure>, Box<dyn Error>> {
    let costs: Vec<Cost> = (0..RUNS).map(|_| restore(program, vmid)).collect::<Result<_, _>>()?;
    let figure = |what: &'static str, unit, asked, value: fn(&Cost) -> f64| {
        Figure::at_most(what, unit, asked, costs.iter().map(value).collect())
    };
    let is_vm = kind == "VM";
    let name = |vm: &'static str, ct: &'static str| if is_vm { vm } else { ct };
    Ok(vec![
        figure(name("VM: SSH connections", "container: SSH connections"), "", 1.0, |c| c.connections),
        figure(
            name("VM: executions before the question", "container: executions before the question"),
            "",
            6.0,
            |c| c.look,
        ),
        figure(name("VM: executions in all", "container: executions in all"), "", 25.0, |c| c.executions),
        figure(name("VM: the program's own share", "container: the program's own share"), "s", 1.0, |c| {
            c.own_seconds
        }),
        figure(name("VM: whole restore", "container: whole restore"), "s", 300.0, |c| c.wall_seconds),
        figure(name("VM: resident memory", "container: resident memory"), "MB", 30.0, |c| c.memory),
    ])
}

#[allow(clippy::cast_precision_loss)]
fn restore(program: &Path, vmid: u32) -> Result<Cost, Box<dyn Error>> {
    let lab = Lab::start()?;
    let run = |words: &[&str]| -> Result<(f64, f64), Box<dyn Error>> {
        let started = Instant::now();
        let mut command = operators_command(program, &lab);
        let child =
            command.arg(vmid.to_string()).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let memory = watch(child, &[0])?;
        Ok((started.elapsed().as_secs_f64(), memory))
    };
    run(&["--dry-run"])?;
    let look = lab.executions()?.len() as f64;
    let node_seconds = lab.execution_seconds()?;
    let connections = lab.server().map_or(0, restore_lab::ssh::Embedded::connections);
    let (wall_seconds, memory) = run(&["--force", "--json"])?;
    Ok(Cost {
        connections: (lab.server().map_or(0, restore_lab::ssh::Embedded::connections) - connections) as f64,
        look,
        executions: lab.executions()?.len() as f64 - look,
        own_seconds: wall_seconds - (lab.execution_seconds()? - node_seconds),
        wall_seconds,
        memory,
    })
}

/// The program as the operator of a lab has it: in the project, with nothing in its environment that is not of the lab.
pub fn operators_command(program: &Path, lab: &Lab) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(lab.operator().variables()).current_dir(lab.operator().project());
    command
}
