//! Running the recovery programs in a lab, as an operator would, and looking at what came of it.

mod guest;
pub mod matrix;
pub mod runbook;
mod states;
mod terminal;
pub mod terraform;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use restore_lab::{
    lab::{Front, Lab, LabBuilder},
    secrets,
    ssh::OpenSsh,
};

pub use guest::Guest;
pub use states::States;
pub use terminal::Terminal;

/// What a run of a program left to look at.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 256 when it was killed by a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// What is left of a process that ended. Whatever it was about, it told no secret, drove no terminal and did not panic.
    #[track_caller]
    pub fn new(output: &Output) -> Self {
        let ran = Self {
            code: output.status.code().unwrap_or(256),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        for said in [&ran.stdout, &ran.stderr] {
            assert!(secrets::found_in(said).is_none(), "a secret is told: {ran}");
            assert!(!drives_a_terminal(said), "something acts in a terminal: {ran:?}");
        }
        assert!(!ran.stderr.contains("panicked at"), "{ran}");
        ran
    }

    /// The report that was printed with `--json`.
    pub fn report(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON report ({error}): {self}"))
    }

    /// Wants this exit code, and shows everything when it is another one.
    #[track_caller]
    #[allow(
        clippy::return_self_not_must_use,
        clippy::must_use_candidate,
        reason = "it may be all that is wanted"
    )]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Wants these words in what was said, on either stream. Lines may be wrapped anywhere.
    #[track_caller]
    #[allow(
        clippy::return_self_not_must_use,
        clippy::must_use_candidate,
        reason = "it may be all that is wanted"
    )]
    pub fn says(self, words: &str) -> Self {
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let said = flat(&format!("{} {}", self.stdout, self.stderr));
        assert!(said.contains(&flat(words)), "`{words}` is not in:\n{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Whether a text holds more than lines and colours.
fn drives_a_terminal(text: &str) -> bool {
    let acts = |part: &str| {
        let bare = part.split_once('m').filter(|(style, _)| {
            style.strip_prefix('[').is_some_and(|codes| codes.chars().all(|c| c.is_ascii_digit() || c == ';'))
        });
        bare.is_none_or(|(_, rest)| rest.contains(is_control))
    };
    let mut parts = text.split('\u{1b}');
    parts.next().is_some_and(|plain| plain.contains(is_control)) || parts.any(acts)
}

fn is_control(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
}

/// Runs `restore-vm` without a terminal.
pub fn restore_vm(lab: &Lab, words: &[&str]) -> Ran {
    run(restore_vm_command(lab, words))
}

/// `restore-vm` with these words, not yet started.
pub fn restore_vm_command(lab: &Lab, words: &[&str]) -> Command {
    let mut command = lab.command("restore-vm");
    command.args(words);
    command
}

/// Runs `verify-backups` without a terminal.
pub fn verify_backups(lab: &Lab, words: &[&str]) -> Ran {
    let mut command = lab.command("verify-backups");
    command.args(words);
    run(command)
}

/// Runs a command to its end, without a terminal and without input.
pub fn run(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output();
    Ran::new(&output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}")))
}

/// Starts a lab, or says why the test is skipped. In CI nothing is skipped.
pub fn start(builder: LabBuilder, front: Front) -> Option<Lab> {
    if front == Front::OpenSsh && OpenSsh::find().is_none() {
        assert!(std::env::var_os("CI").is_none(), "sshd is not installed, and in CI it has to be");
        eprintln!("SKIPPED: sshd is not installed");
        return None;
    }
    Some(builder.front(front).start().unwrap_or_else(|error| panic!("the lab does not start: {error}")))
}

/// Makes the node of another lab one of this lab's project, in an environment of this name.
pub fn join(lab: &Lab, other: &Lab, environment: &str) -> io::Result<()> {
    let ssh = |lab: &Lab, name: &str| lab.operator().home().join(".ssh").join(name);
    let identity = format!("  IdentityFile {}\n", ssh(other, "id_ed25519").display());
    for (name, more) in [("config", identity.as_str()), ("known_hosts", "")] {
        let mut file = fs::File::options().append(true).open(ssh(lab, name))?;
        file.write_all((fs::read_to_string(ssh(other, name))? + more).as_bytes())?;
    }
    let environment = lab.operator().environment(environment);
    fs::create_dir_all(&environment)?;
    let tfvars = |environment: &Path| environment.join("terraform.tfvars");
    fs::copy(tfvars(&other.operator().environment("lab")), tfvars(&environment)).map(drop)
}

/// A guest's configuration without what differs after every restore: the numbers of its volumes, and the generation id
/// that tells a guest that it is not the one it was.
pub fn settings(lab: &Lab, config: &str) -> io::Result<Vec<String>> {
    let text = lab.read(config)?;
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("vmgenid:"))
        .map(|line| match line.split_once("-disk-") {
            Some((front, rest)) => {
                let options = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{front}-disk-N{options}")
            }
            None => line.to_owned(),
        })
        .collect();
    lines.sort();
    Ok(lines)
}
