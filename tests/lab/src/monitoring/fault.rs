//! What can be wrong with the stack.

use std::time::Duration;

use super::{ALERTMANAGER, GRAFANA, PROMETHEUS};
use crate::guest::docker::State;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Prometheus replays its log for so long after it was started; until then it is not ready.
    PrometheusReplays(Duration),
    /// Prometheus never gets to the end of its log.
    PrometheusNeverReady,
    /// Prometheus was not told of Alertmanager.
    AlertmanagerUnknown,
    /// Prometheus has no rules.
    NoRules,
    /// The node's exporter does not answer.
    DeadTarget,
    /// Grafana has no dashboards.
    NoDashboards,
    /// Grafana cannot use its database.
    GrafanaDatabase,
    /// Grafana has another password than the project says.
    GrafanaPassword,
    /// Grafana does not reach its first data source.
    DataSource,
    /// Docker does not run. What it started before goes on.
    DockerDown,
    /// The user who may log in may not use Docker.
    DockerDenied,
    /// Docker's command line is not installed.
    NoDocker,
    /// A container is not there.
    Missing(&'static str),
    /// A container is in this state. Its port answers only while it runs.
    Container(&'static str, State),
    /// The health check of a container fails.
    Unhealthy(&'static str),
    /// Health checks pass only so long after the start.
    HealthStarts(Duration),
    /// A port refuses connections.
    Closed(u16),
    /// A port takes connections, and never says anything.
    Silent(u16),
    /// A port speaks TLS, with a certificate of an authority that nobody knows.
    Tls(u16),
    /// Another machine has the VM's address: by SSH it shows another host key.
    OtherHostKey,
}

impl Fault {
    /// Whether it is about what Prometheus is started with: when it comes or goes, Prometheus is started again.
    pub(super) fn restarts_prometheus(&self) -> bool {
        matches!(self, Self::PrometheusReplays(_) | Self::PrometheusNeverReady)
    }
}

/// The container that has a port.
pub(super) fn container_of(port: u16) -> Option<&'static str> {
    match port {
        PROMETHEUS => Some("prometheus"),
        ALERTMANAGER => Some("alertmanager"),
        GRAFANA => Some("grafana"),
        super::EXPORTER => Some("node-exporter"),
        _ => None,
    }
}
