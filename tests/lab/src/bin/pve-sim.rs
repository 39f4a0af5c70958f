//! One command on a simulated node: `pve-sim --root DIR [--pve 8|9] -- COMMAND …`, or a file of scenarios:
//! `pve-sim scenarios FILE.json [--group N] [--name TEXT]`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use restore_lab::sim::{Io, Node, run, scenario};

const USAGE: &str = "usage: pve-sim --root DIR [--pve 8|9] -- COMMAND [ARGUMENT ...]\n       \
                     pve-sim scenarios FILE.json [--group N] [--name TEXT]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("scenarios") => scenarios(&args[1..]),
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
    let version = option("pve").unwrap_or("9").parse().map_err(io::Error::other)?;

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let node = Node::open(root, version)?.interrupted_by(interrupted);
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let status = run(&node, argv, &mut Io { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr });
    drop(stdout.flush());
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(255)))
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
