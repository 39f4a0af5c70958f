//! One command on a simulated node: `pve-sim --root DIR [--pve 8|9] -- COMMAND …`, or a file of scenarios:
//! `pve-sim scenarios FILE.json [--group N] [--name TEXT]`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use restore_lab::guest::{self, Guest, docker};
use restore_lab::sim::{Io, Node, cli, run, scenario, shell};

const USAGE: &str = "usage: pve-sim --root DIR [--pve 8|9] -- COMMAND [ARGUMENT ...]\n       \
                     pve-sim scenarios FILE.json [--group N] [--name TEXT]\n       \
                     pve-sim parse [--pve 8|9] [--node NAME] -- COMMAND [ARGUMENT ...]\n       \
                     pve-sim verdicts FILE.json";

/// Bytes that a decompressor hands on at once.
const COPIED: usize = 1 << 17;

fn main() -> ExitCode {
    let mut args = std::env::args();
    let called_as = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let program = Path::new(&called_as).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let result = match args.first().map(String::as_str) {
        _ if program == "docker" => in_guest(&args),
        _ if [shell::PROGRAMS, shell::TOOLS].concat().contains(&program.as_str()) => {
            as_program(&program, &args)
        }
        Some("shell") => login_shell(&args[1..]),
        Some("scenarios") => scenarios(&args[1..]),
        Some("parse") => parse(&args[1..]),
        Some("verdicts") => verdicts(&args[1..]),
        _ => command(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pve-sim: {error}");
        ExitCode::from(255)
    })
}

/// Takes `--NAME VALUE` pairs off the front of `args`.
fn options(args: &[String]) -> (Vec<(&str, &str)>, &[String]) {
    let (mut options, mut rest) = (Vec::new(), args);
    while let [name, value, tail @ ..] = rest {
        let Some(name) = name.strip_prefix("--").filter(|name| !name.is_empty()) else { break };
        options.push((name, value.as_str()));
        rest = tail;
    }
    (options, rest)
}

fn command(args: &[String]) -> io::Result<ExitCode> {
    let (options, rest) = options(args);
    let option = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let argv = rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest);
    let (Some(root), false) = (option("root"), argv.is_empty()) else { return Err(io::Error::other(USAGE)) };
    let version = option("pve").unwrap_or("9");
    execute(Path::new(root), version, argv)
}

/// Called by the name of one of the node's programs, from a shell of the node.
fn as_program(program: &str, args: &[String]) -> io::Result<ExitCode> {
    let node = shell_node()?;
    let words = args.iter().map(|word| shell::without_root(word, &node.root));
    let argv: Vec<String> = std::iter::once(program.to_owned()).chain(words).collect();
    execute(&node.root, &node.version, &argv)
}

/// Called as `docker`, from a shell of a guest.
fn in_guest(args: &[String]) -> io::Result<ExitCode> {
    let root = std::env::var(guest::VARIABLE).map_err(io::Error::other)?;
    let answer = docker::run(&Guest::new(root), args);
    eprint!("{}", answer.stderr);
    // A reader that has gone away changes nothing.
    drop(io::stdout().write_all(answer.stdout.as_bytes()));
    Ok(ExitCode::from(u8::try_from(answer.code).unwrap_or(255)))
}

/// The login shell of a node or a guest: `shell -c TEXT`, or the command that an SSH server hands over.
fn login_shell(args: &[String]) -> io::Result<ExitCode> {
    use std::os::unix::process::ExitStatusExt as _;
    let text = match args {
        [flag, text] if flag == "-c" => text.clone(),
        _ => std::env::var("SSH_ORIGINAL_COMMAND").map_err(io::Error::other)?,
    };
    let status = match std::env::var(guest::VARIABLE) {
        Ok(root) => Guest::new(root).run(&text)?,
        Err(_) => shell_node()?.run(&text)?,
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(255)))
}

fn shell_node() -> io::Result<shell::ShellNode> {
    let variable =
        |name: &str| std::env::var(name).map_err(|_| io::Error::other(format!("{name} is not set")));
    Ok(shell::ShellNode {
        root: variable("PVE_SIM_ROOT")?.into(),
        version: variable("PVE_SIM_VERSION")?,
        name: variable("PVE_SIM_NODE")?,
    })
}

fn execute(root: &Path, version: &str, argv: &[String]) -> io::Result<ExitCode> {
    let version = version.parse().map_err(io::Error::other)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let node = Node::open(root, version)?.interrupted_by(interrupted);
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), output(&argv[0])?, io::stderr());
    let status = run(&node, argv, &mut Io { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr });
    drop(stdout.flush());
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(255)))
}

/// Where a program prints. Rust looks for the ends of lines in all that goes to its standard output, which costs a
/// decompressor as much as a tenth of its work.
fn output(program: &str) -> io::Result<Box<dyn Write>> {
    if !["zstd", "lzop"].contains(&program) {
        return Ok(Box::new(io::stdout()));
    }
    let pipe = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(Box::new(BufWriter::with_capacity(COPIED, pipe)))
}

/// Only judges a command line.
fn parse(args: &[String]) -> io::Result<ExitCode> {
    let (options, rest) = options(args);
    let option = |name: &str| options.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
    let argv = rest.strip_prefix(&["--".to_owned()]).unwrap_or(rest);
    let version = option("pve").unwrap_or("9").parse().map_err(io::Error::other)?;
    match cli::parse(version, option("node").unwrap_or("pve1"), argv) {
        Ok(accepted) => {
            println!("{}", serde_json::to_string(&accepted.params)?);
            Ok(ExitCode::SUCCESS)
        }
        Err(rejected) => {
            eprintln!("{}", rejected.message);
            Ok(ExitCode::from(u8::try_from(rejected.exit).unwrap_or(255)))
        }
    }
}

/// Tries the parser on every command line of a file.
fn verdicts(args: &[String]) -> io::Result<ExitCode> {
    let [file] = args else { return Err(io::Error::other(USAGE)) };
    let lines = cli::verdicts::load(Path::new(file))?;
    let problems: Vec<String> = lines.iter().flat_map(cli::verdicts::Line::disagreements).collect();
    for problem in &problems {
        println!("{problem}");
    }
    println!("{} command lines, {} disagreements", lines.len(), problems.len());
    Ok(if problems.is_empty() && !lines.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn scenarios(args: &[String]) -> io::Result<ExitCode> {
    let [file, rest @ ..] = args else { return Err(io::Error::other(USAGE)) };
    let (options, _) = options(rest);
    let wanted = |scenario: &scenario::Scenario| {
        options.iter().all(|(name, value)| match *name {
            "group" => scenario.group.to_string() == *value,
            _ => scenario.name.contains(value),
        })
    };
    let (mut tried, mut bad) = (0, 0);
    for scenario in scenario::load(Path::new(file))?.into_iter().filter(wanted) {
        tried += 1;
        let problems = scenario.check()?;
        if !problems.is_empty() {
            bad += 1;
            println!("{}\n{}\n", scenario.name, problems.join("\n"));
        }
    }
    println!("{} of {tried} scenarios agree", tried - bad);
    Ok(if bad == 0 && tried > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
