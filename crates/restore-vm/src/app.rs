//! The program: look, decide, and hand the plan to the engine.

use std::{cell::RefCell, env, process::ExitCode};

use restore_common::{
    cli::{complain, journals, print, print_report},
    contact::connect_all,
    homelab::{Environment, GuestChecks, Project},
    interrupt::Interrupt,
    procedure::{Exit, Interrupted, Problem, Report, Reporter, Session, TerminalReporter, carry_out, refuse},
    pve::Vmid,
    remote::{Host, ReadOnly},
    ui::{self, ProgressMode, Prompt},
};

use crate::{
    args::{Args, Cli, Options},
    assignment::{Assignment, Restore},
    decide::{Known, decide},
    list, nodes, plan, recover, select, several,
};

/// What is the same for every guest of a run.
pub struct Frame<'a> {
    /// The options.
    pub options: &'a Options,
    /// Ctrl-C.
    pub interrupt: Interrupt,
    /// How progress is shown.
    pub mode: ProgressMode,
}

impl Frame<'_> {
    /// Draws what happens.
    pub fn reporter(&self) -> TerminalReporter {
        let common = &self.options.common;
        TerminalReporter::new(self.mode, common.json || (common.quiet && common.force))
    }

    /// The run for one guest, by the number that it gets.
    pub fn session<'s>(&'s self, target: Vmid, reporter: &'s dyn Reporter) -> Session<'s> {
        Session {
            program: PROGRAM,
            version: VERSION,
            dry_run: self.options.common.dry_run,
            yes: self.options.common.force,
            agreed: false,
            journals: journals(),
            journal_name: format!("{PROGRAM}-{target}"),
            again: format!("{PROGRAM} {target}"),
            over: Vec::new(),
            interrupt: &self.interrupt,
            reporter,
            prompt: RefCell::new(Prompt::new(self.interrupt.clone())),
        }
    }
}

/// Name of the program.
pub const PROGRAM: &str = "restore-vm";
/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the program to its end and gives its exit code.
pub fn run(cli: &Cli) -> ExitCode {
    let common = &cli.options.common;
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
    let frame = Frame { options: &cli.options, interrupt, mode };
    match (select::named(cli), &cli.tag, &cli.pool) {
        (Err(error), ..) => {
            complain(&error.to_string());
            Exit::Usage.into()
        }
        (Ok(guests), None, None) if guests.is_empty() => {
            complain("the list names no guest");
            Exit::Usage.into()
        }
        (Ok(guests), None, None) if guests.len() == 1 => {
            one(&frame, &Args { vmid: guests[0], options: cli.options.clone() })
        }
        (Ok(guests), ..) => match only_for_one(cli) {
            Some(option) => {
                complain(&format!("`{option}` is for one guest at a time"));
                Exit::Usage.into()
            }
            None => several::run(&frame, cli, guests),
        },
    }
}

/// An option that makes no sense for several guests.
fn only_for_one(cli: &Cli) -> Option<&'static str> {
    let options = &cli.options;
    let given = [
        (options.archive.is_some(), "--archive"),
        (options.target_id.is_some(), "--target-id"),
        (options.resume, "--resume"),
        (options.rollback, "--rollback"),
    ];
    given.into_iter().find_map(|(given, option)| given.then_some(option))
}

fn one(frame: &Frame<'_>, args: &Args) -> ExitCode {
    let reporter = frame.reporter();
    let mut session = frame.session(args.target_id.unwrap_or(args.vmid), &reporter);
    let title = format!("Restore guest {}", args.vmid);
    let outcome = restore_or_recover(args, &mut session, &title);
    match outcome
        .unwrap_or_else(|error| Outcome::Report(Box::new(refuse(&session, &title, Vec::new(), Some(&error)))))
    {
        Outcome::List(text) => print(&text, Exit::Done),
        Outcome::Report(report) => print_report(&report, args.common.json),
    }
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
    let homelab = Homelab::find(&args.options)?;
    let contacts = connect_all(&args.options.common, &homelab.environments, args.options.node.as_slice())?;
    let survey = nodes::survey(&args.options, &contacts, &[args.vmid])?.remove(0);
    let reached = match nodes::pick(args, survey) {
        Ok(reached) => reached,
        Err(problems) => return refused(problems),
    };
    if args.list {
        return Ok(Outcome::List(listed(args, &reached)?));
    }
    let assignment = match homelab.decide(args, &reached)? {
        Ok(assignment) => assignment,
        Err(problems) => return refused(problems),
    };
    if session.interrupt.requested() {
        return Err(Interrupted.into());
    }
    Ok(Outcome::Report(Box::new(restore(session, &reached, assignment))))
}

/// The backups of one guest.
pub fn listed(args: &Args, reached: &nodes::Reached) -> serde_json::Result<String> {
    if args.common.json {
        return list::json(reached, args.vmid);
    }
    Ok(list::text(&reached.look, args.vmid))
}

/// Carries out what was decided for one guest.
pub fn restore(session: &Session<'_>, reached: &nodes::Reached, assignment: Assignment) -> Report {
    let host: &dyn Host = reached.host.as_ref();
    let read_only = ReadOnly(host);
    let host = if session.dry_run { &read_only } else { host };
    let plan = plan::build(&assignment, reached.look.facts.time);
    carry_out(session, plan, &mut Restore::new(host, assignment))
}

/// The project, as far as a run is about it.
pub struct Homelab {
    project: Project,
    /// Its environments.
    pub environments: Vec<Environment>,
}

impl Homelab {
    /// Finds and reads it.
    pub fn find(options: &Options) -> anyhow::Result<Self> {
        let cwd = env::current_dir()?;
        let project = Project::find(options.common.project.as_deref(), &|name| env::var_os(name), &cwd)?;
        let environments = project.selected(options.common.env.as_deref())?;
        Ok(Self { project, environments })
    }

    /// Decides every part of the restore of one guest; see [`decide`].
    pub fn decide(
        &self,
        args: &Args,
        reached: &nodes::Reached,
    ) -> anyhow::Result<Result<Assignment, Vec<Problem>>> {
        let known = |name: Option<&str>| known(args, &self.project, &self.environments, reached, name);
        decide(args, &ReadOnly(reached.host.as_ref()), &reached.look, &known)
    }
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
