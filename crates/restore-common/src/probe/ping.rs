//! Whether a machine answers an ICMP echo request, asked by the system's `ping`: sending one takes rights that only that
//! program has.

use std::{
    fmt,
    io::{self, Read as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use super::Wait;
use crate::ui::sanitize;

/// What `ping` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ping {
    /// The machine answered.
    Answered,
    /// It did not, in time.
    NoAnswer,
    /// The question could not be asked: no such program, no such name, no route.
    NotAsked(String),
}

impl fmt::Display for Ping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::NoAnswer => f.write_str("no answer"),
            Self::NotAsked(reason) => write!(f, "could not ask: {reason}"),
        }
    }
}

/// Sends one echo request and waits for the answer.
pub fn ping(address: &str, limit: Duration) -> Ping {
    // It would be read as an option.
    if address.is_empty() || address.starts_with('-') {
        return Ping::NotAsked(format!("`{}` is not an address", sanitize(address)));
    }
    let mut command = Command::new("ping");
    // It needs nothing else of this program's environment, in which secrets may be.
    let path = std::env::var_os("PATH").map(|path| ("PATH", path));
    command.args(["-c", "1", address]).env_clear().envs(path).env("LC_ALL", "C");
    ask(command, limit)
}

fn ask(mut command: Command, limit: Duration) -> Ping {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match command.spawn() {
        Ok(child) => outcome(child, limit).unwrap_or_else(|error| Ping::NotAsked(error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ping::NotAsked("there is no `ping` program here".to_owned())
        }
        Err(error) => Ping::NotAsked(error.to_string()),
    }
}

fn outcome(mut child: Child, limit: Duration) -> io::Result<Ping> {
    let wait = Wait { what: "`ping`", limit, interval: Duration::from_millis(5), interrupted: &|| false };
    let Some(status) = wait.until(|| child.try_wait())?.ready() else {
        child.kill()?;
        child.wait()?;
        return Ok(Ping::NoAnswer);
    };
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said)?;
    }
    Ok(meaning(status, &said))
}

/// Status 1 is silence on Linux; so is 2 on macOS, where it comes without a message. Anything else is an error.
fn meaning(status: ExitStatus, said: &str) -> Ping {
    match (status.code(), said.trim()) {
        (Some(0), _) => Ping::Answered,
        (Some(1), _) | (Some(2), "") => Ping::NoAnswer,
        (_, "") => Ping::NotAsked(format!("`ping`: {status}")),
        (_, said) => Ping::NotAsked(sanitize(said).into_owned()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[rstest::rstest]
    #[case("exit 0", &Ping::Answered)]
    #[case("echo noise >&2; exit 1", &Ping::NoAnswer)]
    #[case("exit 2", &Ping::NoAnswer)]
    #[case("echo 'ping: x: Name or service not known' >&2; exit 2", &Ping::NotAsked("ping: x: Name or service not known".into()))]
    fn the_status_tells(#[case] script: &str, #[case] expected: &Ping) {
        assert_eq!(&ask(shell(script), Duration::from_secs(60)), expected);
    }

    #[test]
    fn silence_has_a_limit_and_the_program_is_ended() {
        assert_eq!(ask(shell("exec sleep 3600"), Duration::from_millis(20)), Ping::NoAnswer);
    }

    #[test]
    fn no_program_is_not_a_no() {
        let seen = ask(Command::new("no-such-ping-program"), Duration::from_secs(60));
        assert_eq!(seen, Ping::NotAsked("there is no `ping` program here".to_owned()));
    }

    #[rstest::rstest]
    #[case("")]
    #[case("-f")]
    fn an_address_is_never_an_option(#[case] address: &str) {
        assert!(matches!(ping(address, Duration::ZERO), Ping::NotAsked(_)));
    }
}
