//! Measures every figure that this project promises, in one run, and shows them beside what was asked for.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use restore_lab::lab::{CT, Lab, VM};

/// Runs of each measurement; the median counts, the spread is shown.
const RUNS: usize = 5;

/// One figure.
struct Figure {
    what: &'static str,
    unit: &'static str,
    /// At most this much was asked for.
    asked: f64,
    values: Vec<f64>,
}

impl Figure {
    fn median(&self) -> f64 {
        self.sorted()[self.values.len() / 2]
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn spread(&self) -> (f64, f64) {
        let values = self.sorted();
        (values[0], values[values.len() - 1])
    }

    fn holds(&self) -> bool {
        self.median() <= self.asked
    }
}

fn main() -> ExitCode {
    let json = std::env::args().any(|word| word == "--json");
    match measure() {
        Ok(figures) => {
            if json {
                println!("{:#}", as_json(&figures));
            } else {
                print_table(&figures);
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
    figures.extend(restores(&program, VM, "VM")?);
    figures.extend(restores(&program, CT, "container")?);
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

/// What one restore cost.
struct Cost {
    connections: f64,
    look: f64,
    executions: f64,
    own_seconds: f64,
    wall_seconds: f64,
    memory: f64,
}

fn restores(program: &Path, vmid: u32, kind: &str) -> Result<Vec<Figure>, Box<dyn Error>> {
    let costs: Vec<Cost> = (0..RUNS).map(|_| restore(program, vmid)).collect::<Result<_, _>>()?;
    let figure = |what: &'static str, unit, asked, value: fn(&Cost) -> f64| Figure {
        what,
        unit,
        asked,
        values: costs.iter().map(value).collect(),
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
        let mut command = Command::new(program);
        command.arg(vmid.to_string()).args(words).env_clear().envs(lab.operator().variables());
        let child = command
            .current_dir(lab.operator().project())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let memory = watch(child)?;
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

/// Waits for the end and gives the most memory that was resident, in MB. Source: `VmHWM` of proc(5).
#[allow(clippy::cast_precision_loss)]
fn watch(mut child: Child) -> Result<f64, Box<dyn Error>> {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0_u64;
    loop {
        if let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let now = line.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
            most = most.max(now.unwrap_or(0));
        }
        if let Some(status) = child.try_wait()? {
            return if status.success() {
                Ok(most as f64 * 1024.0 / 1e6)
            } else {
                Err(format!("restore-vm: {status}").into())
            };
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn print_table(figures: &[Figure]) {
    println!("{:<42} {:>9} {:>9} {:>19}", "figure", "at most", "median", "spread");
    for figure in figures {
        let (least, most) = figure.spread();
        println!(
            "{:<42} {:>9} {:>9.2} {:>19}  {}",
            format!(
                "{} {}",
                figure.what,
                if figure.unit.is_empty() { String::new() } else { format!("({})", figure.unit) }
            ),
            figure.asked,
            figure.median(),
            format!("{least:.2} – {most:.2}"),
            if figure.holds() { "" } else { "TOO MUCH" }
        );
    }
    println!("\n{}", machine());
}

fn as_json(figures: &[Figure]) -> serde_json::Value {
    let figure = |f: &Figure| {
        let (least, most) = f.spread();
        serde_json::json!({ "figure": f.what, "unit": f.unit, "at_most": f.asked, "median": f.median(),
            "least": least, "most": most, "runs": f.values.len(), "holds": f.holds() })
    };
    serde_json::json!({ "machine": machine(), "figures": figures.iter().map(figure).collect::<Vec<_>>() })
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m.to_owned()));
    format!("{cpus} processors ({}), {}", model.unwrap_or_default(), std::env::consts::OS)
}
