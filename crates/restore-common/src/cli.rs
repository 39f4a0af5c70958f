//! Options that every program has, and how a program begins and ends.

use std::{
    cell::RefCell,
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, Parser};

use crate::{
    homelab::NodeRef,
    interrupt::Interrupt,
    procedure::{Exit, Report, Session, TerminalReporter, refuse},
    remote::{HostError, SshEnv, SshHost, SshTarget},
    ui::{self, ColorChoice, ProgressMode, Prompt, escape_json, sanitize_lines, sanitize_styled},
};

/// The options that every program has.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Look and show the plan, change nothing
    #[arg(short = 'n', long, help_heading = "Running")]
    pub dry_run: bool,

    /// Do not ask; also --yes, -y (needed without a terminal)
    #[arg(short = 'f', long, alias = "yes", short_alias = 'y', help_heading = "Running")]
    pub force: bool,

    /// Report as JSON on standard output
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Say more (-vv: every command)
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet", help_heading = "Output")]
    pub verbose: u8,

    /// Report and errors only
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// auto, always or never (NO_COLOR is honoured)
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub color: ColorChoice,

    /// The Terraform project [else $RESTORE_PROJECT, else above]
    #[arg(long, value_name = "DIR", help_heading = "Where")]
    pub project: Option<PathBuf>,

    /// Look at this environment only
    #[arg(long, value_name = "ENV", help_heading = "Where")]
    pub env: Option<String>,

    /// User on the nodes [else ~/.ssh/config, else root]
    #[arg(long, value_name = "USER", help_heading = "SSH")]
    pub ssh_user: Option<String>,

    /// Port of the nodes [else ~/.ssh/config, else 22]
    #[arg(long, value_name = "PORT", help_heading = "SSH")]
    pub ssh_port: Option<u16>,

    /// Private key [else agent, ~/.ssh/config, id_*]
    #[arg(long, value_name = "FILE", help_heading = "SSH")]
    pub identity: Option<PathBuf>,

    /// Known host keys, instead of your own file of them
    #[arg(long, value_name = "FILE", help_heading = "SSH")]
    pub known_hosts: Option<PathBuf>,

    /// Remember unknown host keys (never changed ones)
    #[arg(long, help_heading = "SSH")]
    pub accept_new_host_key: bool,
}

impl Common {
    /// Where a node is. What the options leave open, the project says, then `~/.ssh/config`.
    pub fn target(&self, node: &NodeRef) -> SshTarget {
        SshTarget {
            label: node.label(),
            address: node.address.clone(),
            port: self.ssh_port.or(node.ssh_port),
            user: self.ssh_user.clone().or_else(|| node.ssh_user.clone()),
            identity: self.identity.clone(),
            known_hosts: self.known_hosts.clone(),
            accept_new_host_key: self.accept_new_host_key,
        }
    }

    /// Connects to a node.
    pub fn connect(&self, node: &NodeRef) -> Result<SshHost, HostError> {
        SshHost::connect(&self.target(node), &SshEnv::from_process())
    }
}

/// Reads the command line. `--help` and `--version` end with 0, nonsense with 64.
pub fn parse<P: Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        // Nothing can be done about a closed terminal here.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS }
    })
}

/// A program of which every run ends with one report.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What a run is about, should it end before that is known in more detail.
    pub title: &'a str,
}

/// Runs a program to its end and gives its exit code. `again` is how the operator calls it for the same work once more;
/// `work` does the rest, in a session whose journal has the program's name until it is given a better one.
pub fn run(
    program: Program<'_>,
    common: &Common,
    again: String,
    work: impl FnOnce(&mut Session<'_>) -> anyhow::Result<Report>,
) -> ExitCode {
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
    let mut session = Session {
        program: program.name,
        version: program.version,
        dry_run: common.dry_run,
        yes: common.force,
        agreed: false,
        journals: journals(),
        journal_name: program.name.to_owned(),
        again,
        over: Vec::new(),
        interrupt: &interrupt,
        reporter: &reporter,
        prompt: RefCell::new(Prompt::new(interrupt.clone())),
    };
    let report =
        work(&mut session).unwrap_or_else(|error| refuse(&session, program.title, Vec::new(), Some(&error)));
    print_report(&report, common.json)
}

/// The exit codes, to close a program's `--help`.
pub fn exit_codes() -> String {
    Exit::ALL.iter().fold("Exit codes:\n".to_owned(), |text, exit| {
        format!("{text}  {:>3}  {}\n", exit.code(), exit.meaning())
    })
}

/// The folder of all that these programs keep on this machine: below `$XDG_STATE_HOME`, else `~/.local/state`.
pub fn state_folder() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let parent =
        set("XDG_STATE_HOME").unwrap_or_else(|| set("HOME").unwrap_or_default().join(".local/state"));
    parent.join("pve-restore")
}

/// The folder of the journals.
pub fn journals() -> PathBuf {
    state_folder().join("runs")
}

/// Says what is wrong on standard error. A terminal that is gone must not change the exit code.
pub fn complain(words: &str) {
    let _ = writeln!(io::stderr(), "error: {}", sanitize_lines(words));
}

/// Prints to standard output, colours and all, and nothing else that drives a terminal. A closed pipe loses the text and changes nothing about what was done.
pub fn print(text: &str, exit: impl Into<ExitCode>) -> ExitCode {
    if let Err(error) = io::stdout().lock().write_all(sanitize_styled(text).as_bytes()) {
        complain(&format!("cannot print the report: {error}"));
    }
    exit.into()
}

/// Prints a report, and ends as it says.
pub fn print_report(report: &Report, json: bool) -> ExitCode {
    if json { print_json(report, report.outcome) } else { print(&report.text(), report.outcome) }
}

/// One JSON document as it is printed, with a line break at its end. What could drive a terminal is escaped in it.
pub fn json_text(document: &(impl serde::Serialize + ?Sized)) -> serde_json::Result<String> {
    Ok(escape_json(&serde_json::to_string_pretty(document)?) + "\n")
}

/// Prints one JSON document.
pub fn print_json(document: &(impl serde::Serialize + ?Sized), exit: impl Into<ExitCode>) -> ExitCode {
    match json_text(document) {
        Ok(text) => print(&text, exit),
        Err(error) => {
            complain(&format!("cannot write the report as JSON: {error}"));
            exit.into()
        }
    }
}
