//! `docker ps`.

use serde_json::{Map, Value};

use super::{
    Answer, Container, Guest, Health, PROJECT, State, daemon,
    flags::{Flag, Line, Syntax, option, switch},
    format::Template,
    state::now_ms,
    time::{duration, listed},
};

const FLAGS: &[Flag] = &[
    switch("all", Some('a')),
    option("filter", Some('f')),
    option("format", None),
    option("last", Some('n')),
    switch("latest", Some('l')),
    switch("no-trunc", None),
    switch("quiet", Some('q')),
    switch("size", Some('s')),
];

pub(super) const PS: Syntax =
    Syntax { command: "docker ps", usage: "[OPTIONS]", flags: FLAGS, arguments: (0, 0) };

pub(super) const CONTAINER_LS: Syntax =
    Syntax { command: "docker container ls", usage: "[OPTIONS]", flags: FLAGS, arguments: (0, 0) };

/// The columns of the table.
const COLUMNS: [(&str, &str); 7] = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "RunningFor"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
];

pub(super) fn run(guest: &Guest, syntax: &Syntax, words: &[String]) -> Result<Answer, Answer> {
    let line = syntax.parse(words)?;
    let template = line.value("format").filter(|text| *text != "table").map(Template::parse).transpose()?;
    let mut shown = daemon(guest)?.containers;
    filter(&line, &mut shown)?;
    // The newest first.
    shown.sort_by_key(|container| std::cmp::Reverse(container.created_ms));
    let now = now_ms();
    let rows: Vec<_> = shown.iter().map(|c| fields(c, line.is_on("no-trunc"), now)).collect();
    if line.is_on("quiet") && template.is_none() {
        return Ok(Answer::said(rows.iter().map(|row| text(row, "ID") + "\n").collect()));
    }
    let stdout = match template {
        Some(template) => {
            let lines: Result<Vec<_>, _> = rows.iter().map(|row| template.render(row)).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
        None => table(&COLUMNS, &rows),
    };
    Ok(Answer::said(stdout))
}

/// Leaves what is to be listed.
fn filter(line: &Line, containers: &mut Vec<Container>) -> Result<(), Answer> {
    let states: Vec<&str> =
        line.values("filter").iter().filter_map(|filter| filter.strip_prefix("status=")).collect();
    if !line.is_on("all") && states.is_empty() {
        containers.retain(|c| matches!(c.state, State::Running | State::Paused | State::Restarting));
    }
    if !states.is_empty() {
        containers.retain(|c| states.contains(&c.state.word()));
    }
    for filter in line.values("filter") {
        match filter.split_once('=') {
            Some(("status", _)) => {}
            Some(("name", part)) => containers.retain(|c| c.name.contains(part)),
            Some(("health", word)) => {
                containers.retain(|c| c.health.map_or("none", Health::word) == word);
            }
            Some(("label", label)) => containers.retain(|c| labels(c).split(',').any(|l| l == label)),
            Some((key, _)) => {
                return Err(Answer::refused(
                    format!("Error response from daemon: invalid filter '{key}'\n"),
                    1,
                ));
            }
            None => {
                let words = format!(
                    "invalid argument \"{filter}\" for \"-f, --filter\" flag: bad format of filter (expected name=value)\n"
                );
                return Err(Answer::refused(words, 125));
            }
        }
    }
    Ok(())
}

/// What a template can name.
pub(super) fn fields(container: &Container, whole: bool, now: u64) -> Map<String, Value> {
    let id = container.id();
    let command = format!("\"{}\"", container.command.join(" "));
    let (id, command) = if whole { (id.as_str(), command) } else { (&id[..12], shortened(&command)) };
    let pairs = [
        ("Command", command),
        ("CreatedAt", listed(container.created_ms)),
        ("ID", id.to_owned()),
        ("Image", container.image.clone()),
        ("Labels", labels(container)),
        ("LocalVolumes", u8::from(container.volume.is_some()).to_string()),
        ("Mounts", container.volume.clone().unwrap_or_default()),
        ("Names", container.name.clone()),
        ("Networks", format!("{PROJECT}_default")),
        ("Ports", ports(container)),
        ("RunningFor", duration(now.saturating_sub(container.created_ms)) + " ago"),
        ("Size", "0B".to_owned()),
        ("State", container.state.word().to_owned()),
        ("Status", status(container, now)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
}

/// As `docker ps` has it in its column: `Up 3 hours (healthy)`.
pub(super) fn status(container: &Container, now: u64) -> String {
    let since = |then: u64| duration(now.saturating_sub(then));
    let code = container.exit_code;
    match (container.state, container.health) {
        (State::Created, _) => "Created".to_owned(),
        (State::Dead, _) => "Dead".to_owned(),
        (State::Exited, _) => format!("Exited ({code}) {} ago", since(container.finished_ms)),
        (State::Restarting, _) => format!("Restarting ({code}) {} ago", since(container.finished_ms)),
        (State::Paused, _) => format!("Up {} (Paused)", since(container.started_ms)),
        (State::Running, None) => format!("Up {}", since(container.started_ms)),
        (State::Running, Some(Health::Starting)) => {
            format!("Up {} (health: starting)", since(container.started_ms))
        }
        (State::Running, Some(health)) => format!("Up {} ({})", since(container.started_ms), health.word()),
    }
}

fn labels(container: &Container) -> String {
    format!(
        "com.docker.compose.project={PROJECT},com.docker.compose.service={},com.docker.compose.version=2.29.7",
        container.name
    )
}

fn ports(container: &Container) -> String {
    if !container.is_up() {
        return String::new();
    }
    let published =
        container.ports.iter().map(|port| format!("0.0.0.0:{port}->{port}/tcp, :::{port}->{port}/tcp"));
    published.collect::<Vec<_>>().join(", ")
}

/// Docker cuts a command after 20 characters.
fn shortened(command: &str) -> String {
    if command.chars().count() <= 20 {
        return command.to_owned();
    }
    command.chars().take(19).chain(['…']).collect()
}

/// A table as Docker aligns it.
pub(super) fn table(columns: &[(&str, &str)], rows: &[Map<String, Value>]) -> String {
    let width = |(title, key): &(&str, &str)| {
        rows.iter().map(|row| text(row, key).chars().count()).chain([title.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let head = line(columns.iter().map(|(title, _)| (*title).to_owned()).collect());
    rows.iter()
        .fold(head, |table, row| table + &line(columns.iter().map(|(_, key)| text(row, key)).collect()))
}

pub(super) fn text(row: &Map<String, Value>, key: &str) -> String {
    row.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
