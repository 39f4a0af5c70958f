//! The program: look at every node at the same time, read what is to be read, and report.

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use restore_common::{
    cli::{complain, print, print_json, state_folder},
    contact::connect_all,
    homelab::{Environment, Project},
    interrupt::Interrupt,
    procedure::Interrupted,
    ui::{self, ProgressMode},
};

use crate::{
    args::Cli,
    deep::{self, Place},
    ledger::Ledger,
    local,
    nodes::{self, Looked, Scope},
    report::{self, BucketPart, Level, NodePart, Report},
    states,
};

/// Name of the program.
pub const PROGRAM: &str = "verify-backups";
/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Exit codes; `--help` says what they mean.
const ERRORS: u8 = 2;
const INTERRUPTED: u8 = 130;

/// How often Ctrl-C is looked for.
const TICK: Duration = Duration::from_millis(50);
/// Columns where there is no terminal.
const WIDTH: usize = 80;

/// What is the same for every part of a run.
pub struct Frame<'a> {
    /// The options.
    pub cli: &'a Cli,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// How progress is shown.
    pub mode: ProgressMode,
    /// The folder of all that is kept on this machine.
    pub state: PathBuf,
}

/// Runs the program to its end and gives its exit code.
pub fn run(cli: &Cli) -> ExitCode {
    let common = &cli.common;
    common.color.apply();
    ui::init_log(ui::level(common.verbose, common.quiet));
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            complain(&format!("cannot listen for Ctrl-C: {error}"));
            return ExitCode::from(ERRORS);
        }
    };
    let mode = ProgressMode::choose(common.json, common.quiet);
    let frame = Frame { cli, interrupt, mode, state: state_folder() };
    match check(&frame) {
        Ok(report) => show(&frame, &report),
        Err(error) if error.is::<Interrupted>() => {
            complain("interrupted; nothing on any node was changed");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::from(ERRORS)
        }
    }
}

/// Everything that was asked for, one part after the other.
fn check(frame: &Frame<'_>) -> anyhow::Result<Report> {
    let (began, started) = (Timestamp::now(), Instant::now());
    let ledger = Ledger::open(&frame.state)?;
    let (nodes, buckets) = match &frame.cli.local {
        Some(folder) => (vec![local::look(frame, folder, &ledger)?], Vec::new()),
        None => homelab(frame, &ledger)?,
    };
    if frame.interrupt.requested() {
        return Err(Interrupted.into());
    }
    Ok(Report {
        began,
        took: started.elapsed(),
        level: if frame.cli.reads_all() { Level::Deep } else { Level::Quick },
        nodes,
        buckets,
    })
}

/// The nodes of the project, and the states of its environments meanwhile.
fn homelab(frame: &Frame<'_>, ledger: &Ledger) -> anyhow::Result<(Vec<NodePart>, Vec<BucketPart>)> {
    let cli = frame.cli;
    let project =
        Project::find(cli.common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
    let environments = project.selected(cli.common.env.as_deref())?;
    thread::scope(|scope| {
        let states = (!cli.no_state).then(|| scope.spawn(|| states::look(frame, &project, &environments)));
        let mut looked = look(frame, environments.clone())?;
        if cli.reads_all() {
            deep::read_nodes(frame, &mut places(&mut looked), ledger)?;
        } else {
            for looked in &mut looked {
                deep::recall(&mut looked.part, ledger);
            }
        }
        let ended = || anyhow::anyhow!("the look at the states ended unexpectedly");
        let buckets = states.map(|thread| thread.join().map_err(|_| ended())).transpose()?;
        let nodes = looked.into_iter().map(|looked| looked.part).collect();
        Ok((nodes, buckets.unwrap_or_default()))
    })
}

/// The nodes that answered, for the deep reading.
fn places(looked: &mut [Looked]) -> Vec<Place<'_>> {
    let answered = looked.iter_mut().filter_map(|looked| {
        let host = looked.contact.host.as_ref().ok()?.as_ref();
        looked.look.as_ref().map(|_| Place { host, part: &mut looked.part })
    });
    answered.collect()
}

/// The quick look at every node. It only reads, so it is the same with `--dry-run`, and Ctrl-C need not wait for it.
fn look(frame: &Frame<'_>, environments: Vec<Environment>) -> anyhow::Result<Vec<Looked>> {
    let cli = frame.cli;
    let scope = Scope {
        nodes: cli.node.clone(),
        storage: cli.storage.clone(),
        vmids: cli.vmid.clone(),
        max_age: cli.max_age,
    };
    let common = cli.common.clone();
    let looked = unless_interrupted(&frame.interrupt, move || {
        nodes::look(connect_all(&common, &environments, &scope.nodes)?, &scope)
    })?;
    if looked.is_empty() {
        let names: Vec<_> = cli.node.iter().map(ToString::to_string).collect();
        anyhow::bail!("no node of the project is named {}", names.join(" or "));
    }
    Ok(looked)
}

/// Does something that only reads, and leaves it alone when the operator wants to stop.
fn unless_interrupted<R: Send + 'static>(
    interrupt: &Interrupt,
    act: impl FnOnce() -> anyhow::Result<R> + Send + 'static,
) -> anyhow::Result<R> {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(act()));
    loop {
        if interrupt.requested() {
            return Err(Interrupted.into());
        }
        match result.recv_timeout(TICK) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the look at the nodes ended unexpectedly"),
        }
    }
}

/// Prints the report, writes the files that were asked for, and gives the exit code that it deserves.
fn show(frame: &Frame<'_>, report: &Report) -> ExitCode {
    let cli = frame.cli;
    let files = [(&cli.metrics, report::metrics as fn(&Report) -> String), (&cli.html, report::page)];
    let mut exit = report.exit_code();
    for (path, make) in files {
        if let Some(path) = path
            && let Err(error) = report::write(path, &make(report))
        {
            complain(&format!("{error:#}"));
            exit = ERRORS;
        }
    }
    if cli.common.json {
        return print_json(&report::json(report), ExitCode::from(exit));
    }
    let terminal = console::Term::stdout();
    let width = if terminal.is_term() { usize::from(terminal.size().1) } else { WIDTH };
    print(&report::text(report, width, cli.common.verbose > 0), ExitCode::from(exit))
}
