//! What Docker's command line says on the VM.

use std::{path::Path, process::Command};

use restore_lab::{
    guest::docker::State,
    monitoring::{Fault, GRAFANA},
};
use serde_json::Value;

use crate::{LIMIT, bare_lab, containers, get, json, said, ssh, stack};

#[test]
fn docker_tells_of_every_container() {
    let Some(lab) = bare_lab(&[]) else { return };
    let listed = containers(&lab);
    let names: Vec<_> = listed.iter().map(|container| container["Names"].as_str().unwrap()).collect();
    let expected = [
        "prometheus",
        "grafana",
        "alertmanager",
        "loki",
        "promtail",
        "traefik",
        "uptime-kuma",
        "pve-exporter",
        "node-exporter",
    ];
    assert_eq!(names, expected);
    let first = &listed[0];
    assert_eq!(
        (first["State"].as_str(), first["Image"].as_str()),
        (Some("running"), Some("prom/prometheus:v2.54.1"))
    );
    assert!(first["Status"].as_str().unwrap().ends_with("(healthy)"), "{first}");
    assert_eq!(first["ID"].as_str().unwrap().len(), 12);

    let inspected: Value =
        serde_json::from_str(&said(&lab, "docker inspect prometheus node-exporter")).unwrap();
    assert_eq!(inspected[0]["Name"], "/prometheus");
    assert_eq!(inspected[0]["State"]["Health"]["Status"], "healthy");
    assert_eq!(inspected[0]["RestartCount"], 0);
    assert!(inspected[1]["State"].get("Health").is_none(), "it has no health check: {inspected}");

    let lines = said(&lab, "docker compose -p monitoring ps --all --format json");
    let of_compose: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(of_compose.len(), 9);
    assert_eq!(
        (of_compose[0]["Service"].as_str(), of_compose[0]["Health"].as_str()),
        (Some("alertmanager"), Some("healthy"))
    );
    assert_eq!(of_compose[0]["Publishers"][0]["PublishedPort"], 9093);
    assert_eq!(said(&lab, "docker version --format '{{.Server.Version}}'"), "27.3.1\n");
    assert_eq!(said(&lab, "docker ps -qf name=loki | wc -l"), "1\n");
    assert_eq!(stack(&lab).executions().unwrap().len(), 5);
    let unknown = ssh(&lab, "docker ps --format '{{.Health}}'");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("can't evaluate field Health"), "{unknown:?}");
}

#[rstest::rstest]
#[case("docker ps --foo", 125, "unknown flag: --foo")]
#[case("docker ps -az", 125, "unknown shorthand flag: 'z' in -az")]
#[case("docker ps --format", 125, "flag needs an argument: --format")]
#[case("docker ps prometheus", 1, "accepts no arguments")]
#[case("docker ps --all=maybe", 125, "strconv.ParseBool")]
#[case("docker ps --format '{{json .'", 1, "unclosed action")]
#[case("docker ps -f nonsense", 125, "bad format of filter")]
#[case("docker inspect", 1, "requires at least 1 argument")]
#[case("docker inspect nobody", 1, "Error: No such object: nobody")]
#[case("docker container inspect nobody", 1, "No such container: nobody")]
#[case("docker logs nobody", 1, "No such container: nobody")]
#[case("docker compose ps", 1, "no configuration file provided: not found")]
#[case("docker compose -p monitoring ps nobody", 1, "no such service: nobody")]
#[case("docker frobnicate", 1, "is not a docker command")]
fn docker_is_strict(#[case] command: &str, #[case] code: i32, #[case] words: &str) {
    let guest = tempfile::tempdir().unwrap();
    let folder = guest.path().join("var/lib/docker");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::create_dir(guest.path().join("root")).unwrap();
    let programs = guest.path().join(".bin");
    std::fs::create_dir(&programs).unwrap();
    let simulator = Path::new(env!("CARGO_BIN_EXE_pve-sim"));
    std::os::unix::fs::symlink(simulator, programs.join("docker")).unwrap();
    let output = Command::new(simulator)
        .args(["shell", "-c", command])
        .env("LAB_GUEST", guest.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
}

#[test]
fn containers_can_be_broken() {
    let Some(lab) = bare_lab(&[Fault::HealthStarts(LIMIT * 10)]) else { return };
    let stack = stack(&lab);
    let status = |name: &str| {
        let found = containers(&lab).into_iter().find(|container| container["Names"] == name)?;
        Some(found["Status"].as_str().unwrap().to_owned())
    };
    assert!(status("loki").unwrap().ends_with("(health: starting)"));
    stack
        .set(&[
            Fault::Missing("promtail"),
            Fault::Container("traefik", State::Restarting),
            Fault::Container("grafana", State::Exited),
            Fault::Unhealthy("loki"),
        ])
        .unwrap();
    assert_eq!(status("promtail"), None);
    assert!(status("traefik").unwrap().starts_with("Restarting (1) "));
    assert!(status("grafana").unwrap().starts_with("Exited (1) "));
    assert!(status("loki").unwrap().ends_with("(unhealthy)"));
    assert!(get(stack, GRAFANA, "/api/health").is_err(), "a container that ended has no port");
    let running = said(&lab, "docker ps --format '{{.Names}}'");
    assert!(!running.contains("grafana") && running.contains("traefik"), "{running}");
    assert_eq!(
        said(&lab, "docker inspect -f '{{.RestartCount}} {{.State.Restarting}}' traefik"),
        "12 true\n"
    );
    let log = ssh(&lab, "docker logs --tail 1 traefik");
    assert!(String::from_utf8_lossy(&log.stderr).contains("error loading config"), "{log:?}");

    stack.set(&[Fault::DockerDenied]).unwrap();
    let denied = ssh(&lab, "docker ps");
    assert!(
        String::from_utf8_lossy(&denied.stderr).starts_with("permission denied while trying"),
        "{denied:?}"
    );
    stack.set(&[Fault::NoDocker]).unwrap();
    assert_eq!(ssh(&lab, "docker ps").status.code(), Some(127));

    stack.set(&[Fault::DockerDown]).unwrap();
    let output = ssh(&lab, "docker ps");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Cannot connect to the Docker daemon"));
    assert_eq!(json(stack, GRAFANA, "/api/health")["database"], "ok", "what it started goes on");
}
