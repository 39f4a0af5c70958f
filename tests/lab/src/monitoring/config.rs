//! What the real services are configured with.

use std::net::IpAddr;

use super::{ALERTMANAGER, EXPORTER, Fault, PROMETHEUS};

/// Of Prometheus: three jobs with a target each, an Alertmanager, and two groups of rules in a file of their own.
pub(super) fn prometheus(stack: IpAddr, node: IpAddr, faults: &[Fault]) -> String {
    let jobs = [
        ("prometheus", stack, PROMETHEUS),
        ("monitoring-stack", stack, EXPORTER),
        ("node-exporter", node, EXPORTER),
    ];
    let jobs = jobs
        .map(|(job, address, port)| {
            format!("  - job_name: {job}\n    static_configs:\n      - targets: [\"{address}:{port}\"]\n")
        })
        .concat();
    let alerting = if faults.contains(&Fault::AlertmanagerUnknown) {
        String::new()
    } else {
        format!(
            "alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: [\"{stack}:{ALERTMANAGER}\"]\n"
        )
    };
    let rules = if faults.contains(&Fault::NoRules) { "" } else { "rule_files: [rules.yml]\n" };
    format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n{alerting}{rules}scrape_configs:\n{jobs}"
    )
}

/// Rules that never fire while a test runs.
pub(super) const RULES: &str = "\
groups:
  - name: hosts
    rules:
      - alert: HostDown
        expr: up == 0
        for: 1h
        labels: { severity: critical }
      - record: job:up:sum
        expr: sum by (job) (up)
  - name: prometheus
    rules:
      - alert: PrometheusWithoutAlertmanager
        expr: prometheus_notifications_alertmanagers_discovered < 1
        for: 1h
        labels: { severity: warning }
";

/// Of Alertmanager: receivers that send nothing anywhere.
pub(super) const ALERTMANAGER_FILE: &str = "\
route:
  receiver: default
  routes:
    - receiver: telegram
      matchers: [severity = critical]
receivers:
  - name: default
  - name: telegram
";
