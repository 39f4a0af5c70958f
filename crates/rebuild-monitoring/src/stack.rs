//! What is particular about the monitoring stack.

use rebuild_stack::{About, Place, Services, Stack};
use restore_common::{
    homelab::{DeclaredStack, Environment, HomelabError, MONITORING_VM, Project},
    monitoring::{self, CHECKS, Inventory, Patience, Proof},
};

const ABOUT: About = About {
    program: "rebuild-monitoring",
    version: env!("CARGO_PKG_VERSION"),
    key: "monitoring",
    vm: MONITORING_VM,
    module: "monitoring-stack",
    instead: Some("`address` under `[monitoring]` in restore.toml"),
    history: "the history of all metrics",
    besides: "dashboards made by hand, silences, logs",
};

/// Prometheus, Alertmanager and Grafana on one VM.
pub struct Monitoring;

impl Stack for Monitoring {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn declared(&self, environment: &Environment) -> Result<Option<DeclaredStack>, HomelabError> {
        let declared = environment.monitoring();
        Ok(declared.map(|stack| DeclaredStack { address: stack.address.clone(), enabled: true }))
    }

    fn overridden<'p>(&self, project: &'p Project) -> Option<&'p str> {
        project.monitoring().address.as_deref()
    }

    fn services(&self, place: &Place<'_>) -> Result<Box<dyn Services>, HomelabError> {
        let Place { common, project, environment, address, .. } = place;
        Ok(Box::new(Watchers(monitoring::Stack::of(common, project, environment, *address)?)))
    }
}

/// The services, where they are.
struct Watchers(monitoring::Stack);

impl Services for Watchers {
    fn address(&self) -> &str {
        &self.0.address
    }

    fn checks(&self) -> Vec<(&'static str, String)> {
        CHECKS.map(|(id, title)| (id, title.to_owned())).to_vec()
    }

    fn take_stock(&self) -> Inventory {
        monitoring::take_stock(&self.0)
    }

    fn prove(
        &self,
        guest_is_new: bool,
        before: &Inventory,
        patience: &Patience<'_>,
    ) -> anyhow::Result<Proof> {
        if !guest_is_new {
            return Ok(monitoring::prove(&self.0, before, patience));
        }
        let folder = tempfile::tempdir()?;
        Ok(monitoring::prove(&self.0.clone().with_new_guest(folder.path()), before, patience))
    }
}
