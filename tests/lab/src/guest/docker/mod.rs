//! Docker's command line on a guest: `ps`, `inspect`, `logs`, `version` and `compose`, in the words of Docker 27.

mod compose;
mod flags;
mod format;
mod inspect;
mod list;
mod state;
mod time;

pub use state::{Container, Docker, Health, PROJECT, Refusal, State, now_ms};

use serde_json::{Map, Value, json};

use super::Guest;
use flags::{Syntax, option, switch};
use format::Template;

/// The version that answers.
const VERSION: &str = "27.3.1";

/// What a command prints, and its exit status.
#[derive(Debug, Default)]
pub struct Answer {
    /// On standard output.
    pub stdout: String,
    /// On standard error.
    pub stderr: String,
    /// The exit status.
    pub code: i32,
}

impl Answer {
    fn said(stdout: String) -> Self {
        Self { stdout, ..Self::default() }
    }

    fn refused(stderr: String, code: i32) -> Self {
        Self { stderr, code, ..Self::default() }
    }
}

const ROOT: Syntax = Syntax {
    command: "docker",
    usage: "[OPTIONS] COMMAND",
    flags: &[option("host", Some('H')), option("context", Some('c')), option("log-level", Some('l'))],
    arguments: (0, usize::MAX),
};

const VERSION_OF: Syntax = Syntax {
    command: "docker version",
    usage: "[OPTIONS]",
    flags: &[option("format", Some('f'))],
    arguments: (0, 0),
};

const LOGS: Syntax = Syntax {
    command: "docker logs",
    usage: "[OPTIONS] CONTAINER",
    flags: &[
        switch("details", None),
        switch("follow", Some('f')),
        option("since", None),
        option("tail", Some('n')),
        switch("timestamps", Some('t')),
        option("until", None),
    ],
    arguments: (1, 1),
};

/// Runs `docker` with these words.
pub fn run(guest: &Guest, words: &[String]) -> Answer {
    command(guest, words).unwrap_or_else(|answer| answer)
}

fn command(guest: &Guest, words: &[String]) -> Result<Answer, Answer> {
    let (_, words) = ROOT.parse_leading(words)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let rest = |taken: usize| words.iter().skip(taken).map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match words.as_slice() {
        ["ps", ..] => list::run(guest, &list::PS, &rest(1)),
        ["container", "ls" | "list" | "ps", ..] => list::run(guest, &list::CONTAINER_LS, &rest(2)),
        ["inspect", ..] => inspect::run(guest, &inspect::INSPECT, &rest(1)),
        ["container", "inspect", ..] => inspect::run(guest, &inspect::CONTAINER_INSPECT, &rest(2)),
        ["logs", ..] => logs(guest, &rest(1)),
        ["version", ..] => version(guest, &rest(1)),
        ["compose", ..] => compose::run(guest, &rest(1)),
        [] => Ok(Answer::said("Usage:  docker [OPTIONS] COMMAND\n".to_owned())),
        [other, ..] => Err(Answer::refused(
            format!("docker: '{other}' is not a docker command.\nSee 'docker --help'\n"),
            1,
        )),
    }
}

/// What the daemon knows, if it answers.
fn daemon(guest: &Guest) -> Result<Docker, Answer> {
    let words = match Docker::read(guest) {
        Ok(docker) => match docker.refusal {
            None => return Ok(docker),
            Some(Refusal::Down) => "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. \
                                    Is the docker daemon running?"
                .to_owned(),
            Some(Refusal::Denied) => "permission denied while trying to connect to the Docker daemon socket at \
                                      unix:///var/run/docker.sock: Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.47/containers/json\": \
                                      dial unix /var/run/docker.sock: connect: permission denied"
                .to_owned(),
        },
        Err(error) => format!("Error response from daemon: {error}"),
    };
    Err(Answer::refused(words + "\n", 1))
}

/// Lines, each with its end.
fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.map(|line| line + "\n").collect()
}

/// A container by its name or the beginning of its ID.
fn find<'d>(docker: &'d Docker, name: &str) -> Option<&'d Container> {
    let bare = name.trim_start_matches('/');
    docker.containers.iter().find(|container| container.name == bare || container.id().starts_with(bare))
}

fn logs(guest: &Guest, words: &[String]) -> Result<Answer, Answer> {
    let line = LOGS.parse(words)?;
    let docker = daemon(guest)?;
    let name = &line.arguments[0];
    let missing = || Answer::refused(format!("Error response from daemon: No such container: {name}\n"), 1);
    let log = &find(&docker, name).ok_or_else(missing)?.log;
    let count = line.value("tail").and_then(|count| count.parse().ok()).unwrap_or(log.len());
    let last = &log[log.len().saturating_sub(count)..];
    // What a service says about itself goes to its standard error, and Docker keeps the two apart.
    Ok(Answer { stderr: lines(last.iter().cloned()), ..Answer::default() })
}

fn version(guest: &Guest, words: &[String]) -> Result<Answer, Answer> {
    let line = VERSION_OF.parse(words)?;
    let mut versions = Map::new();
    let client = json!({ "Version": VERSION, "ApiVersion": "1.47", "GoVersion": "go1.22.7", "Os": "linux", "Arch": "amd64" });
    versions.insert("Client".to_owned(), client);
    let server = daemon(guest);
    versions.insert(
        "Server".to_owned(),
        match &server {
            Ok(_) => json!({ "Version": VERSION, "ApiVersion": "1.47", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64" }),
            Err(_) => Value::Null,
        },
    );
    let stdout = match line.value("format") {
        Some(text) => Template::parse(text)?.render(&versions)? + "\n",
        None => {
            let client = format!("Client: Docker Engine - Community\n Version:           {VERSION}\n");
            let about = |_: &Docker| {
                format!("\nServer: Docker Engine - Community\n Engine:\n  Version:          {VERSION}\n")
            };
            client + &server.as_ref().map(about).unwrap_or_default()
        }
    };
    let (stderr, code) = server.err().map_or_else(Default::default, |answer| (answer.stderr, answer.code));
    Ok(Answer { stdout, stderr, code })
}
