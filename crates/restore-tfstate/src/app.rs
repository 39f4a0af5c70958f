//! The program: which states it is about, and what is done with each.

use std::{cell::RefCell, env, process::ExitCode};

use jiff::{Timestamp, tz::TimeZone};
use restore_common::{
    cli::{complain, journals, print, print_json, print_report},
    homelab::{Environment, Project},
    interrupt::Interrupt,
    procedure::{Exit, Problem, Recovery, Report, Reporter, Session, TerminalReporter, refuse, settled},
    remote::{Host, ReadOnly},
    state::{Diff, Entry},
    terraform::Terraform,
    ui::{self, Answer, ProgressMode, Prompt, sanitize},
};
use serde::Serialize;

use crate::{
    args::Cli,
    decided::Decided,
    fallback, home, imports, list,
    pull::{Pulled, pull},
    recover, restore,
    select::Selector,
    show,
    site::{DEFAULT_WORKSPACE, Site},
    work::journal_name,
};

/// Name of the program.
pub const PROGRAM: &str = "restore-tfstate";
/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is the same for every state of a run.
struct Frame<'a> {
    cli: &'a Cli,
    interrupt: Interrupt,
    mode: ProgressMode,
    project: Project,
}

/// Runs the program to its end and gives its exit code.
pub fn run(cli: &Cli) -> ExitCode {
    let common = &cli.common;
    common.color.apply();
    ui::init_log(ui::level(common.verbose, common.quiet));
    let begun = Interrupt::install().map_err(anyhow::Error::from).and_then(|interrupt| {
        let mode = ProgressMode::choose(common.json, common.quiet);
        let project =
            Project::find(common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
        Ok(Frame { cli, interrupt, mode, project })
    });
    let frame = match begun {
        Ok(frame) => frame,
        Err(error) => {
            complain(&format!("{error:#}"));
            return Exit::NothingChanged.into();
        }
    };
    match frame.environments() {
        Ok(Ok(environments)) => frame.run(&environments),
        Ok(Err(usage)) => {
            complain(&usage);
            Exit::Usage.into()
        }
        Err(error) => {
            complain(&format!("{error:#}"));
            Exit::NothingChanged.into()
        }
    }
}

/// A state that can be worked on, or why not.
type Found = anyhow::Result<Result<Site, Problem>>;

impl Frame<'_> {
    /// The environments that the run is about; else what is wrong with the command line.
    fn environments(&self) -> anyhow::Result<Result<Vec<Environment>, String>> {
        if self.cli.all || self.cli.common.env.is_some() {
            return Ok(Ok(self.project.selected(self.cli.common.env.as_deref())?));
        }
        let mut all = self.project.selected(None)?;
        if all.len() == 1 {
            return Ok(Ok(vec![all.remove(0)]));
        }
        let names: Vec<_> =
            all.iter().map(|environment| format!("`{}`", sanitize(environment.name()))).collect();
        Ok(Err(format!("which environment? choose with `--env`: {}", names.join(", "))))
    }

    fn run(&self, environments: &[Environment]) -> ExitCode {
        let cli = self.cli;
        let sites: Vec<(&Environment, Found)> = environments
            .iter()
            .map(|environment| {
                (
                    environment,
                    Site::find(&self.project, environment, cli.workspace.as_deref(), cli.common.dry_run),
                )
            })
            .collect();
        if cli.list {
            return self.list(sites);
        }
        if cli.pull {
            return self.pull(sites);
        }
        if let Some(wanted) = &cli.show {
            return self.versions(sites, &[wanted], |site, entries| {
                Ok(show::document(site, entries[0])?.map(|(document, _)| {
                    let shown = show::shown(site, entries[0], &document);
                    let text = shown.text();
                    if cli.common.json { print_json(&shown, Exit::Done) } else { print(&text, Exit::Done) }
                }))
            });
        }
        if let Some(wanted) = &cli.diff {
            let wanted: Vec<_> = wanted.iter().collect();
            return self.versions(sites, &wanted, |site, entries| self.diff(site, entries[0], entries[1]));
        }
        self.work(&sites)
    }

    fn session<'s>(
        &'s self,
        environment: &str,
        workspace: &str,
        again: String,
        reporter: &'s dyn Reporter,
    ) -> Session<'s> {
        let common = &self.cli.common;
        Session {
            program: PROGRAM,
            version: VERSION,
            dry_run: common.dry_run,
            yes: common.force,
            agreed: false,
            journals: journals(),
            journal_name: journal_name(environment, workspace),
            again,
            over: Vec::new(),
            interrupt: &self.interrupt,
            reporter,
            prompt: RefCell::new(Prompt::new(self.interrupt.clone())),
        }
    }

    fn reporter(&self) -> TerminalReporter {
        let common = &self.cli.common;
        TerminalReporter::new(self.mode, common.json || (common.quiet && common.force))
    }

    /// Ends a run that only reads: what is wrong, where something is.
    fn refused(&self, title: &str, problems: Vec<Problem>, error: Option<&anyhow::Error>) -> ExitCode {
        let reporter = self.reporter();
        let session = self.session("", DEFAULT_WORKSPACE, PROGRAM.to_owned(), &reporter);
        print_report(&refuse(&session, title, problems, error), self.cli.common.json)
    }

    /// The sites, or the report that there is something wrong with them. With `--all`, environments without a state in
    /// S3 are said and passed over.
    fn usable(&self, title: &str, sites: Vec<(&Environment, Found)>) -> Result<Vec<Site>, ExitCode> {
        let (mut usable, mut problems) = (Vec::new(), Vec::new());
        for (_, found) in sites {
            match found {
                Ok(Ok(site)) => usable.push(site),
                Ok(Err(problem)) if self.cli.all => log::warn!("left out: {}", problem.what),
                Ok(Err(problem)) => problems.push(problem),
                Err(error) => return Err(self.refused(title, Vec::new(), Some(&error))),
            }
        }
        if usable.is_empty() && problems.is_empty() {
            problems.push(Problem::new("no environment keeps its state in S3"));
        }
        if problems.is_empty() { Ok(usable) } else { Err(self.refused(title, problems, None)) }
    }

    fn list(&self, sites: Vec<(&Environment, Found)>) -> ExitCode {
        let title = "List the versions of a state";
        let sites = match self.usable(title, sites) {
            Ok(sites) => sites,
            Err(exit) => return exit,
        };
        let (mut read, mut exit) = (Vec::new(), Exit::Done);
        for site in &sites {
            match list::read(site) {
                Ok(listed) => read.push((site, listed)),
                Err(error) if self.cli.all => {
                    complain_of(site, &error);
                    exit = Exit::NothingChanged;
                }
                Err(error) => return self.refused(title, Vec::new(), Some(&error)),
            }
        }
        if self.cli.common.json {
            let documents: Vec<_> = read.iter().map(|(site, listed)| list::document(site, listed)).collect();
            return match documents.as_slice() {
                [one] if !self.cli.all => print_json(one, exit),
                several => print_json(several, exit),
            };
        }
        let texts: Vec<_> = read.iter().map(|(site, listed)| list::text(site, listed)).collect();
        print(&texts.join("\n"), exit)
    }

    fn pull(&self, sites: Vec<(&Environment, Found)>) -> ExitCode {
        let title = "Keep copies of states";
        let sites = match self.usable(title, sites) {
            Ok(sites) => sites,
            Err(exit) => return exit,
        };
        let mut pulled = Vec::new();
        let mut exit = Exit::Done;
        for site in &sites {
            match pull(site) {
                Ok(copy) => pulled.push(copy),
                Err(error) => {
                    complain_of(site, &error);
                    exit = Exit::NothingChanged;
                }
            }
        }
        if self.cli.common.json {
            return print_json(&pulled, exit);
        }
        let line =
            |copy: &Pulled| format!("{}: {}, kept in {}\n", copy.environment, copy.what, copy.path.display());
        print(&pulled.iter().map(line).collect::<String>(), exit)
    }

    /// Looks at some versions of one state.
    fn versions(
        &self,
        sites: Vec<(&Environment, Found)>,
        wanted: &[&String],
        act: impl Fn(&Site, &[&Entry]) -> anyhow::Result<Result<ExitCode, Problem>>,
    ) -> ExitCode {
        let title = "Look at versions of a state";
        let site = match self.usable(title, sites) {
            Ok(mut sites) => sites.remove(0),
            Err(exit) => return exit,
        };
        let looked = || -> anyhow::Result<Result<ExitCode, Problem>> {
            let listed = list::read(&site)?;
            let mut entries = Vec::new();
            for text in wanted {
                let selector = Selector::parse(text, Timestamp::now(), &TimeZone::system());
                match selector.and_then(|selector| selector.choose(&listed.history)) {
                    Ok(place) => entries.push(&listed.history[place]),
                    Err(problem) => return Ok(Err(problem)),
                }
            }
            act(&site, &entries)
        };
        match looked() {
            Ok(Ok(exit)) => exit,
            Ok(Err(problem)) => self.refused(title, vec![problem], None),
            Err(error) => self.refused(title, Vec::new(), Some(&error)),
        }
    }

    fn diff(&self, site: &Site, older: &Entry, newer: &Entry) -> anyhow::Result<Result<ExitCode, Problem>> {
        let (older_state, newer_state) = match (show::document(site, older)?, show::document(site, newer)?) {
            (Ok((older, _)), Ok((newer, _))) => (older, newer),
            (Err(problem), _) | (_, Err(problem)) => return Ok(Err(problem)),
        };
        let Some((old, new)) = older_state.resources.as_ref().zip(newer_state.resources.as_ref()) else {
            return Ok(Err(Problem::new("one of them is encrypted, so they cannot be compared")));
        };
        let diff = Diff::between(old, new);
        if self.cli.common.json {
            return Ok(Ok(print_json(&diff, Exit::Done)));
        }
        let name =
            |entry: &Entry, serial: u64| format!("version {} (serial {serial})", sanitize(&entry.version.id));
        let (from, to) = (name(older, older_state.summary.serial), name(newer, newer_state.summary.serial));
        Ok(Ok(print(
            &format!("From {from}\nto {to}: {}\n\n{}", diff.short(), show::diff_text(&diff)),
            Exit::Done,
        )))
    }

    /// Everything that changes something.
    fn work(&self, sites: &[(&Environment, Found)]) -> ExitCode {
        let (json, several) = (self.cli.common.json, self.cli.all);
        let reporter = self.reporter();
        let asks_once = several && !self.cli.common.force && !self.cli.common.dry_run;
        let mut prepared = Vec::new();
        for (environment, found) in sites {
            prepared.push(self.prepare(environment, found, &reporter, several));
        }
        if asks_once && prepared.iter().any(|one| one.report.is_none()) {
            let count = prepared.iter().filter(|one| one.report.is_none()).count();
            let question = format!("Do this for {}?", ui::format::counted(count as u64, "environment"));
            let answer = Prompt::new(self.interrupt.clone()).confirm(&question);
            if answer != Answer::Yes {
                return self.not_agreed(answer);
            }
        }
        let reports: Vec<Report> = prepared.into_iter().map(|one| one.end(self)).collect();
        let exit = Exit::worst(reports.iter().map(|report| report.outcome));
        match reports.as_slice() {
            [report] if !several => print_report(report, json),
            reports if json => {
                print_json(&Several { schema: 1, program: PROGRAM, exit: exit.code(), reports }, exit)
            }
            reports => print(&reports.iter().map(Report::text).collect::<Vec<_>>().join("\n"), exit),
        }
    }

    fn not_agreed(&self, answer: Answer) -> ExitCode {
        match answer {
            Answer::Interrupted => Exit::Interrupted.into(),
            Answer::Refused => {
                let problem = Problem::new("this needs an answer, and standard input is no terminal");
                self.refused(
                    "Several states",
                    vec![problem.hint("say `--yes` to go ahead without a question")],
                    None,
                )
            }
            _ => print("Nothing was changed.\n", Exit::NothingChanged),
        }
    }

    /// The look at one state. Its plan is shown at once where several have one question.
    fn prepare<'p>(
        &self,
        environment: &Environment,
        found: &'p Found,
        reporter: &dyn Reporter,
        several: bool,
    ) -> Prepared<'p> {
        let title = self.title(environment.name());
        let session = self.session(
            environment.name(),
            DEFAULT_WORKSPACE,
            format!("{PROGRAM} --env {}", environment.name()),
            reporter,
        );
        let ended = |report| Prepared {
            site: None,
            decided: None,
            over: Vec::new(),
            report: Some(report),
            title: title.clone(),
            agreed: several,
        };
        let site = match found {
            Ok(Ok(site)) => site,
            Ok(Err(problem)) if several => {
                return ended(settled(&session, &title, &format!("left out: {}", problem.what)));
            }
            Ok(Err(problem)) => return ended(refuse(&session, &title, vec![problem.clone()], None)),
            Err(error) => return ended(refuse(&session, &title, Vec::new(), Some(error))),
        };
        let session = self.session(&site.environment, &site.workspace, site.again(), reporter);
        let history = match recover::find(site, &session) {
            Ok(history) => history,
            Err(error) => return ended(refuse(&session, &title, Vec::new(), Some(&error))),
        };
        if self.cli.resume || self.cli.rollback {
            let how = if self.cli.resume { Recovery::Resume } else { Recovery::RollBack };
            let report = site.host().map_err(Into::into).and_then(|local| {
                let read_only = ReadOnly(&local);
                let host: &dyn Host = if session.dry_run { &read_only } else { &local };
                recover::carry_on(site, host, &session, how, history.open, &title)
            });
            return ended(report.unwrap_or_else(|error| refuse(&session, &title, Vec::new(), Some(&error))));
        }
        if let Some(open) = &history.open {
            return ended(refuse(&session, &title, vec![recover::problem(&session, open)], None));
        }
        let decided = self.decide(environment, site).unwrap_or_else(Decided::Failed);
        match decided {
            Decided::Settled(words) => ended(settled(&session, &title, &words)),
            Decided::Refused(problems) => ended(refuse(&session, &title, problems, None)),
            Decided::Failed(error) => ended(refuse(&session, &title, Vec::new(), Some(&error))),
            decided => {
                // A dry run shows it by itself.
                let agreed = several && !session.dry_run;
                if agreed {
                    reporter.plan(&decided.plan_text(site));
                }
                Prepared {
                    site: Some(site),
                    decided: Some(decided),
                    over: history.over,
                    report: None,
                    title,
                    agreed,
                }
            }
        }
    }

    fn decide(&self, environment: &Environment, site: &Site) -> anyhow::Result<Decided> {
        let host = site.host()?;
        let terraform =
            Terraform::find(&ReadOnly(&host), self.cli.terraform_bin.as_deref(), &|name| env::var_os(name))?;
        let lock = site.lock();
        if let Some(wanted) = &self.cli.restore {
            return Ok(match restore::decide(site, wanted, lock, terraform)? {
                restore::Decision::Do(what, diff) => Decided::Restore(what, diff),
                restore::Decision::Nothing(words) => Decided::Settled(words),
                restore::Decision::No(problems) => Decided::Refused(problems),
            });
        }
        if self.cli.home {
            return Ok(match home::decide(site, lock, terraform)? {
                home::Decision::Do(what) => Decided::Home(what),
                home::Decision::Nothing(words) => Decided::Settled(words),
                home::Decision::No(problems) => Decided::Refused(problems),
            });
        }
        Ok(match fallback::decide(site, lock, terraform)? {
            fallback::Decision::Do(what) => Decided::Fallback(what),
            fallback::Decision::Nothing(words) => Decided::Settled(words),
            fallback::Decision::No(problems) => Decided::Refused(problems),
            fallback::Decision::Lost(reason) => {
                match imports::decide(&self.cli.common, environment, site, reason)? {
                    Ok(what) => Decided::Imports(what),
                    Err(problems) => Decided::Refused(problems),
                }
            }
        })
    }

    fn title(&self, environment: &str) -> String {
        let environment = sanitize(environment);
        if self.cli.fallback {
            format!("Work on {environment} without its bucket")
        } else if self.cli.home {
            format!("Take the state of {environment} back to its bucket")
        } else {
            format!("Restore the state of {environment}")
        }
    }
}

/// A look that is done, and what is left to do.
struct Prepared<'p> {
    site: Option<&'p Site>,
    decided: Option<Decided>,
    over: Vec<restore_common::remote::RunId>,
    report: Option<Report>,
    title: String,
    agreed: bool,
}

impl Prepared<'_> {
    fn end(self, frame: &Frame<'_>) -> Report {
        if let Some(report) = self.report {
            return report;
        }
        let mut reporter = frame.reporter();
        if let Some(site) = self.site.filter(|_| self.agreed) {
            reporter = reporter.lead(format!("{}  ", sanitize(&site.name())));
        }
        let reporter = &reporter;
        let (Some(site), Some(decided)) = (self.site, self.decided) else {
            let session = frame.session("", DEFAULT_WORKSPACE, PROGRAM.to_owned(), reporter);
            return settled(&session, &self.title, "nothing to do");
        };
        let mut session = frame.session(&site.environment, &site.workspace, site.again(), reporter);
        session.over = self.over;
        session.agreed = self.agreed;
        match site.host() {
            Ok(local) => {
                let read_only = ReadOnly(&local);
                let host: &dyn Host = if session.dry_run { &read_only } else { &local };
                decided.carry_out(&session, site, host)
            }
            Err(error) => refuse(&session, &self.title, Vec::new(), Some(&error.into())),
        }
    }
}

/// The reports of several environments as one document.
#[derive(Serialize)]
struct Several<'a> {
    schema: u32,
    program: &'static str,
    exit: u8,
    reports: &'a [Report],
}

/// Says what is wrong with one state of several.
fn complain_of(site: &Site, error: &anyhow::Error) {
    complain(&format!("{}: {error:#}", site.name()));
    if let Some(hint) = restore_common::procedure::hint_of(error) {
        complain(&format!("  hint: {hint}"));
    }
}
