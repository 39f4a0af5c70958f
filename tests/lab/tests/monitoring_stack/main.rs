//! What answers on the monitoring VM of a lab, asked by plain clients.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may end that way")]

mod docker;
mod life;

use std::{
    io,
    net::TcpStream,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use restore_lab::{
    guest::docker::State,
    lab::{Lab, LabBuilder, MONITORING},
    monitoring::{self, ALERTMANAGER, Fault, GRAFANA, GRAFANA_PASSWORD, Options, PROMETHEUS, Stack},
};
use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

const LIMIT: Duration = Duration::from_secs(30);

/// A lab whose stack works up to what is to be wrong; nothing where the real services are not installed.
fn lab(faults: &[Fault]) -> Option<Lab> {
    let lab = bare_lab(faults)?;
    stack(&lab).wait_until_ready().unwrap();
    Some(lab)
}

fn bare_lab(faults: &[Fault]) -> Option<Lab> {
    if !monitoring::is_installed().unwrap() {
        return None;
    }
    let options = Options { faults: faults.to_vec(), ..Options::default() };
    let lab = LabBuilder::new().small().backups(&[]).monitoring(options).start().unwrap();
    wait_for("the stack to start", || stack(&lab).is_up());
    Some(lab)
}

fn stack(lab: &Lab) -> &Stack {
    lab.stack().unwrap()
}

/// A status and a body; an error where nobody answers.
fn get(stack: &Stack, port: u16, path: &str) -> Result<(u16, String), ureq::Error> {
    get_as(stack, port, path, "admin", GRAFANA_PASSWORD)
}

fn get_as(
    stack: &Stack,
    port: u16,
    path: &str,
    user: &str,
    password: &str,
) -> Result<(u16, String), ureq::Error> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let login = STANDARD.encode(format!("{user}:{password}"));
    let config =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(LIMIT)).build();
    let url = format!("http://{}:{port}{path}", stack.address());
    let mut answer = config.new_agent().get(url).header("Authorization", format!("Basic {login}")).call()?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}

fn json(stack: &Stack, port: u16, path: &str) -> Value {
    let (status, text) = get(stack, port, path).unwrap();
    assert!(status < 600, "{status} {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

fn ssh(lab: &Lab, text: &str) -> Output {
    let home = lab.operator().home().join(".ssh");
    let address = lab.guest_address(MONITORING).unwrap();
    Command::new("ssh")
        .args(["-F", "none", "-p", &address.port().to_string(), "-i"])
        .arg(home.join("id_ed25519"))
        .args(["-o", &format!("UserKnownHostsFile={}", home.join("known_hosts").display())])
        .args(["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args([&format!("root@{}", address.ip()), text])
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a command on the VM prints.
fn said(lab: &Lab, text: &str) -> String {
    let output = ssh(lab, text);
    assert!(output.status.success(), "{text}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn containers(lab: &Lab) -> Vec<Value> {
    let lines = said(lab, "docker ps --all --format '{{json .}}'");
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn wait_for(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !reached() {
        assert!(Instant::now() < deadline, "still waiting for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_healthy_stack_answers_everywhere() {
    let Some(lab) = lab(&[]) else { return };
    let stack = stack(&lab);
    assert_eq!(get(stack, PROMETHEUS, "/-/ready").unwrap().0, 200);
    assert_eq!(
        health_of_targets(stack),
        [("monitoring-stack", "up"), ("node-exporter", "up"), ("prometheus", "up")].map(owned)
    );
    let groups = json(stack, PROMETHEUS, "/api/v1/rules");
    assert_eq!(strings(&groups["data"]["groups"], "/name"), ["hosts", "prometheus"]);
    let known = json(stack, PROMETHEUS, "/api/v1/alertmanagers");
    let url = format!("http://{}:{ALERTMANAGER}/api/v2/alerts", stack.address());
    assert_eq!(strings(&known["data"]["activeAlertmanagers"], "/url"), [url]);

    assert_eq!(get(stack, ALERTMANAGER, "/-/ready").unwrap().0, 200);
    assert_eq!(strings(&json(stack, ALERTMANAGER, "/api/v2/receivers"), "/name"), ["default", "telegram"]);

    assert_eq!(json(stack, GRAFANA, "/api/health")["database"], "ok");
    let dashboards = json(stack, GRAFANA, "/api/search?type=dash-db");
    assert_eq!(
        strings(&dashboards, "/title"),
        ["Node Exporter Full", "Proxmox via Prometheus", "Prometheus 2.0 Overview"]
    );
    assert_eq!(strings(&json(stack, GRAFANA, "/api/search"), "/type")[0], "dash-folder");
    let sources = json(stack, GRAFANA, "/api/datasources");
    let health: Vec<_> = strings(&sources, "/uid").iter().map(|uid| source_health(stack, uid)).collect();
    let expected = [
        (200, "Successfully queried the Prometheus API."),
        (200, "Data source successfully connected."),
        (500, "Plugin unavailable"),
    ];
    assert_eq!(health, expected.map(|(status, message)| (status, message.to_owned())));

    // What the services ask each other is no request of the operator's.
    let requests = stack.requests();
    assert!(requests.iter().all(|request| request.path != "/metrics"), "{requests:?}");
    assert_eq!((requests[0].port, requests[0].path.as_str()), (PROMETHEUS, "/-/ready"));
}

#[test]
fn what_prometheus_knows_can_be_broken() {
    let Some(lab) = lab(&[Fault::DeadTarget, Fault::AlertmanagerUnknown, Fault::NoRules]) else { return };
    let stack = stack(&lab);
    assert_eq!(
        health_of_targets(stack),
        [("monitoring-stack", "up"), ("node-exporter", "down"), ("prometheus", "up")].map(owned)
    );
    let targets = json(stack, PROMETHEUS, "/api/v1/targets");
    let errors = strings(&targets["data"]["activeTargets"], "/lastError");
    assert!(errors.iter().any(|error| error.ends_with("connection refused")), "{errors:?}");
    assert_eq!(json(stack, PROMETHEUS, "/api/v1/rules")["data"]["groups"], serde_json::json!([]));
    assert_eq!(
        json(stack, PROMETHEUS, "/api/v1/alertmanagers")["data"]["activeAlertmanagers"],
        serde_json::json!([])
    );

    stack.set(&[Fault::Container("alertmanager", State::Exited)]).unwrap();
    assert!(get(stack, ALERTMANAGER, "/-/ready").is_err());
    stack.heal().unwrap();
    stack.wait_until_ready().unwrap();
    wait_for("the target", || health_of_targets(stack).contains(&owned(("node-exporter", "up"))));
    assert_eq!(strings(&json(stack, PROMETHEUS, "/api/v1/rules")["data"]["groups"], "/name").len(), 2);
    assert_eq!(get(stack, ALERTMANAGER, "/-/ready").unwrap().0, 200);
}

#[test]
fn a_prometheus_that_replays_its_log_says_how_far_it_is() {
    let Some(lab) = bare_lab(&[Fault::PrometheusReplays(Duration::from_secs(4))]) else { return };
    let stack = stack(&lab);
    // What the real one answers while it is not ready, and it is not ready at once.
    wait_for("Prometheus to listen", || {
        get(stack, PROMETHEUS, "/-/healthy").is_ok_and(|(status, _)| status == 200)
    });
    assert_eq!(get(stack, PROMETHEUS, "/-/ready").unwrap(), (503, "Service Unavailable".to_owned()));
    assert_eq!(get(stack, PROMETHEUS, "/api/v1/targets").unwrap().0, 503);
    let current = || {
        let progress = &json(stack, PROMETHEUS, "/api/v1/status/walreplay")["data"];
        (progress["current"].as_u64().unwrap(), progress["max"].as_u64().unwrap())
    };
    let (begun, _) = current();
    wait_for("the replay to go on", || matches!(current(), (now, max) if now > begun && now < max));
    wait_for("the replay to end", || {
        get(stack, PROMETHEUS, "/-/ready").is_ok_and(|(status, _)| status == 200)
    });

    stack.set(&[Fault::PrometheusNeverReady]).unwrap();
    let (stuck, max) = current();
    assert!(stuck < max);
    assert_eq!(get(stack, PROMETHEUS, "/-/ready").unwrap().0, 503);
    let (status, message) = source_health(stack, "prometheus");
    assert_eq!(status, 400, "{message}");
}

#[test]
fn grafana_can_be_broken() {
    let Some(lab) = bare_lab(&[]) else { return };
    let stack = stack(&lab);
    assert_eq!(get_as(stack, GRAFANA, "/api/search", "admin", "guessed").unwrap().0, 401);
    assert_eq!(get_as(stack, GRAFANA, "/api/health", "admin", "guessed").unwrap().0, 200);
    stack.set(&[Fault::GrafanaPassword]).unwrap();
    let (status, text) = get(stack, GRAFANA, "/api/search").unwrap();
    assert!(status == 401 && text.contains("Invalid username or password"), "{status} {text}");
    // Every question with a wrong password is a try: after five of them the right one is refused as well.
    let tries = |count: usize| {
        for _ in 0..count {
            assert_eq!(get_as(stack, GRAFANA, "/api/search", "admin", "guessed").unwrap().0, 401);
        }
    };
    stack.heal().unwrap();
    tries(2);
    assert_eq!(get(stack, GRAFANA, "/api/search").unwrap().0, 200);
    stack.set(&[Fault::NoDashboards, Fault::DataSource]).unwrap();
    assert_eq!(json(stack, GRAFANA, "/api/search?type=dash-db"), serde_json::json!([]));
    let (status, message) = source_health(stack, "prometheus");
    assert!(status == 400 && message.contains("connection refused"), "{status} {message}");
    stack.set(&[Fault::GrafanaDatabase]).unwrap();
    let (status, text) = get(stack, GRAFANA, "/api/health").unwrap();
    assert!(status == 503 && text.contains("\"database\":\"failing\""), "{status} {text}");
    stack.heal().unwrap();
    tries(1);
    assert_eq!(get(stack, GRAFANA, "/api/search").unwrap().0, 401, "it is shut for everybody");
    assert!(stack.requests().iter().all(|request| request.has_login));
}

#[test]
fn a_port_can_be_closed_silent_or_of_another_protocol() {
    let Some(lab) = bare_lab(&[Fault::Closed(PROMETHEUS), Fault::Silent(ALERTMANAGER), Fault::Tls(GRAFANA)])
    else {
        return;
    };
    let stack = stack(&lab);
    let at = |port: u16| std::net::SocketAddr::from((stack.address(), port));
    let refused = TcpStream::connect(at(PROMETHEUS)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

    let mut silent = TcpStream::connect(at(ALERTMANAGER)).unwrap();
    io::Write::write_all(&mut silent, b"GET /-/ready HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let nothing = io::Read::read(&mut silent, &mut [0; 1]).unwrap_err();
    assert!(matches!(nothing.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{nothing}");

    assert!(get(stack, GRAFANA, "/api/health").is_err(), "plain HTTP is not understood");
    let https = |root: Option<Vec<u8>>| {
        let roots = root.map_or(RootCerts::PlatformVerifier, |pem| {
            RootCerts::from(vec![Certificate::from_pem(&pem).unwrap()])
        });
        let tls = TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).build();
        let agent = ureq::Agent::config_builder().tls_config(tls).build().new_agent();
        agent.get(format!("https://{}/api/health", at(GRAFANA))).call()
    };
    assert!(https(None).is_err(), "nobody knows its authority");
    assert_eq!(https(Some(std::fs::read(stack.authority()).unwrap())).unwrap().status().as_u16(), 200);

    stack.heal().unwrap();
    assert_eq!(json(stack, GRAFANA, "/api/health")["database"], "ok");
    stack.set(&[Fault::Closed(2222)]).unwrap();
    assert!(TcpStream::connect(at(2222)).is_err());
}

fn greets(stack: &Stack) -> bool {
    let mut greeting = [0; 4];
    let read = |mut stream: TcpStream| io::Read::read_exact(&mut stream, &mut greeting);
    TcpStream::connect((stack.address(), 2222)).and_then(read).is_ok_and(|()| &greeting == b"SSH-")
}

fn owned((job, health): (&str, &str)) -> (String, String) {
    (job.to_owned(), health.to_owned())
}

fn health_of_targets(stack: &Stack) -> Vec<(String, String)> {
    let targets = json(stack, PROMETHEUS, "/api/v1/targets");
    let targets = &targets["data"]["activeTargets"];
    let mut found: Vec<_> =
        strings(targets, "/labels/job").into_iter().zip(strings(targets, "/health")).collect();
    found.sort();
    found
}

fn strings(list: &Value, pointer: &str) -> Vec<String> {
    let text = |value: &Value| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    list.as_array().unwrap_or_else(|| panic!("no list: {list}")).iter().map(text).collect()
}

fn source_health(stack: &Stack, uid: &str) -> (u16, String) {
    let (status, text) = get(stack, GRAFANA, &format!("/api/datasources/uid/{uid}/health")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    (status, value["message"].as_str().unwrap().to_owned())
}
