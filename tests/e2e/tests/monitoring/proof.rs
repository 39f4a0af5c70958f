//! `--check-only`: what is found of each service, and what is waited for.

use std::time::Duration;

use restore_lab::{
    guest::docker::State,
    lab::{Lab, MONITORING},
    monitoring::{ALERTMANAGER, Fault, GRAFANA, GRAFANA_PASSWORD, PROMETHEUS},
};

use crate::ground::{BRIEF, check, failed, lab, rebuild_monitoring, saw, stack};

#[test]
fn a_stack_that_works_passes_every_check() {
    let Some(lab) = lab(&[]) else { return };
    let before = lab.journal().unwrap().len();
    let ran = check(&lab, &[]).exits(0);
    assert_eq!(ran.report()["checks"].as_array().unwrap().len(), 10, "{ran}");
    assert!(saw(&ran, "containers", "passed").contains("grafana (grafana:11.2.0, healthy)"), "{ran}");
    let targets = saw(&ran, "targets", "passed");
    assert_eq!(targets, "3 targets: monitoring-stack 1, node-exporter 1, prometheus 1");
    assert_eq!(saw(&ran, "rules", "passed"), "2 groups, 3 rules");
    assert!(saw(&ran, "alerting", "passed").contains(":9093/api/v2/alerts"), "{ran}");
    assert_eq!(saw(&ran, "receivers", "passed"), "default, telegram");
    assert!(saw(&ran, "dashboards", "passed").contains("Node Exporter Full"), "{ran}");
    assert_eq!(saw(&ran, "grafana", "passed"), "version 11.2.0, its database is ok");
    assert!(saw(&ran, "data-sources", "passed").contains("Loki"), "{ran}");
    assert_eq!(lab.journal().unwrap().len(), before, "no node was asked");
}

#[test]
fn the_password_goes_to_grafana_alone_and_is_shown_nowhere() {
    let Some(lab) = lab(&[]) else { return };
    let stack = stack(&lab);
    stack.forget().unwrap();
    let ran = rebuild_monitoring(&lab, &["--check-only", "-vv"]).exits(0);
    assert!(!ran.to_string().contains(GRAFANA_PASSWORD), "{ran}");
    let requests = stack.requests();
    assert!(!requests.is_empty());
    let asked: Vec<_> = stack.executions().unwrap();
    assert!(asked.iter().all(|text| !text.contains(GRAFANA_PASSWORD)), "{asked:?}");
}

#[test]
fn a_dead_target_is_named_with_its_job_and_its_error() {
    let Some(lab) = lab(&[Fault::DeadTarget]) else { return };
    let ran = check(&lab, &[]).exits(4);
    assert_eq!(failed(&ran), ["targets"], "{ran}");
    let targets = saw(&ran, "targets", "failed");
    assert!(targets.starts_with("1 of 3 down: job `node-exporter`, "), "{targets}");
    assert!(targets.contains("connection refused"), "{targets}");
    rebuild_monitoring(&lab, &["--check-only"]).exits(4).says("job `node-exporter`");
}

#[test]
fn a_prometheus_that_replays_its_log_is_waited_for_and_shown() {
    let Some(lab) = lab(&[Fault::PrometheusReplays(Duration::from_secs(20))]) else { return };
    let ran = rebuild_monitoring(&lab, &["--check-only"]).exits(0);
    ran.says("Prometheus: starting, ").says("% of its log is replayed").says("Prometheus is ready: ready");
}

#[test]
fn a_prometheus_that_is_never_ready_is_given_up() {
    let Some(lab) = lab(&[Fault::PrometheusNeverReady]) else { return };
    let ran = check(&lab, &["--wait", BRIEF]).exits(4);
    let words = saw(&ran, "prometheus", "failed");
    assert!(
        words.starts_with("starting, ") && words.ends_with(" % of its log is replayed, for 6.0 s"),
        "{words}"
    );
    assert!(saw(&ran, "targets", "skipped").contains("Prometheus is not ready"), "{ran}");
    saw(&ran, "alertmanager", "passed");
}

#[test]
fn each_fault_is_found_and_named() {
    let Some(lab) = lab(&[]) else { return };
    let faults: [(&[Fault], &str, &str); 12] = [
        (&[Fault::AlertmanagerUnknown], "alerting", "Prometheus knows no Alertmanager"),
        (&[Fault::NoRules], "rules", "no rule is loaded"),
        (&[Fault::NoDashboards], "dashboards", "Grafana has no dashboard"),
        (
            &[Fault::GrafanaPassword],
            "data-sources",
            "does not let `admin` in (status 401: Invalid username or password)",
        ),
        (&[Fault::GrafanaDatabase], "grafana", "its database is failing"),
        (&[Fault::DataSource], "data-sources", "1 of 3 do not answer: `Prometheus` (status 400: Post"),
        (
            &[Fault::Container("loki", State::Restarting)],
            "containers",
            "`loki` (grafana/loki:3.1.1) is restarting, 12 restarts",
        ),
        (
            &[Fault::Container("traefik", State::Exited)],
            "containers",
            "`traefik` (traefik:v3.1) is exited, exit status 1",
        ),
        (&[Fault::Missing("alertmanager")], "containers", "there is no container `alertmanager`"),
        (&[Fault::Unhealthy("loki")], "containers", "`loki` (grafana/loki:3.1.1) is unhealthy"),
        (&[Fault::DockerDown], "containers", "Docker does not answer: "),
        (&[Fault::OtherHostKey], "containers", "is not trusted"),
    ];
    for (faults, id, words) in faults {
        stack(&lab).set(faults).unwrap();
        // As old as it gets in a test, a Prometheus that was started anew is not done looking around.
        let ran = check(&lab, &["--wait", BRIEF]).exits(4);
        let seen = saw(&ran, id, "failed");
        assert!(seen.contains(words), "{faults:?}: {seen}");
    }
}

#[test]
fn what_is_starting_is_waited_for() {
    let Some(lab) = lab(&[]) else { return };
    let stack = stack(&lab);
    stack.set(&[Fault::HealthStarts(Duration::from_secs(30))]).unwrap();
    check(&lab, &[]).exits(0);
    // A port that is opened meanwhile.
    stack.set(&[Fault::Closed(GRAFANA)]).unwrap();
    let ran = std::thread::scope(|scope| {
        let ran = scope.spawn(|| rebuild_monitoring(&lab, &["--check-only"]));
        // It is open before the program can give up, and shut while it begins.
        while stack.requests().is_empty() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        stack.heal().unwrap();
        ran.join().unwrap()
    });
    ran.exits(0);
}

#[test]
fn a_port_that_is_shut_or_says_nothing_is_told_apart() {
    let Some(lab) = lab(&[]) else { return };
    let stack = stack(&lab);
    stack.set(&[Fault::Closed(ALERTMANAGER), Fault::Silent(PROMETHEUS), Fault::Tls(GRAFANA)]).unwrap();
    let ran = check(&lab, &["--wait", "0"]).exits(4);
    assert_eq!(saw(&ran, "alertmanager", "failed"), "connection refused");
    assert_eq!(saw(&ran, "prometheus", "failed"), "no answer in time");
    let grafana = saw(&ran, "grafana", "failed");
    assert!(grafana.contains("HTTP") || grafana.contains("reset"), "{grafana}");
    assert!(saw(&ran, "receivers", "skipped").contains("Alertmanager is not ready"));
}

#[test]
fn a_service_behind_tls_is_asked_as_restore_toml_says() {
    let Some(lab) = lab(&[Fault::Tls(GRAFANA)]) else { return };
    let address = stack(&lab).address();
    let path = lab.operator().project().join("restore.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    let tell = |more: &str| {
        let section = format!("{before}\n[monitoring]\ngrafana = \"https://{address}:{GRAFANA}\"\n{more}");
        std::fs::write(&path, section).unwrap();
    };
    tell("");
    let ran = check(&lab, &["--wait", BRIEF]).exits(4);
    let grafana = saw(&ran, "grafana", "failed");
    assert!(grafana.contains("certificate"), "{grafana}");
    tell("insecure = true\n");
    check(&lab, &[]).exits(0);
    tell("ca = \"nowhere.pem\"\n");
    let ran = check(&lab, &["--wait", BRIEF]).exits(4);
    assert!(saw(&ran, "grafana", "failed").contains("nowhere.pem"), "{ran}");
}

#[test]
fn a_vm_that_is_off_fails_every_check_and_a_clear_report_says_so() {
    let Some(lab) = lab(&[]) else { return };
    off(&lab);
    let ran = check(&lab, &["--wait", "1"]).exits(4);
    assert_eq!(failed(&ran), ["containers", "prometheus", "alertmanager", "grafana"], "{ran}");
    assert!(saw(&ran, "containers", "failed").contains("cannot reach monitoring-stack"), "{ran}");
}

fn off(lab: &Lab) {
    let stopped = lab.on_node(&["qm", "stop", &MONITORING.to_string()]).unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    while stack(lab).is_up() {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
