//! The command-line parser against what the real programs of PVE 8 and 9 say.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use restore_lab::sim::cli::{self, verdicts};

fn load(name: &str, at_least: usize) -> Vec<verdicts::Line> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let lines = verdicts::load(&file).unwrap();
    assert!(lines.len() >= at_least, "only {} command lines", lines.len());
    lines
}

#[test]
fn agrees_with_the_real_programs() {
    let lines = load("cli-verdicts.json", 600);
    let problems: Vec<_> = lines.iter().flat_map(verdicts::Line::disagreements).collect();
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

/// What the real programs of both versions say to these.
#[rstest::rstest]
#[case("qm set 101 -cores=2", "Unknown option: cores=2\n400 unable to parse option\n")]
#[case("qm shutdown 101 -timeout=", "Unknown option: timeout=\n400 unable to parse option\n")]
#[case("qm config 101 -SNAPSHOT=a", "Unknown option: snapshot=a\n400 unable to parse option\n")]
#[case(
    "ha-manager add foo",
    "400 Parameter verification failed.\nsid: invalid format - value does not look like a valid ha resource id\n"
)]
#[case(
    "ha-manager add VM:101",
    "400 Parameter verification failed.\nsid: invalid format - value does not look like a valid ha resource id\n"
)]
#[case(
    "vzdump 101 --mailto a!b@c.d",
    "400 Parameter verification failed.\nmailto: invalid format - value does not look like a valid email address or user name\n"
)]
#[case(
    "vzdump 101 --mailto a@b_c",
    "400 Parameter verification failed.\nmailto: invalid format - value does not look like a valid email address or user name\n"
)]
#[case(
    "qm set 101 --amd-sev foobar",
    "400 Parameter verification failed.\namd-sev: invalid format - format error\namd-sev.type: value may only be 3 characters long\n"
)]
#[case("qm ag 101 ping", "ERROR: unknown command 'qm ag'\n")]
#[case("qm resc", "ERROR: unknown command 'qm resc'\n")]
fn what_the_real_programs_refuse(#[case] line: &str, #[case] words: &str) {
    let message = parse(line).unwrap_err().message;
    assert!(message.starts_with(words), "{message}");
}

#[rstest::rstest]
#[case("qm set 101 -cores 2")]
#[case("qm set 101 --cores=2")]
#[case("pct set 104 -cores=2")]
#[case("vzdump 101 --mailto a.b")]
#[case("vzdump 101 --mailto ~x")]
#[case("vzdump 101 --mailto +5@host.lan")]
#[case("qm agent 101 ping")]
#[case("qm rescan")]
fn what_the_real_programs_take(#[case] line: &str) {
    assert!(parse(line).is_ok());
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
