//! What can go wrong between the operator's machine and a node.

use super::{Command, Output};

/// The question could not be put to the host, or its answer did not arrive. Never the host's "no".
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No connection: name not found, refused, no route, time-out.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// The host as the operator knows it.
        host: String,
        /// The system's own words.
        reason: String,
    },
    /// The host's key is not the one that is expected, or none is known.
    #[error("{host} is not trusted: {reason}")]
    HostKey {
        /// The host as the operator knows it.
        host: String,
        /// Which key was offered, which was expected, where that stands.
        reason: String,
        /// What the operator can do.
        hint: String,
    },
    /// No key was accepted.
    #[error("{host} accepts none of the keys tried: {tried}")]
    Authentication {
        /// The host as the operator knows it.
        host: String,
        /// Which keys were offered, from where.
        tried: String,
    },
    /// The login shell ended before it ran the command: it is no bash, it is none at all, or its start-up files end it.
    #[error("the login shell of {host} did not run `{command}` ({ending}){}", said(words))]
    LoginShell {
        /// The host as the operator knows it.
        host: String,
        /// The command that did not run.
        command: String,
        /// How the shell ended.
        ending: super::Ending,
        /// What it said.
        words: String,
    },
    /// The connection ended while a command ran: nobody knows how far it came.
    #[error("lost the connection to {host} while running `{command}`: {reason}")]
    Lost {
        /// The host as the operator knows it.
        host: String,
        /// The command that ran.
        command: String,
        /// The system's own words.
        reason: String,
    },
    /// The command did not end in time.
    #[error("`{command}` on {host} did not end within {seconds} s")]
    TimedOut {
        /// The host as the operator knows it.
        host: String,
        /// The command that was waited for.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// The command cannot be put to a shell, or the job is none of this program's: nothing was sent.
    #[error("cannot run `{command}` on {host}: {reason}")]
    Unsendable {
        /// The host as the operator knows it.
        host: String,
        /// The command that was not sent.
        command: String,
        /// Why not.
        reason: String,
    },
    /// The operator's SSH configuration asks for something that is wrong or not supported.
    #[error("cannot use the SSH configuration for {host}: {reason}")]
    Configuration {
        /// The host as the operator knows it.
        host: String,
        /// File, line and what is wrong there.
        reason: String,
    },
    /// A read-only host was asked to change something.
    #[error("refused to run `{command}` on {host}: this run may only read")]
    ReadOnly {
        /// The host as the operator knows it.
        host: String,
        /// The command that was refused.
        command: String,
    },
    /// What came back is not what this library's own scripts print.
    #[error("{host} answered with something unexpected: {reason}")]
    Protocol {
        /// The host as the operator knows it.
        host: String,
        /// What was wrong with it.
        reason: String,
    },
}

impl HostError {
    /// What the operator can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => {
                Some("check the address, the network and that sshd runs there".to_owned())
            }
            Self::HostKey { hint, .. } => Some(hint.clone()),
            Self::Authentication { .. } => Some(
                "name a key with `--identity FILE`, or add yours to root's authorized_keys on the node"
                    .to_owned(),
            ),
            Self::LoginShell { .. } => Some(
                "make bash the login shell there (`chsh -s /bin/bash`) and see that `~/.bashrc` does not end it"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// A command ran and said no.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` failed on {host} ({ending}){}", last_words(stderr, stdout))]
pub struct CommandFailed {
    /// The host as the operator knows it.
    pub host: String,
    /// The command as it was run.
    pub command: String,
    /// How it ended.
    pub ending: super::Ending,
    /// Its standard error.
    pub stderr: String,
    /// Its standard output.
    pub stdout: String,
}

impl CommandFailed {
    /// The failure of `command` on `host`.
    pub fn new(host: &str, command: &Command, output: &Output) -> Self {
        Self {
            host: host.to_owned(),
            command: command.to_string(),
            ending: output.ending.clone(),
            stderr: output.stderr.clone(),
            stdout: output.stdout.clone(),
        }
    }
}

/// The last lines a program said, stderr before stdout, for the end of an error message.
fn last_words(stderr: &str, stdout: &str) -> String {
    const LINES: usize = 5;
    let source = if stderr.trim().is_empty() { stdout } else { stderr };
    let lines: Vec<&str> = source.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    let tail = &lines[lines.len().saturating_sub(LINES)..];
    format!(": {}", tail.join(" / "))
}
