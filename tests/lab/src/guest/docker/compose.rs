//! `docker compose`: `ps`, and `up`, which is how the stack is installed.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{
    Answer, Container, Docker, Guest, Health, PROJECT, State, daemon,
    flags::{Line, Syntax, option, switch},
    format::Template,
    list::{self, table, text},
    state::now_ms,
};
use crate::guest::{STACK_FOLDER, disk};

/// How long `up` waits until the lab made the containers.
const UP: Duration = Duration::from_secs(10);
/// Between two looks at whether it has.
const PAUSE: Duration = Duration::from_millis(10);

/// The names of the file that makes a folder a project.
const FILES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

const COMPOSE: Syntax = Syntax {
    command: "docker compose",
    usage: "[OPTIONS] COMMAND",
    flags: &[
        option("file", Some('f')),
        option("project-name", Some('p')),
        option("project-directory", None),
        option("env-file", None),
        option("profile", None),
        option("ansi", None),
        option("progress", None),
    ],
    arguments: (0, usize::MAX),
};

const PS: Syntax = Syntax {
    command: "docker compose ps",
    usage: "[OPTIONS] [SERVICE...]",
    flags: &[
        switch("all", Some('a')),
        option("filter", None),
        option("format", None),
        switch("no-trunc", None),
        switch("orphans", None),
        switch("quiet", Some('q')),
        switch("services", None),
        option("status", None),
    ],
    arguments: (0, usize::MAX),
};

const UP_OF: Syntax = Syntax {
    command: "docker compose up",
    usage: "[OPTIONS] [SERVICE...]",
    flags: &[
        switch("detach", Some('d')),
        switch("quiet-pull", None),
        switch("remove-orphans", None),
        switch("wait", None),
        option("pull", None),
    ],
    arguments: (0, 0),
};

const VERSION: Syntax = Syntax {
    command: "docker compose version",
    usage: "[OPTIONS]",
    flags: &[option("format", Some('f')), switch("short", None)],
    arguments: (0, 0),
};

/// The columns of the table.
const COLUMNS: [(&str, &str); 7] = [
    ("NAME", "Name"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("SERVICE", "Service"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
];

pub(super) fn run(guest: &Guest, words: &[String]) -> Result<Answer, Answer> {
    let (line, words) = COMPOSE.parse_leading(words)?;
    match words.split_first().map(|(name, rest)| (name.as_str(), rest)) {
        Some(("ps", rest)) => ps(guest, &line, rest),
        Some(("up", rest)) => up(guest, &line, rest),
        Some(("version", rest)) => version(rest),
        Some((other, _)) => Err(Answer::refused(format!("unknown docker command: \"compose {other}\"\n"), 1)),
        None => Ok(Answer::said("Usage:  docker compose [OPTIONS] COMMAND\n".to_owned())),
    }
}

fn version(words: &[String]) -> Result<Answer, Answer> {
    let line = VERSION.parse(words)?;
    Ok(Answer::said(match (line.is_on("short"), line.value("format")) {
        (true, _) => "2.29.7\n".to_owned(),
        (false, Some("json")) => "{\"version\":\"v2.29.7\"}\n".to_owned(),
        (false, _) => "Docker Compose version v2.29.7\n".to_owned(),
    }))
}

/// The containers of the project that is meant: by name, else by its files.
fn project(guest: &Guest, line: &Line) -> Result<Docker, Answer> {
    if let Some(name) = line.value("project-name") {
        let docker = daemon(guest)?;
        return Ok(if name == PROJECT { docker } else { Docker::default() });
    }
    require_file(guest, line)?;
    daemon(guest)
}

fn require_file(guest: &Guest, line: &Line) -> Result<(), Answer> {
    let folder = match line.value("project-directory") {
        Some(folder) => guest.path(&guest.without_root(folder)),
        None => std::env::current_dir().unwrap_or_default(),
    };
    if let Some(file) = line.value("file") {
        let path = folder.join(
            file.strip_prefix('/').map_or_else(|| file.into(), |_| guest.path(&guest.without_root(file))),
        );
        if path.is_file() {
            return Ok(());
        }
        let file = guest.without_root(&path.to_string_lossy());
        return Err(Answer::refused(format!("open {file}: no such file or directory\n"), 1));
    }
    if FILES.iter().any(|name| folder.join(name).is_file()) {
        return Ok(());
    }
    Err(Answer::refused("no configuration file provided: not found\n".to_owned(), 1))
}

fn ps(guest: &Guest, project_line: &Line, words: &[String]) -> Result<Answer, Answer> {
    let line = PS.parse(words)?;
    let mut shown = project(guest, project_line)?.containers;
    if let Some(unknown) = line.arguments.iter().find(|name| shown.iter().all(|c| c.name != **name)) {
        return Err(Answer::refused(format!("no such service: {unknown}\n"), 1));
    }
    let (states, services) = (line.values("status"), &line.arguments);
    shown.retain(|c| services.is_empty() || services.contains(&c.name));
    shown.retain(|c| match states {
        [] => line.is_on("all") || matches!(c.state, State::Running | State::Paused | State::Restarting),
        states => states.iter().any(|state| state == c.state.word()),
    });
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<_> = shown.iter().map(|c| fields(c, line.is_on("no-trunc"))).collect();
    let column = |key: &str| rows.iter().map(|row| text(row, key) + "\n").collect::<String>();
    let stdout = match line.value("format") {
        _ if line.is_on("quiet") => column("ID"),
        _ if line.is_on("services") => column("Service"),
        None | Some("table") => table(&COLUMNS, &rows),
        Some(format) => {
            let template = Template::parse(format)?;
            let lines: Result<Vec<_>, _> = rows.iter().map(|row| template.render(row)).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
    };
    Ok(Answer::said(stdout))
}

/// What `docker ps` has, and more.
fn fields(container: &Container, whole: bool) -> Map<String, Value> {
    let mut fields = list::fields(container, whole, now_ms());
    let publishers = container.ports.iter().filter(|_| container.is_up()).map(
        |port| json!({ "URL": "0.0.0.0", "TargetPort": port, "PublishedPort": port, "Protocol": "tcp" }),
    );
    let more = [
        ("ExitCode", container.exit_code.into()),
        ("Health", container.health.map_or("", Health::word).into()),
        ("Name", container.name.clone().into()),
        ("Project", PROJECT.into()),
        ("Publishers", publishers.collect::<Vec<_>>().into()),
        ("Service", container.name.clone().into()),
    ];
    fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    fields
}

/// Installs the stack. The lab sees it on the disk and makes the containers.
fn up(guest: &Guest, project_line: &Line, words: &[String]) -> Result<Answer, Answer> {
    let line = UP_OF.parse(words)?;
    if !line.is_on("detach") && !line.is_on("wait") {
        // In the foreground it would never end.
        return Err(Answer::refused("the lab's Compose only starts a project with --detach\n".to_owned(), 1));
    }
    require_file(guest, project_line)?;
    daemon(guest)?;
    let failed = |error: std::io::Error| Answer::refused(format!("{STACK_FOLDER}: {error}\n"), 1);
    disk::install_stack(&guest.disk()).map_err(failed)?;
    let deadline = Instant::now() + UP;
    loop {
        let containers = daemon(guest)?.containers;
        if !containers.is_empty() {
            let started = containers.iter().map(|c| format!(" Container {}  Started", c.name));
            return Ok(Answer { stderr: super::lines(started), ..Answer::default() });
        }
        if Instant::now() > deadline {
            return Err(Answer::refused("the lab does not start the containers\n".to_owned(), 1));
        }
        std::thread::sleep(PAUSE);
    }
}
