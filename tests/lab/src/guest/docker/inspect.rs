//! `docker inspect`.

use serde_json::{Map, Value, json};

use super::{
    Answer, Container, Guest, PROJECT, State, daemon, find,
    flags::{Syntax, option, switch},
    format::Template,
    time::precise,
};

pub(super) const INSPECT: Syntax = Syntax {
    command: "docker inspect",
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    flags: &[option("format", Some('f')), switch("size", Some('s')), option("type", None)],
    arguments: (1, usize::MAX),
};

pub(super) const CONTAINER_INSPECT: Syntax = Syntax {
    command: "docker container inspect",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    flags: &[option("format", Some('f')), switch("size", Some('s'))],
    arguments: (1, usize::MAX),
};

pub(super) fn run(guest: &Guest, syntax: &Syntax, words: &[String]) -> Result<Answer, Answer> {
    let line = syntax.parse(words)?;
    let template =
        line.value("format").filter(|format| *format != "json").map(Template::parse).transpose()?;
    let docker = daemon(guest)?;
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &line.arguments {
        match find(&docker, name) {
            Some(container) => found.push(object(container)),
            None => missing.push(name.as_str()),
        }
    }
    let stdout = match template {
        Some(template) => {
            let lines: Result<Vec<_>, _> = found.iter().map(|object| template.render(object)).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
        None => serde_json::to_string_pretty(&found).unwrap_or_default().replace("  ", "    ") + "\n",
    };
    let lead = if syntax.command == INSPECT.command {
        "Error: No such object"
    } else {
        "Error response from daemon: No such container"
    };
    let stderr = super::lines(missing.iter().map(|name| format!("{lead}: {name}")));
    Ok(Answer { stdout, code: i32::from(!stderr.is_empty()), stderr })
}

/// Everything that Docker tells of a container, of what matters here.
fn object(container: &Container) -> Map<String, Value> {
    let is = |state: State| container.state == state;
    // While a container waits to be started again, Docker takes it for one that runs.
    let mut state = json!({
        "Status": container.state.word(),
        "Running": is(State::Running) || is(State::Paused) || is(State::Restarting),
        "Paused": is(State::Paused),
        "Restarting": is(State::Restarting),
        "OOMKilled": false,
        "Dead": is(State::Dead),
        "Pid": if container.is_up() { 4242 } else { 0 },
        "ExitCode": container.exit_code,
        "Error": "",
        "StartedAt": precise(container.started_ms),
        "FinishedAt": precise(container.finished_ms),
    });
    if let Some(health) = container.health {
        state["Health"] = json!({
            "Status": health.word(),
            "FailingStreak": if health == super::Health::Unhealthy { 7 } else { 0 },
            "Log": [{
                "Start": precise(container.started_ms),
                "End": precise(container.started_ms + 40),
                "ExitCode": i32::from(health == super::Health::Unhealthy),
                "Output": container.health_output,
            }],
        });
    }
    let labels = json!({
        "com.docker.compose.project": PROJECT,
        "com.docker.compose.service": container.name,
        "com.docker.compose.version": "2.29.7",
    });
    let ports = container.ports.iter().map(|port| {
        let bound = json!([{ "HostIp": "0.0.0.0", "HostPort": port.to_string() }]);
        (format!("{port}/tcp"), bound)
    });
    let pairs = [
        ("Id", container.id().into()),
        ("Created", precise(container.created_ms).into()),
        ("Path", container.command.first().cloned().unwrap_or_default().into()),
        ("Args", container.command.iter().skip(1).cloned().collect::<Vec<_>>().into()),
        ("State", state),
        ("Image", container.image_id().into()),
        ("Name", format!("/{}", container.name).into()),
        ("RestartCount", container.restarts.into()),
        ("Driver", "overlay2".into()),
        ("Platform", "linux".into()),
        ("HostConfig", json!({ "RestartPolicy": { "Name": "unless-stopped", "MaximumRetryCount": 0 } })),
        ("Config", json!({ "Hostname": &container.id()[..12], "Image": container.image, "Labels": labels })),
        ("NetworkSettings", json!({ "Ports": ports.collect::<Map<_, _>>() })),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
