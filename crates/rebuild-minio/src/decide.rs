//! From the diagnosis to the way that changes least; or to everything that speaks against any.

use std::{env, fs, path::Path};

use restore_common::{
    cli::state_folder,
    homelab::GuestChecks,
    procedure::Problem,
    pve::GuestKind,
    remote::{LocalHost, ReadOnly},
    s3::{S3Error, Trouble},
    state::Document,
    terraform::{Scope, Terraform},
};
use restore_tfstate::fallback::{self, Fallback, Source};
use restore_vm::{
    args::{Args, CheckLevel, Options},
    decide::Known as RestoreKnown,
    ha::Managed,
    nodes::Reached,
};

use crate::{
    args::{Cli, Mode},
    container::{Container, Known, UNIT},
    install::{Answer, gone},
    look::{Look, Serving},
    scene::{Or, Scene},
    states::{InBucket, StateWork, table},
    work::{Apply, Old, Rebuild, Starts, Way},
};

/// What came of it.
pub enum Decision {
    /// It is as it should be.
    Nothing(String),
    /// This is to be done.
    Do(Box<Rebuild>),
    /// It cannot be.
    No(Vec<Problem>),
}

/// What is to be done with the container, before the states are looked at.
enum Choice {
    Way(Way),
    Nothing(String),
}

/// Decides.
pub fn decide(cli: &Cli, scene: &Scene, look: &Look) -> anyhow::Result<Decision> {
    let local = LocalHost::new(&state_folder(), Vec::new())?;
    let found = Terraform::find(&ReadOnly(&local), cli.terraform_bin.as_deref(), &|name| env::var_os(name));
    let terraform = match found {
        Ok(terraform) => terraform,
        Err(error) => return Ok(Decision::No(vec![Problem::new(error.to_string())])),
    };
    let decider = Decider { cli, scene, look, terraform: &terraform };
    let way = match decider.choose()? {
        Ok(Choice::Way(way)) => way,
        Ok(Choice::Nothing(words)) => return Ok(Decision::Nothing(words)),
        Err(problems) => return Ok(Decision::No(problems)),
    };
    Ok(Decision::Do(Box::new(decider.rebuild(way))))
}

/// Whether a server that works is about to be replaced: that is asked a second time.
pub fn replaces_what_works(look: &Look, what: &Rebuild) -> bool {
    look.server.is_ok() && matches!(what.way, Way::Restore(_) | Way::Apply(_))
}

struct Decider<'a> {
    cli: &'a Cli,
    scene: &'a Scene,
    look: &'a Look,
    terraform: &'a Terraform,
}

impl Decider<'_> {
    fn choose(&self) -> anyhow::Result<Or<Choice>> {
        if let Some(problem) = self.full() {
            return Ok(Err(vec![problem]));
        }
        match &self.look.server {
            Ok(serving) if self.cli.replace => {
                log::debug!("{} works, and is to be replaced", serving.kind);
                self.by_mode()
            }
            Ok(serving) if self.lost_all_and_some_is_nowhere() && self.has_backup() => {
                log::debug!("{} has no state at all", serving.kind);
                Ok(self.restore()?.map(Choice::Way))
            }
            Ok(serving) => Ok(Ok(self.add(serving))),
            Err(error) if can_be_mended(&error.trouble) => self.by_container(error),
            Err(error) => Ok(Err(vec![wrong_server(error)])),
        }
    }

    /// A disk without room takes no state, and a start would not change that.
    fn full(&self) -> Option<Problem> {
        let Container::Known(known) = &self.look.container else { return None };
        let full = &known.inside.as_ref()?.full;
        if full.is_empty() || self.cli.mode != Mode::Auto {
            return None;
        }
        let problem =
            Problem::new(format!("the disk of container {} is full: {}", known.vmid, full.join(", ")));
        Some(problem.hint(format!(
            "make it larger: `pct resize {} rootfs +2G` (or the mount point that is full) on {}; then run this again",
            known.vmid, known.look.facts.name
        )))
    }

    fn by_mode(&self) -> anyhow::Result<Or<Choice>> {
        let way = match self.cli.mode {
            Mode::Rebuild => self.apply()?,
            Mode::Restore => self.restore()?,
            Mode::Auto if self.has_backup() => self.restore()?,
            Mode::Auto => self.apply()?,
        };
        Ok(way.map(Choice::Way))
    }

    fn by_container(&self, error: &S3Error) -> anyhow::Result<Or<Choice>> {
        let known = match &self.look.container {
            Container::Unknown(why) => {
                let failure = anyhow::Error::msg(why.to_string());
                let problem = Problem::new(format!("{error}, and its node could not be asked: {failure}"));
                return Ok(Err(vec![match host_hint(why) {
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }]));
            }
            Container::Nowhere(_) => return self.by_mode(),
            Container::Known(known) => known,
        };
        if self.cli.mode != Mode::Auto {
            return self.by_mode();
        }
        let Some(guest) = known.guest() else { return self.by_mode() };
        if guest.config.is_left_by_a_failed_restore() {
            return self.by_mode();
        }
        let start = |what| Ok(Ok(Choice::Way(Way::Start { vmid: known.vmid, what })));
        let Some(inside) = &known.inside else { return start(Starts::Container) };
        if !inside.has_unit {
            log::info!("container {} has no unit `{UNIT}`: nothing was installed in it", known.vmid);
            return self.by_mode();
        }
        match &error.trouble {
            Trouble::TimedOut | Trouble::Unreachable(_) => {
                let problem =
                    Problem::new(format!("{}, but nothing comes back from here: {error}", known.describe()));
                Ok(Err(vec![problem.hint(
                    "look at the network and the firewall between here and it; `--mode restore` restores it all the same",
                )]))
            }
            _ => start(Starts::Service),
        }
    }

    /// It serves: what is missing is added, and nothing else.
    fn add(&self, serving: &Serving) -> Choice {
        let is_missing = |state: &&crate::states::StateLook| {
            state.is_chosen
                || state.on_fallback
                || state.has_leftovers
                || (state.in_bucket == InBucket::Nothing && (state.copy.is_some() || self.lost_all()))
        };
        let missing = self.look.states.iter().any(|state| is_missing(&state));
        if missing || !serving.missing.is_empty() {
            return Choice::Way(Way::Add);
        }
        let differs: Vec<_> = self.look.states.iter().filter_map(|state| state.differs()).collect();
        let differs = differs.iter().fold(String::new(), |text, words| text + "; " + words);
        Choice::Nothing(format!(
            "{} at {} serves, with every bucket and every state: nothing to do (`--replace` replaces it all the same){differs}",
            serving.kind,
            self.scene.server.endpoint()
        ))
    }

    /// The server has none of the states that there ever were: its data is gone.
    fn lost_all(&self) -> bool {
        let states = &self.look.states;
        !states.is_empty() && states.iter().all(|state| state.in_bucket == InBucket::Nothing)
    }

    fn lost_all_and_some_is_nowhere(&self) -> bool {
        self.lost_all() && self.look.states.iter().any(|state| state.is_nowhere())
    }

    fn known(&self) -> Option<&Known> {
        match &self.look.container {
            Container::Known(known) => Some(known),
            Container::Unknown(_) | Container::Nowhere(_) => None,
        }
    }

    fn has_backup(&self) -> bool {
        let usable = |known: &Known| {
            let mut archives = known.look.archives.iter();
            archives.any(|archive| {
                archive.unusable().is_none() && !restore_vm::steps::safety::is_safety_backup(archive)
            })
        };
        self.cli.archive.is_some() || self.known().is_some_and(usable)
    }

    /// The container from a backup, as `restore-vm` decides it.
    fn restore(&self) -> anyhow::Result<Or<Way>> {
        let Some(known) = self.known() else {
            let problem = Problem::new(format!("there is no backup: {}", self.look.container.describe()));
            return Ok(Err(vec![
                problem.hint("name the container that has backups with `--vmid`, or use `--mode rebuild`"),
            ]));
        };
        let common = self.cli.common.clone();
        // It replaces the only server of the states: it is read to its end first.
        let options = Options {
            check: Some(CheckLevel::Full),
            archive: self.cli.archive.clone(),
            wait: Some(self.cli.wait),
            ..Options::new(common)
        };
        let args = Args { vmid: known.vmid, options };
        let reached = Reached {
            node: known.node.node.clone(),
            host: known.node.host.clone(),
            look: known.look.clone(),
        };
        let checks = self.scene.project.checks(known.vmid);
        let about = |_: Option<&str>| RestoreKnown {
            environment: self.scene.environment.name().to_owned(),
            reached_by: known.node.node.environment.clone(),
            // That it serves is this program's own proof.
            proof: GuestChecks {
                address: self.scene.minio.address.clone(),
                ports: Vec::new(),
                ping: false,
                ..checks.clone()
            },
        };
        let host = ReadOnly(reached.host.as_ref());
        Ok(restore_vm::decide::decide(&args, &host, &reached.look, &about)?.map_err(|problems| {
            let cost = "; `--mode rebuild` makes an empty one, and the history of every state is lost with the old one";
            problems
                .into_iter()
                .map(|problem| match problem.hint.clone() {
                    Some(hint) => problem.hint(format!("{hint}{cost}")),
                    None => problem.hint(cost.trim_start_matches("; ")),
                })
                .collect::<Vec<_>>()
        }).map(|assignment| Way::Restore(Box::new(assignment))))
    }

    /// The container from nothing, by Terraform.
    fn apply(&self) -> anyhow::Result<Or<Way>> {
        let mut problems = Vec::new();
        let module = match &self.look.module {
            Ok(module) => Some(module),
            Err(problem) => {
                problems.push(problem.clone());
                None
            }
        };
        for source in gone(&self.look.sources) {
            let problem = Problem::new(format!(
                "the module installs the server from {}: it would make an empty container",
                source.describe()
            ));
            problems.push(problem.hint(
                "`--mode restore` brings it back from a backup; or let the module install from a mirror, or another S3 server that keeps versions (RustFS, SeaweedFS)",
            ));
        }
        let old = match self.old() {
            Ok(old) => old,
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let fallback = match self.fallback()? {
            Ok(fallback) => fallback,
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        let Some((call, files)) = module.filter(|_| problems.is_empty()) else { return Ok(Err(problems)) };
        let state = self.state_bytes(fallback.as_ref());
        let guests = self.known().map(|known| known.guests.clone()).unwrap_or_default();
        Ok(Ok(Way::Apply(Box::new(Apply {
            scope: scope(&state.unwrap_or_default(), &call.address(), &files.provisioned),
            module: call.address(),
            in_state: self.known().map(|known| known.vmid),
            name: self.scene.container_name().to_owned(),
            old,
            guests,
            fallback,
        }))))
    }

    /// The container that is in the way.
    fn old(&self) -> Result<Option<Old>, Problem> {
        let Some(known) = self.known() else {
            return match &self.look.container {
                Container::Unknown(why) => Err(Problem::new(format!("its node could not be asked: {why}"))),
                _ => Ok(None),
            };
        };
        let Some(guest) = known.guest() else { return Ok(None) };
        if let Some(lock) = guest.config.lock() {
            let problem = Problem::new(format!("container {} is locked ({lock})", known.vmid));
            return Err(problem.hint("wait for the task that holds the lock"));
        }
        if let Some(managed) = Managed::find(&known.look.facts, GuestKind::Lxc, known.vmid) {
            let problem = Problem::new(format!("high availability looks after container {}", known.vmid));
            return Err(problem
                .hint(format!("`ha-manager remove {}` on the node; add it again afterwards", managed.sid)));
        }
        let disks = guest.config.disks(GuestKind::Lxc);
        Ok(Some(Old {
            vmid: known.vmid,
            runs: guest.is_active(),
            firewall: guest.firewall.clone(),
            volumes: disks.iter().filter_map(|disk| disk.volume()).map(|volume| volume.to_string()).collect(),
        }))
    }

    /// How the environment of the server works without it meanwhile.
    fn fallback(&self) -> anyhow::Result<Or<Option<Fallback>>> {
        let Some(site) = self.scene.own_site() else { return Ok(Ok(None)) };
        Ok(match fallback::decide(site, site.lock(), self.terraform.clone())? {
            fallback::Decision::Do(decided) => Ok(Some(self.with_chosen(*decided))),
            fallback::Decision::Nothing(_) => Ok(None),
            fallback::Decision::No(problems) => Err(problems),
            fallback::Decision::Lost(_) => {
                let name = site.name();
                let problem = Problem::new(format!(
                    "the state of {name} is neither in the S3 server nor on this machine, and Terraform needs it to rebuild the container"
                ));
                Err(vec![problem.hint(format!(
                    "`--mode restore` brings it back with the container; a copy from elsewhere is used with `--state {name}=FILE`; without any, `{} --fallback` writes import blocks",
                    site.again()
                ))])
            }
        })
    }

    fn with_chosen(&self, mut fallback: Fallback) -> Fallback {
        let own = |state: &&crate::states::StateLook| {
            state.environment == self.scene.environment.name() && state.is_chosen
        };
        if let Some(copy) = self.look.states.iter().find(own).and_then(|state| state.copy.clone()) {
            fallback.note.base = copy.seen.clone();
            fallback.source = Source::Copy(copy);
        }
        fallback
    }

    /// The state that the apply begins with.
    fn state_bytes(&self, fallback: Option<&Fallback>) -> Option<Vec<u8>> {
        let site = self.scene.own_site();
        match (fallback.map(|fallback| &fallback.source), site) {
            (Some(Source::Copy(copy)), _) => fs::read(&copy.path).ok(),
            (Some(Source::Bucket(_)), Some(site)) => site.current().ok().flatten().map(|object| object.bytes),
            (None, Some(site)) => fs::read(restore_tfstate::copies::local_state(site)).ok(),
            _ => fs::read(self.scene.environment.dir().join("terraform.tfstate")).ok(),
        }
    }

    fn rebuild(&self, way: Way) -> Rebuild {
        let (cli, scene, look) = (self.cli, self.scene, self.look);
        let newer_wins = !matches!(way, Way::Add);
        let needs_imports = newer_wins || self.lost_all();
        let states = scene.sites.iter().zip(&look.states).map(|(site, state)| {
            let is_rebuilt_here =
                matches!(way, Way::Apply(_)) && site.environment == scene.environment.name();
            let work = StateWork::decide(cli, &scene.environments, site, state, newer_wins, needs_imports);
            StateWork { on_fallback: work.on_fallback || is_rebuilt_here, ..work }
        });
        let mut warnings = self.warnings(&way);
        warnings.extend(scene.left_out.iter().map(|words| format!("not looked after: {words}")));
        Rebuild {
            environment: scene.environment.name().to_owned(),
            dir: absolute(scene.environment.dir()),
            endpoint: scene.server.endpoint().to_owned(),
            buckets: scene.buckets(),
            states: states.collect(),
            terraform: self.terraform.clone(),
            wait: cli.wait,
            complete: cli.complete,
            facts: look.facts(scene),
            details: vec![table(&look.states)],
            warnings,
            way,
        }
    }

    fn warnings(&self, way: &Way) -> Vec<String> {
        let mut warnings = Vec::new();
        match way {
            Way::Apply(_) => warnings.push(
                "the new server begins empty: of each state it gets the freshest copy, and not the versions before".to_owned(),
            ),
            Way::Restore(_) => warnings.extend(gone(&self.look.sources).map(|source| {
                format!("{}: once its backups are gone, Terraform cannot make this container again", source.describe())
            })),
            Way::Add | Way::Start { .. } => {}
        }
        let unknown = self.look.sources.iter().filter(|source| matches!(source.answer, Answer::Unknown(_)));
        if matches!(way, Way::Apply(_)) {
            warnings.extend(unknown.map(|source| format!("the module installs from {}", source.describe())));
        }
        for state in &self.look.states {
            warnings.extend(state.differs());
            warnings.extend(state.foreign.iter().map(|copy| {
                format!(
                    "left alone, of another lineage: {} (`--state {}=…` takes it)",
                    copy.path.display(),
                    state.environment
                )
            }));
            if state.is_nowhere() && matches!(way, Way::Apply(_)) {
                warnings.push(format!(
                    "the state of {} is nowhere: it cannot be brought back",
                    state.environment
                ));
            }
        }
        warnings
    }
}

/// Something answers, and it is not the server, or not for us: no container would change that.
fn wrong_server(error: &S3Error) -> Problem {
    let words = match &error.trouble {
        Trouble::NotS3(_) => format!("something else has the port of the S3 server: {error}"),
        _ => error.to_string(),
    };
    Problem::new(words).hint(error.trouble.advice())
}

/// Whether the server itself may be made to work again.
fn can_be_mended(trouble: &Trouble) -> bool {
    matches!(
        trouble,
        Trouble::Refused
            | Trouble::TimedOut
            | Trouble::Unreachable(_)
            | Trouble::Broken(_)
            | Trouble::Unavailable(..)
    )
}

fn host_hint(error: &restore_common::pve::PveError) -> Option<String> {
    match error {
        restore_common::pve::PveError::Host(error) => error.hint(),
        _ => None,
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The module, and made anew the instances of its resources with provisioners that are in a state: Terraform would leave them
/// as they are.
fn scope(state: &[u8], module: &str, provisioned: &[String]) -> Scope {
    let resources = Document::parse(state).ok().and_then(|document| document.resources);
    let instances = resources.map(|resources| resources.instances).unwrap_or_default();
    Scope::module(module, provisioned, instances.keys())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_state_and_has_provisioners_is_replaced() {
        let resource = |module: &str, name: &str, key: &str| {
            format!(
                "{{\"module\":\"{module}\",\"mode\":\"managed\",\"type\":\"terraform_data\",\"name\":\"{name}\",\"instances\":[{{{key}\"attributes\":{{}}}}]}}"
            )
        };
        let state = format!(
            "{{\"version\":4,\"serial\":1,\"lineage\":\"l\",\"resources\":[{},{},{}]}}",
            resource("module.minio", "install", ""),
            resource("module.minio", "plain", ""),
            resource("module.other", "install", "")
        );
        let provisioned = ["terraform_data.install".to_owned(), "terraform_data.absent".to_owned()];
        let found = scope(state.as_bytes(), "module.minio", &provisioned);
        assert_eq!(found.replace, ["module.minio.terraform_data.install"]);
    }
}
