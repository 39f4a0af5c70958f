//! What is to be done, decided, and a run at work on it.

use std::{collections::BTreeMap, path::PathBuf};

use restore_common::{
    procedure::{Failure, Kept, Workplace},
    pve::Vmid,
    remote::{Command, Host},
    s3::Capabilities,
    state::file_name,
    terraform::{PlanSummary, Scope, Terraform},
};
use restore_tfstate::{
    fallback::{self, Fallback},
    site::digest,
    work::Context,
};
use restore_vm::assignment::{Assignment, Restore};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{part::Part, scene::Scene, states::StateWork};

/// Decided: all that the plan is made of. It is kept in the journal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rebuild {
    /// The environment that has the server.
    pub environment: String,
    /// The folder of its configuration.
    pub dir: PathBuf,
    /// The server.
    pub endpoint: String,
    /// How it comes back.
    pub way: Way,
    /// The buckets that it is to have.
    pub buckets: Vec<String>,
    /// What becomes of the states.
    pub states: Vec<StateWork>,
    /// The program.
    pub terraform: Terraform,
    /// Seconds that the server may take to serve.
    pub wait: u64,
    /// What is left to apply in the environment is applied.
    pub complete: bool,
    /// The diagnosis, for the plan.
    pub facts: Vec<(String, String)>,
    /// The states as a table, for the plan.
    pub details: Vec<String>,
    /// What to know before saying yes.
    pub warnings: Vec<String>,
}

/// How the server comes back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It serves: only what is missing is added.
    Add,
    /// Its container, or the service in it, is started.
    Start {
        /// The container.
        vmid: Vmid,
        /// What.
        what: Starts,
    },
    /// Its container comes from a backup.
    Restore(Box<Assignment>),
    /// Its container is made anew by Terraform.
    Apply(Box<Apply>),
}

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Starts {
    /// A container that is stopped.
    Container,
    /// The service in a container that runs.
    Service,
}

/// An apply of the module from nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Apply {
    /// The address of the module.
    pub module: String,
    /// It alone; and made anew its resources with provisioners, which would not run again by themselves.
    pub scope: Scope,
    /// The container that is in the way.
    pub old: Option<Old>,
    /// The name of the new one on the node.
    pub name: String,
    /// The number that the state has for it.
    pub in_state: Option<Vmid>,
    /// The guests of the node before.
    pub guests: Vec<Vmid>,
    /// How the environment works without the server meanwhile. Nothing: it does so already, or its state is a file anyhow.
    pub fallback: Option<Fallback>,
}

/// A container that is set aside: its configuration is taken away, its volumes stay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Old {
    /// Its number.
    pub vmid: Vmid,
    /// It runs.
    pub runs: bool,
    /// Its volumes.
    pub volumes: Vec<String>,
    /// Its firewall file: whatever gets its number may lose it.
    pub firewall: Option<String>,
}

impl Rebuild {
    /// The container that is worked on, where one is.
    pub fn vmid(&self) -> Option<Vmid> {
        match &self.way {
            Way::Add => None,
            Way::Start { vmid, .. } => Some(*vmid),
            Way::Restore(what) => Some(what.target),
            Way::Apply(apply) => apply.old.as_ref().map(|old| old.vmid).or(apply.in_state),
        }
    }

    /// Its name in the report and in `--json`.
    pub fn mode(&self) -> &'static str {
        match &self.way {
            Way::Add => "add",
            Way::Start { .. } => "start",
            Way::Restore(_) => "restore",
            Way::Apply(_) => "rebuild",
        }
    }
}

/// What the steps found out, and later ones or the report need.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Copies of the states that are used, by environment.
    pub sources: BTreeMap<String, PathBuf>,
    /// The copy of the configuration of the container that was set aside, on the node.
    pub old_config: Option<String>,
    /// What was applied.
    pub applied: Option<String>,
    /// What the server can do.
    pub capabilities: Option<Capabilities>,
    /// What became of each state: whether it is as it should be, and in words.
    pub states: BTreeMap<String, Outcome>,
    /// What became of each backend.
    pub backends: BTreeMap<String, Outcome>,
    /// What an apply would do, by environment.
    pub plans: BTreeMap<String, PlanSummary>,
    /// Buckets that could not be made to keep versions, with the reason.
    pub without_versions: BTreeMap<String, String>,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// It is as it should be.
    pub good: bool,
    /// In words.
    pub words: String,
}

impl Outcome {
    /// As it should be.
    pub fn good(words: impl Into<String>) -> Self {
        Self { good: true, words: words.into() }
    }

    /// Not as it should be.
    pub fn bad(words: impl Into<String>) -> Self {
        Self { good: false, words: words.into() }
    }
}

/// A run at work.
pub struct Ctx<'a> {
    /// This machine, with what Terraform needs in the environment of the server.
    pub local: &'a dyn Host,
    /// The node, where the work has to do with it.
    pub node: Option<&'a dyn Host>,
    /// What the project says.
    pub scene: &'a Scene,
    /// What is to be done.
    pub what: Rebuild,
    /// What the steps found out.
    pub found: Found,
    /// The restore of the container.
    pub restore: Option<Part<Restore<'a>>>,
    /// The environment of the server without it.
    pub fallback: Option<Part<Context<'a, Fallback>>>,
}

impl<'a> Ctx<'a> {
    /// Ready to begin, or to go on with what was `found` out before.
    pub fn new(
        local: &'a dyn Host,
        node: Option<&'a dyn Host>,
        scene: &'a Scene,
        what: Rebuild,
        found: &Value,
    ) -> anyhow::Result<Self> {
        let own = |key: &str| if found[key].is_null() { json!({}) } else { found[key].clone() };
        let mut restore = None;
        if let Way::Restore(assignment) = &what.way {
            let host = node.ok_or_else(|| Failure::new("the restore has no node"))?;
            let mut work = Restore::new(host, assignment.as_ref().clone());
            if !found["restore"].is_null() {
                work.found = serde_json::from_value(found["restore"].clone())?;
            }
            restore = Some(Part::new(restore_vm::plan::build(assignment, assignment.looked_at), work));
        }
        let mut fallback = None;
        if let Way::Apply(apply) = &what.way
            && let Some(decided) = &apply.fallback
        {
            let site = scene.own_site().ok_or_else(|| {
                Failure::new(format!("environment `{}` has no S3 backend any more", what.environment))
            })?;
            let mut work = Context::new(local, site, decided.clone());
            if !found["fallback"].is_null() {
                work.found = serde_json::from_value(found["fallback"].clone())?;
            }
            fallback = Some(Part::new(fallback::plan(site, decided), work));
        }
        let found = if found.is_null() { Found::default() } else { serde_json::from_value(own("own"))? };
        Ok(Self { local, node, scene, what, found, restore, fallback })
    }

    /// The node.
    pub fn node(&self) -> anyhow::Result<&'a dyn Host> {
        self.node.ok_or_else(|| Failure::new("there is no connection to the node").into())
    }

    /// What becomes of the state of an environment.
    pub fn state(&self, environment: &str) -> Option<&StateWork> {
        self.what.states.iter().find(|state| state.environment == environment)
    }
}

impl Workplace for Ctx<'_> {
    fn host(&self) -> &dyn Host {
        self.local
    }

    fn elsewhere(&self) -> Vec<(&dyn Host, String)> {
        let vmid = self.what.vmid();
        self.node.zip(vmid).map(|(node, vmid)| (node, format!("guest-{vmid}"))).into_iter().collect()
    }

    fn kept(&self) -> Vec<Kept> {
        let restored = self.restore.iter().flat_map(|part| part.work.kept());
        let old = match &self.what.way {
            Way::Apply(apply) => apply.old.as_ref().zip(self.found.old_config.as_ref()),
            _ => None,
        };
        let old = old.map(|(old, config)| kept_of(old, config));
        restored.chain(old).collect()
    }

    fn next(&self) -> Vec<String> {
        let mut next: Vec<String> = self.restore.iter().flat_map(|part| part.work.next()).collect();
        if let Some(abilities) = &self.found.capabilities {
            next.extend((!abilities.conditions).then(|| {
                format!(
                    "{} takes every write, so locks protect nobody there: run one Terraform at a time",
                    abilities.kind
                )
            }));
        }
        for (environment, plan) in self.found.plans.iter().filter(|(_, plan)| !plan.is_empty()) {
            let addresses: Vec<_> = plan
                .resources
                .iter()
                .take(SHOWN)
                .map(|(action, address)| format!("{action} {address}"))
                .collect();
            let more = plan.resources.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            next.push(format!("still to apply in {environment} ({plan}): {}{more}", addresses.join(", ")));
        }
        next
    }

    fn claim(&self) -> String {
        let folder = digest(self.what.dir.to_string_lossy().as_bytes());
        format!("minio-{}-{}", file_name(&self.what.environment), &folder[..8])
    }

    fn work(&self) -> Value {
        json!({ "dir": self.what.dir, "what": self.what })
    }

    fn found(&self) -> Value {
        json!({
            "own": self.found,
            "restore": self.restore.as_ref().map(|part| part.work.found()),
            "fallback": self.fallback.as_ref().map(|part| part.work.found()),
        })
    }
}

/// How many addresses of a plan are named.
const SHOWN: usize = 8;

fn kept_of(old: &Old, config: &str) -> Kept {
    let volumes = old.volumes.join(", ");
    let target = restore_common::pve::GuestKind::Lxc.config_path(old.vmid);
    let free: Vec<_> = old
        .volumes
        .iter()
        .map(|volume| Command::destroy("pvesm").args(["free", volume]).to_string())
        .chain(std::iter::once(Command::destroy("rm").arg(config).to_string()))
        .collect();
    Kept {
        what: format!("the container {} as it was: its volumes and its configuration", old.vmid),
        place: format!("{volumes}; {config}"),
        go_back: Some(format!(
            "destroy the new container, then `{}`",
            Command::write("cp").args([config, &target])
        )),
        remove: free.join(" && "),
    }
}
