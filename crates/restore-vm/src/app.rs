//! The program: look, decide, and hand the plan to the engine.

use std::{
    cell::RefCell,
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use restore_common::{
    homelab::{Environment, GuestChecks, Project},
    interrupt::Interrupt,
    procedure::{Exit, Interrupted, Report, Session, TerminalReporter, carry_out, refuse},
    remote::{Host, ReadOnly},
    ui::{self, ProgressMode, Prompt},
};

use crate::{
    args::Args,
    assignment::Restore,
    decide::{Known, decide},
    list, nodes, plan, recover,
};

/// Runs the program to its end and gives its exit code.
pub fn run(args: &Args) -> ExitCode {
    let common = &args.common;
    common.color.apply();
    ui::init_log(ui::level(common.verbose, common.quiet));
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            complain(&format!("cannot listen for Ctrl-C: {error}"));
            return Exit::NothingChanged.into();
        }
    };
    let mode = ProgressMode::choose(common.json, common.quiet);
    let reporter = TerminalReporter::new(mode, common.json || (common.quiet && common.force));
    let target = args.target_id.unwrap_or(args.vmid);
    let mut session = Session {
        program: "restore-vm",
        version: env!("CARGO_PKG_VERSION"),
        dry_run: common.dry_run,
        yes: common.force,
        journals: state_folder().join("pve-restore/runs"),
        journal_name: format!("restore-vm-{target}"),
        again: format!("restore-vm {target}"),
        over: Vec::new(),
        interrupt: &interrupt,
        reporter: &reporter,
        prompt: RefCell::new(Prompt::new(interrupt.clone())),
    };
    let title = format!("Restore guest {}", args.vmid);
    let outcome = restore_or_recover(args, &mut session, &title);
    match outcome
        .unwrap_or_else(|error| Outcome::Report(Box::new(refuse(&session, &title, Vec::new(), Some(&error)))))
    {
        Outcome::List(text) => print(&text, Exit::Done),
        Outcome::Report(report) => print_report(&report, common.json),
    }
}

/// `$XDG_STATE_HOME`, else `~/.local/state`.
fn state_folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_STATE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".local/state"))
}

/// What an earlier run left comes first: it goes on, or back, or it keeps this one from beginning.
fn restore_or_recover(args: &Args, session: &mut Session<'_>, title: &str) -> anyhow::Result<Outcome> {
    let report = |report| Ok(Outcome::Report(Box::new(report)));
    if !args.list {
        let history = recover::history(args, session)?;
        session.over = history.over;
        if args.resume || args.rollback {
            return report(recover::carry_on(args, session, history.open, title)?);
        }
        if let Some(open) = history.open {
            let problem = recover::problem(args, session, &open)?;
            return report(refuse(session, title, vec![problem], None));
        }
    }
    look_and_restore(args, session, title)
}

enum Outcome {
    List(String),
    Report(Box<Report>),
}

fn look_and_restore(args: &Args, session: &Session<'_>, title: &str) -> anyhow::Result<Outcome> {
    let refused = |problems| Ok(Outcome::Report(Box::new(refuse(session, title, problems, None))));
    let cwd = env::current_dir()?;
    let project = Project::find(args.common.project.as_deref(), &|name| env::var_os(name), &cwd)?;
    let environments = project.selected(args.common.env.as_deref())?;
    let survey = nodes::survey(args, &environments)?;
    let reached = match nodes::pick(args, survey) {
        Ok(reached) => reached,
        Err(problems) => return refused(problems),
    };
    if args.list {
        let text = if args.common.json {
            list::json(&reached, args.vmid)? + "\n"
        } else {
            list::text(&reached.look, args.vmid)
        };
        return Ok(Outcome::List(text));
    }
    let host: &dyn Host = &reached.host;
    let known = |name: Option<&str>| known(args, &project, &environments, &reached, name);
    let assignment = match decide(args, &ReadOnly(host), &reached.look, &known)? {
        Ok(assignment) => assignment,
        Err(problems) => return refused(problems),
    };
    if session.interrupt.requested() {
        return Err(Interrupted.into());
    }
    let plan = plan::build(&assignment, reached.look.facts.time);
    let read_only = ReadOnly(host);
    let host = if session.dry_run { &read_only } else { host };
    let mut restore = Restore::new(host, assignment);
    Ok(Outcome::Report(Box::new(carry_out(session, plan, &mut restore))))
}

/// What the project says about the guest: by its VMID in `restore.toml`, by its name in the tfvars.
fn known(
    args: &Args,
    project: &Project,
    environments: &[Environment],
    reached: &nodes::Reached,
    name: Option<&str>,
) -> Known {
    let checks = project.checks(args.vmid);
    // Environments may share a node: the guest's name tells which one it belongs to.
    let own = environments.iter().find_map(|e| name.and_then(|n| e.guest(n)).map(|guest| (e.name(), guest)));
    let declared = own.and_then(|(_, guest)| guest.address.clone());
    Known {
        environment: own.map_or(reached.node.environment.as_str(), |(environment, _)| environment).to_owned(),
        reached_by: reached.node.environment.clone(),
        proof: GuestChecks { address: checks.address.or(declared), ..checks },
    }
}

fn print_report(report: &Report, json: bool) -> ExitCode {
    if !json {
        return print(&report.text(), report.outcome);
    }
    match serde_json::to_string_pretty(report) {
        Ok(text) => print(&(text + "\n"), report.outcome),
        Err(error) => {
            complain(&format!("cannot write the report as JSON: {error}"));
            report.outcome.into()
        }
    }
}

/// Says what is wrong on standard error. A terminal that is gone must not change the exit code.
fn complain(words: &str) {
    let _ = writeln!(io::stderr(), "error: {words}");
}

/// Prints to standard output. A closed pipe loses the text and changes nothing about what was done.
fn print(text: &str, exit: Exit) -> ExitCode {
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        complain(&format!("cannot print the report: {error}"));
    }
    exit.into()
}
