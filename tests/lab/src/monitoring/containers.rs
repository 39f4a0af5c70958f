//! The containers of the stack's compose file.

use super::{ALERTMANAGER, EXPORTER, Fault, GRAFANA, PROMETHEUS};
use crate::guest::docker::{Container, Health, State, now_ms};

/// How long before the VM was started the containers were made: thirty days.
const AGE_MS: u64 = 30 * 86_400_000;
/// How long ago a container that does not run ended.
const ENDED_MS: u64 = 125_000;

struct Service {
    name: &'static str,
    image: &'static str,
    command: &'static str,
    port: Option<u16>,
    has_health_check: bool,
}

const fn service(
    name: &'static str,
    image: &'static str,
    command: &'static str,
    port: Option<u16>,
    has_health_check: bool,
) -> Service {
    Service { name, image, command, port, has_health_check }
}

const SERVICES: [Service; 9] = [
    service(
        "prometheus",
        "prom/prometheus:v2.54.1",
        "/bin/prometheus --config.file=/etc/prometheus/prometheus.yml",
        Some(PROMETHEUS),
        true,
    ),
    service("grafana", "grafana/grafana:11.2.0", "/run.sh", Some(GRAFANA), true),
    service(
        "alertmanager",
        "prom/alertmanager:v0.27.0",
        "/bin/alertmanager --config.file=/etc/alertmanager/alertmanager.yml",
        Some(ALERTMANAGER),
        true,
    ),
    service("loki", "grafana/loki:3.1.1", "/usr/bin/loki -config.file=/etc/loki/loki.yml", Some(3100), true),
    service(
        "promtail",
        "grafana/promtail:3.1.1",
        "/usr/bin/promtail -config.file=/etc/promtail.yml",
        None,
        false,
    ),
    service("traefik", "traefik:v3.1", "/entrypoint.sh traefik", Some(80), true),
    service(
        "uptime-kuma",
        "louislam/uptime-kuma:1",
        "/usr/bin/dumb-init -- node server/server.js",
        Some(3001),
        true,
    ),
    service("pve-exporter", "prompve/prometheus-pve-exporter:3.4.5", "/opt/pve_exporter", Some(9221), false),
    service("node-exporter", "prom/node-exporter:v1.8.2", "/bin/node_exporter", Some(EXPORTER), false),
];

/// All containers of a VM that was started then.
pub(super) fn all(faults: &[Fault], booted_ms: u64) -> Vec<Container> {
    let is_there = |service: &&Service| !faults.contains(&Fault::Missing(service.name));
    SERVICES.iter().filter(is_there).map(|service| container(service, faults, booted_ms)).collect()
}

fn container(service: &Service, faults: &[Fault], booted_ms: u64) -> Container {
    let state = faults.iter().find_map(|fault| match fault {
        Fault::Container(name, state) if *name == service.name => Some(*state),
        _ => None,
    });
    let state = state.unwrap_or(State::Running);
    let ended = !matches!(state, State::Running | State::Paused | State::Created);
    let log = if ended {
        vec![
            "level=error msg=\"error loading config\" err=\"open /etc/config.yml: permission denied\""
                .to_owned(),
        ]
    } else {
        Vec::new()
    };
    let health = service.has_health_check.then(|| health(service.name, faults, booted_ms));
    Container {
        name: service.name.to_owned(),
        image: service.image.to_owned(),
        command: service.command.split(' ').map(str::to_owned).collect(),
        ports: service.port.into_iter().collect(),
        volume: service.has_health_check.then(|| format!("monitoring_{}_data", service.name)),
        state,
        health: health.filter(|_| matches!(state, State::Running | State::Paused)),
        health_output: if health == Some(Health::Unhealthy) {
            "wget: server returned error: HTTP/1.1 503\n"
        } else {
            ""
        }
        .to_owned(),
        exit_code: i32::from(ended),
        restarts: if state == State::Restarting { 12 } else { 0 },
        created_ms: booted_ms.saturating_sub(AGE_MS),
        started_ms: if state == State::Created { 0 } else { booted_ms },
        finished_ms: if ended { now_ms().saturating_sub(ENDED_MS) } else { 0 },
        log,
    }
}

fn health(name: &str, faults: &[Fault], booted_ms: u64) -> Health {
    let age = now_ms().saturating_sub(booted_ms);
    let is_starting =
        |fault: &Fault| matches!(fault, Fault::HealthStarts(after) if u128::from(age) < after.as_millis());
    if faults.iter().any(|fault| matches!(fault, Fault::Unhealthy(sick) if *sick == name)) {
        Health::Unhealthy
    } else if faults.iter().any(is_starting) {
        Health::Starting
    } else {
        Health::Healthy
    }
}
