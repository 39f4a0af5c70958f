//! The program: look at every node at the same time, read what is to be read, and report.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use restore_common::{
    cli::{complain, print, print_json, state_folder},
    contact::connect_all,
    homelab::{Environment, Project},
    interrupt::Interrupt,
    ledger::Ledger,
    procedure::{Interrupted, TerminalReporter},
    state::Cache,
    ui::{self, ProgressMode},
};

use crate::{
    args::Cli,
    deep::{self, Place},
    drill, local,
    nodes::{self, Looked, Scope},
    ready,
    report::{self, BucketPart, Level, NodePart, Report, ServicePart},
    running::{self, Known},
    services, shared, states,
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

impl Frame<'_> {
    /// A report that has nothing in it yet.
    fn report(&self) -> Report {
        Report {
            began: Timestamp::now(),
            took: Duration::ZERO,
            level: match (self.cli.ready, self.cli.reads_all()) {
                (true, _) => Level::Ready,
                (false, true) => Level::Deep,
                (false, false) => Level::Quick,
            },
            nodes: Vec::new(),
            buckets: Vec::new(),
            ready: Vec::new(),
            services: Vec::new(),
            error: None,
        }
    }

    /// Draws what a drill does.
    pub fn reporter(&self) -> TerminalReporter {
        let common = &self.cli.common;
        TerminalReporter::new(self.mode, common.json || (common.quiet && common.force))
    }
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
            complain("interrupted; nothing on any node is other than it was before");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            let exit = ExitCode::from(ERRORS);
            if !common.json {
                return exit;
            }
            let report = Report { error: Some(format!("{error:#}")), ..frame.report() };
            print_json(&report::json(&report, ERRORS), exit)
        }
    }
}

/// Everything that was asked for, one part after the other.
fn check(frame: &Frame<'_>) -> anyhow::Result<Report> {
    let started = Instant::now();
    let report = frame.report();
    if frame.cli.ready {
        let ready = ready::look(frame)?;
        return Ok(Report { ready, took: started.elapsed(), ..report });
    }
    if frame.cli.drill.is_some() {
        drill::can_ask(frame)?;
    }
    let ledger = Ledger::open(&frame.state)?;
    let Homelab { nodes, buckets, services } = match &frame.cli.local {
        Some(folder) => Homelab { nodes: vec![local::look(frame, folder, &ledger)?], ..Homelab::default() },
        None => homelab(frame, &ledger)?,
    };
    if frame.interrupt.requested() {
        return Err(Interrupted.into());
    }
    Ok(Report { nodes, buckets, services, took: started.elapsed(), ..report })
}

/// What was found in a homelab.
#[derive(Default)]
struct Homelab {
    nodes: Vec<NodePart>,
    buckets: Vec<BucketPart>,
    services: Vec<ServicePart>,
}

/// The nodes of the project, and the states and services of its environments meanwhile.
fn homelab(frame: &Frame<'_>, ledger: &Ledger) -> anyhow::Result<Homelab> {
    let cli = frame.cli;
    let project =
        Project::find(cli.common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
    let project = Arc::new(project);
    let environments = project.selected(cli.common.env.as_deref())?;
    thread::scope(|scope| {
        let states = (!cli.no_state).then(|| scope.spawn(|| look_at_states(frame, &project, &environments)));
        let services = cli.full.then(|| scope.spawn(|| services::look(frame, &project, &environments)));
        let mut looked = look(frame, environments.clone())?;
        shared::moved(&mut looked, cli.max_age);
        shared::once(&mut looked);
        if let Some(named) = &cli.drill {
            drill::all_known(named, &looked)?;
        }
        if cli.full {
            running::look(&mut looked, &Known { project: &project, environments: &environments })?;
        }
        if cli.reads_all() {
            deep::read_nodes(frame, &mut places(&mut looked), ledger)?;
        } else {
            for looked in &mut looked {
                deep::recall(&mut looked.part, ledger);
            }
        }
        if cli.drill.is_some() {
            drill::run(frame, &project, &mut looked, ledger)?;
        }
        for looked in &mut looked {
            drill::recall(&mut looked.part, ledger);
        }
        Ok(Homelab {
            nodes: looked.into_iter().map(|looked| looked.part).collect(),
            buckets: joined(states, "states")?.transpose()?.unwrap_or_default(),
            services: joined(services, "services")?.unwrap_or_default(),
        })
    })
}

/// What a thread has found, if there was one.
fn joined<T>(thread: Option<thread::ScopedJoinHandle<'_, T>>, what: &str) -> anyhow::Result<Option<T>> {
    let ended = |_| anyhow::anyhow!("the look at the {what} ended unexpectedly");
    thread.map(|thread| thread.join().map_err(ended)).transpose()
}

/// The states of the environments. A server that hangs is not waited for after Ctrl-C.
fn look_at_states(
    frame: &Frame<'_>,
    project: &Arc<Project>,
    environments: &[Environment],
) -> anyhow::Result<Vec<BucketPart>> {
    let cache = (!frame.cli.common.dry_run).then(|| Cache::new(&frame.state));
    let (project, environments) = (Arc::clone(project), environments.to_vec());
    let interrupt = frame.interrupt.clone();
    unless_interrupted(&frame.interrupt, move || Ok(states::look(&project, &environments, cache, &interrupt)))
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
    let asked = scope.clone();
    let looked = unless_interrupted(&frame.interrupt, move || {
        nodes::look(connect_all(&common, &environments, &asked.nodes)?, &asked)
    })?;
    if looked.is_empty() {
        return Err(nodes::unknown(&cli.node));
    }
    nodes::all_known(&looked, &scope)?;
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
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("a look ended unexpectedly"),
        }
    }
}

/// Prints the report, writes the files that were asked for, and gives the exit code that it deserves.
fn show(frame: &Frame<'_>, report: &Report) -> ExitCode {
    let cli = frame.cli;
    let written = |path: &Path, text: &str| match report::write(path, text) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("{error:#}"));
            ERRORS
        }
    };
    let mut exit = report.exit_code();
    if let Some(path) = &cli.html {
        exit = exit.max(written(path, &report::page(report)));
    }
    // The last of the files, because it tells how the program ends.
    if let Some(path) = &cli.metrics {
        exit = exit.max(written(path, &report::metrics(report, exit)));
    }
    if cli.common.json {
        return print_json(&report::json(report, exit), ExitCode::from(exit));
    }
    let terminal = console::Term::stdout();
    let width = if terminal.is_term() { usize::from(terminal.size().1) } else { WIDTH };
    print(&report::text(report, width, cli.common.verbose > 0), ExitCode::from(exit))
}
