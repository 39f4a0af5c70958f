//! The diagnosis: the server, its container, every environment's state, where it would be installed from. Nothing is changed.

use std::{env, thread};

use restore_common::{
    homelab::{Module, ModuleCall},
    procedure::{Problem, facts_text},
    s3::{Kind, S3Error, Trouble, Versioning},
    terraform::DataFolder,
    ui::sanitize,
};
use restore_tfstate::copies::Copies;
use serde_json::{Value, json};

use crate::{
    args::Cli,
    container::{Container, Wanted, number_in_state},
    install::{self, Source},
    scene::{Or, Scene},
    states::{InBucket, StateLook, table},
};

/// A server that serves.
#[derive(Clone, Debug)]
pub struct Serving {
    /// Which one it is.
    pub kind: Kind,
    /// What its buckets lack, in words.
    pub missing: Vec<String>,
}

/// All that was seen.
pub struct Look {
    /// The server, or what exactly is wrong with it.
    pub server: Result<Serving, S3Error>,
    /// Its container.
    pub container: Container,
    /// The states.
    pub states: Vec<StateLook>,
    /// The call of the module that makes the container.
    pub module: Result<(ModuleCall, Module), Problem>,
    /// Where the module gets the server from.
    pub sources: Vec<Source>,
}

impl Look {
    /// Looks at everything, at the same time where it can.
    pub fn take(cli: &Cli, scene: &Scene) -> anyhow::Result<Or<Self>> {
        let module = match scene.module(cli.module.as_deref())? {
            Ok(call) => {
                let (dir, data) = (
                    scene.environment.dir(),
                    DataFolder::of(scene.environment.dir(), &|name| env::var_os(name)),
                );
                let folder = call.folder(dir, data.path()).filter(|folder| folder.is_dir());
                let files = folder.as_deref().map(Module::read).transpose()?.unwrap_or_default();
                Ok((call, files))
            }
            Err(problem) => Err(problem),
        };
        let node = scene.environment.node()?;
        let in_state = module.as_ref().ok().and_then(|(call, _)| in_state(scene, &call.address()));
        let wanted = Wanted {
            named: cli.vmid,
            name: scene.container_name(),
            address: scene.minio.address.as_deref(),
            in_state,
        };
        let (server, container, sources) = thread::scope(|scope| {
            let container = scope.spawn(|| Container::find(&cli.common, node, &wanted));
            let sources =
                scope.spawn(|| module.as_ref().map_or(Ok(Vec::new()), |(_, files)| install::ask(files)));
            (serving(scene), container.join(), sources.join())
        });
        let broken = || anyhow::anyhow!("the look ended unexpectedly");
        let (container, sources) = (container.map_err(|_| broken())?, sources.map_err(|_| broken())??);
        let container = match container {
            Ok(container) => container,
            Err(problem) => return Ok(Err(vec![problem])),
        };
        let states = match states(cli, scene, server.is_ok())? {
            Ok(states) => states,
            Err(problems) => return Ok(Err(problems)),
        };
        Ok(Ok(Self { server, container, states, module, sources }))
    }

    /// The diagnosis as pairs, for the top of a plan.
    pub fn facts(&self, scene: &Scene) -> Vec<(String, String)> {
        let mut facts = vec![
            ("server".to_owned(), self.server_words(scene)),
            ("container".to_owned(), self.container.describe()),
        ];
        facts.extend(self.sources.iter().map(|source| ("installed from".to_owned(), source.describe())));
        facts
    }

    fn server_words(&self, scene: &Scene) -> String {
        match &self.server {
            Ok(Serving { kind, missing }) if missing.is_empty() => {
                format!("{kind} at {} serves", scene.server.endpoint())
            }
            Ok(Serving { kind, missing }) => {
                format!("{kind} at {} serves, but {}", scene.server.endpoint(), missing.join("; "))
            }
            Err(error) => format!("{}: {}", error.endpoint, error.trouble),
        }
    }

    /// The diagnosis as text, where there is no plan.
    pub fn text(&self, scene: &Scene) -> String {
        let text = facts_text(&self.facts(scene)) + "\n";
        let rows = table(&self.states);
        rows.lines().fold(text, |text, line| text + "  " + line + "\n")
    }

    /// The diagnosis for programs.
    pub fn document(&self, scene: &Scene) -> Value {
        let states = self.states.iter().map(|state| {
            json!({
                "environment": state.environment,
                "in_bucket": match &state.in_bucket {
                    InBucket::Unknown => json!("unknown"),
                    InBucket::Nothing => Value::Null,
                    InBucket::Is(seen) => json!(seen.summary),
                },
                "here": state.copy.as_ref().map(|copy| json!({ "path": copy.path, "state": copy.seen.summary })),
                "on_fallback": state.on_fallback,
            })
        });
        json!({
            "environment": scene.environment.name(),
            "endpoint": scene.server.endpoint(),
            "server": self.server_words(scene),
            "container": self.container.describe(),
            "sources": self.sources.iter().map(Source::describe).collect::<Vec<_>>(),
            "states": states.collect::<Vec<_>>(),
        })
    }
}

/// The number of the container in the freshest state of its environment.
fn in_state(scene: &Scene, module: &str) -> Option<restore_common::pve::Vmid> {
    match scene.own_site() {
        Some(site) => {
            let copies = Copies::find(site).ok()?;
            copies.of_the_state.iter().find_map(|copy| number_in_state(&copy.path, module))
        }
        None => number_in_state(&scene.environment.dir().join("terraform.tfstate"), module),
    }
}

fn serving(scene: &Scene) -> Result<Serving, S3Error> {
    let kind = scene.server.serves()?;
    let there = scene.server.buckets()?;
    let mut missing = Vec::new();
    for name in scene.buckets() {
        if !there.contains(&name) {
            missing.push(format!("there is no bucket `{}`", sanitize(&name)));
            continue;
        }
        match scene.server.bucket(&name)?.versioning() {
            Ok(Versioning::Enabled) => {}
            Ok(_) => missing.push(format!("bucket `{}` keeps no versions", sanitize(&name))),
            // What cannot be turned on is not missing; it is said where the server's abilities are.
            Err(error) if error.trouble == Trouble::NotImplemented => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Serving { kind, missing })
}

fn states(cli: &Cli, scene: &Scene, serves: bool) -> anyhow::Result<Or<Vec<StateLook>>> {
    let (mut states, mut problems) = (Vec::new(), Vec::new());
    for chosen in &cli.state {
        if scene.site(&chosen.environment).is_none() {
            let name = sanitize(&chosen.environment);
            problems.push(Problem::new(format!(
                "`--state {name}=…`: no environment `{name}` has its state in this server"
            )));
        }
    }
    for site in &scene.sites {
        let chosen = cli.state.iter().find(|chosen| chosen.environment == site.environment);
        match StateLook::find(site, chosen, serves)? {
            Ok(state) => states.push(state),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(if problems.is_empty() { Ok(states) } else { Err(problems) })
}
