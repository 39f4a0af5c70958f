//! The containers of the stack, asked of Docker on its guest.
//!
//! Source: Docker's `docker inspect`. It could also tell environments, which hold passwords: they are not asked for.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;

use super::asking::{Asker, Look, Seen, listed, short};
use crate::{
    remote::{Command, Ending, Host, HostError, Output, SshHost},
    ui::format::counted,
};

/// Those without which there is no stack.
const NEEDED: [&str; 3] = ["prometheus", "alertmanager", "grafana"];

/// What is asked about each, as a line of JSON.
const FORMAT: &str = r#"{"Name":{{json .Name}},"RestartCount":{{json .RestartCount}},"State":{{json .State}},"Image":{{json .Config.Image}},"Policy":{{json .HostConfig.RestartPolicy.Name}} }"#;

/// One that was restarted by itself has to stay up for so long before it counts as running.
const STEADY: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    name: String,
    state: State,
    #[serde(default)]
    restart_count: u64,
    image: String,
    policy: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    #[serde(default)]
    exit_code: i64,
    #[serde(default)]
    error: String,
    #[serde(default, rename = "OOMKilled")]
    out_of_memory: bool,
    health: Option<Health>,
    started_at: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

/// The check of the containers.
pub(super) fn look(asker: &Asker<'_>) -> Vec<Seen> {
    let mut host = None;
    let mut names = None;
    let seen = Seen::timed(|| {
        let looked = asker.until("the containers", || {
            connected(asker, &mut host).and_then(|host| {
                inspect(host).and_then(|(containers, now)| {
                    names = Some(containers.iter().map(|one| one.name().to_owned()).collect::<BTreeSet<_>>());
                    judge(&containers, now)
                })
            })
        });
        Seen::of("containers", looked)
    });
    vec![Seen { names, ..seen }]
}

/// The guest, connected to when that was not done yet.
fn connected<'h>(asker: &Asker<'_>, kept: &'h mut Option<SshHost>) -> Look<&'h SshHost> {
    if kept.is_none() {
        match asker.stack.connect() {
            Ok(host) => *kept = Some(host),
            Err(error) => return unreachable(&error),
        }
    }
    match kept {
        Some(host) => Look::Is(host),
        None => Look::NotYet("not connected".to_owned()),
    }
}

/// A guest that is not up yet does not answer. One that does, and is another one or lets nobody in, stays so.
fn unreachable<T>(error: &HostError) -> Look<T> {
    let words = match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    };
    match error {
        HostError::Unreachable { .. } | HostError::Lost { .. } | HostError::TimedOut { .. } => {
            Look::NotYet(words)
        }
        _ => Look::IsNot(words),
    }
}

/// All containers, and the guest's clock.
fn inspect(host: &dyn Host) -> Look<(Vec<Container>, i64)> {
    let questions = [
        Command::read("docker").args(["ps", "--all", "--quiet", "--no-trunc"]),
        Command::read("date").arg("+%s"),
    ];
    let answers = match host.run_all(&questions) {
        Ok(answers) => answers,
        Err(error) => return unreachable(&error),
    };
    let now = answers[1].stdout.trim().parse().unwrap_or_else(|_| Timestamp::now().as_second());
    let ids: Vec<&str> = answers[0].stdout.split_whitespace().collect();
    if !answers[0].success() {
        return no_docker(&answers[0]);
    }
    if ids.is_empty() {
        return Look::NotYet("Docker has no container".to_owned());
    }
    let question = Command::read("docker").args(["inspect", "--format", FORMAT]).args(ids);
    let answer = match host.run(&question) {
        Ok(answer) => answer,
        Err(error) => return unreachable(&error),
    };
    // One that was removed in between fails the whole.
    if !answer.success() {
        return no_docker(&answer);
    }
    let containers: Result<Vec<Container>, _> =
        answer.stdout.lines().filter(|line| !line.is_empty()).map(serde_json::from_str).collect();
    match containers {
        Ok(containers) => Look::Is((containers, now)),
        Err(error) => Look::IsNot(format!("what `docker inspect` prints cannot be read: {error}")),
    }
}

/// Docker does not answer: it may be starting, or is not there at all.
fn no_docker<T>(answer: &Output) -> Look<T> {
    let said = short(answer.stderr.lines().next_back().unwrap_or_default());
    if answer.ending == Ending::Exit(127) {
        return Look::IsNot(format!("there is no Docker on the guest ({said})"));
    }
    if answer.stderr.contains("permission denied") {
        return Look::IsNot(format!(
            "its user may not use Docker ({said}); `ssh_user` under `[monitoring]` in restore.toml names one who may"
        ));
    }
    Look::NotYet(format!("Docker does not answer: {said}"))
}

impl Container {
    fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// One that was only to do something once, and did.
    fn has_done_its_work(&self) -> bool {
        self.state.status == "exited"
            && self.state.exit_code == 0
            && matches!(self.policy.as_str(), "" | "no" | "on-failure")
    }

    fn health(&self) -> Option<&str> {
        self.state.health.as_ref().map(|health| health.status.as_str()).filter(|health| *health != "none")
    }

    /// What is wrong with it, if anything is.
    fn trouble(&self, now: i64) -> Option<String> {
        let State { status, exit_code, error, out_of_memory, started_at, .. } = &self.state;
        let restarts = || counted(self.restart_count, "restart");
        let why = if *out_of_memory {
            ", it ran out of memory".to_owned()
        } else if error.is_empty() {
            String::new()
        } else {
            format!(", {}", short(error))
        };
        match status.as_str() {
            _ if self.has_done_its_work() => None,
            "restarting" => Some(format!("restarting, {}, last exit status {exit_code}{why}", restarts())),
            "running" => match self.health() {
                Some(health) if health != "healthy" => Some(format!("{}, {}", short(health), restarts())),
                _ if self.restart_count > 0
                    && now - started_at.as_second() < STEADY.as_secs().cast_signed() =>
                {
                    Some(format!("restarted a moment ago, {}, last exit status {exit_code}", restarts()))
                }
                _ => None,
            },
            other => Some(format!("{}, exit status {exit_code}{why}", short(other))),
        }
    }

    /// `grafana 11.2.0 (healthy)`, with restarts where there are any.
    fn described(&self) -> String {
        let image = self.image.rsplit('/').next().unwrap_or_default();
        let health = self.health().map(|health| format!(", {health}")).unwrap_or_default();
        let restarts = match self.restart_count {
            0 => String::new(),
            count => format!(", {}", counted(count, "restart")),
        };
        format!("{} ({image}{health}{restarts})", self.name())
    }
}

fn judge(containers: &[Container], now: i64) -> Look<String> {
    let absent = NEEDED.iter().filter(|name| !containers.iter().any(|one| one.name() == **name));
    let absent: Vec<_> = absent.map(|name| format!("there is no container `{name}`")).collect();
    let broken = containers.iter().filter_map(|one| {
        let trouble = one.trouble(now)?;
        Some(format!("`{}` ({}) is {trouble}", short(one.name()), short(&one.image)))
    });
    let troubles: Vec<_> = absent.into_iter().chain(broken).collect();
    if troubles.is_empty() {
        let all = counted(containers.len() as u64, "container");
        Look::Is(format!("{all}: {}", listed(containers.iter().map(Container::described))))
    } else {
        Look::NotYet(listed(troubles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_769_734_804;

    fn container(name: &str, state: &str, restarts: u64, policy: &str) -> Container {
        let text = format!(
            r#"{{"Name":"/{name}","RestartCount":{restarts},"Image":"docker.io/prom/{name}:v2","Policy":"{policy}","State":{{"StartedAt":"{}",{state}}}}}"#,
            Timestamp::from_second(NOW - 3).unwrap()
        );
        serde_json::from_str(&text).unwrap()
    }

    fn stack(more: Vec<Container>) -> Vec<Container> {
        let healthy = r#""Status":"running","Health":{"Status":"healthy"}"#;
        NEEDED.iter().map(|name| container(name, healthy, 0, "unless-stopped")).chain(more).collect()
    }

    #[rstest::rstest]
    #[case(r#""Status":"running""#, 0, "always", None)]
    #[case(r#""Status":"running","Health":{"Status":"none"}"#, 0, "always", None)]
    #[case(r#""Status":"exited","ExitCode":0"#, 0, "no", None)]
    #[case(r#""Status":"exited","ExitCode":0"#, 0, "always", Some("exited, exit status 0"))]
    #[case(
        r#""Status":"exited","ExitCode":137,"OOMKilled":true"#,
        0,
        "no",
        Some("exited, exit status 137, it ran out of memory")
    )]
    #[case(
        r#""Status":"restarting","ExitCode":1"#,
        7,
        "always",
        Some("restarting, 7 restarts, last exit status 1")
    )]
    #[case(
        r#""Status":"running","ExitCode":1"#,
        7,
        "always",
        Some("restarted a moment ago, 7 restarts, last exit status 1")
    )]
    #[case(
        r#""Status":"running","Health":{"Status":"unhealthy"}"#,
        1,
        "always",
        Some("unhealthy, 1 restart")
    )]
    fn what_is_wrong_with_a_container(
        #[case] state: &str,
        #[case] restarts: u64,
        #[case] policy: &str,
        #[case] trouble: Option<&str>,
    ) {
        assert_eq!(container("loki", state, restarts, policy).trouble(NOW).as_deref(), trouble);
    }

    #[test]
    fn what_is_missing_and_what_is_broken_is_named_with_its_image() {
        let Look::Is(saw) = judge(&stack(Vec::new()), NOW) else { panic!("it is whole") };
        assert!(saw.starts_with("3 containers: prometheus (prometheus:v2, healthy)"), "{saw}");
        let loki = container("loki", r#""Status":"restarting","ExitCode":1"#, 7, "always");
        let Look::NotYet(saw) = judge(&stack(vec![loki])[1..], NOW) else { panic!("it is not") };
        assert!(saw.contains("there is no container `prometheus`"), "{saw}");
        assert!(saw.contains("`loki` (docker.io/prom/loki:v2) is restarting, 7 restarts"), "{saw}");
    }

    #[test]
    fn docker_that_is_not_there_is_told_from_docker_that_starts() {
        let answer = |code, stderr: &str| Output {
            ending: Ending::Exit(code),
            stdout: String::new(),
            stderr: stderr.to_owned(),
        };
        assert!(matches!(no_docker::<()>(&answer(127, "docker: command not found")), Look::IsNot(_)));
        assert!(matches!(no_docker::<()>(&answer(1, "permission denied while trying")), Look::IsNot(_)));
        assert!(matches!(
            no_docker::<()>(&answer(1, "Cannot connect to the Docker daemon")),
            Look::NotYet(_)
        ));
    }
}
