//! Which environment has the monitoring stack, and where that is.

use std::{env, path::PathBuf};

use restore_common::{
    cli::state_folder,
    homelab::{Environment, Project},
    monitoring::Stack,
    procedure::Problem,
    remote::{Command, LocalHost},
    terraform::{DataFolder, Terraform},
    ui::sanitize,
};

use crate::args::Cli;

/// The environment with the monitoring stack.
pub struct Site {
    /// The project.
    pub project: Project,
    /// The environment.
    pub environment: Environment,
    /// All environments that the run is about: their nodes are asked for the guest.
    pub environments: Vec<Environment>,
}

impl Site {
    /// Finds it; the problem says why there is none.
    pub fn find(cli: &Cli) -> anyhow::Result<Result<Self, Problem>> {
        let project =
            Project::find(cli.common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
        let environments = project.selected(cli.common.env.as_deref())?;
        let declares = |environment: &&Environment| environment.monitoring().is_some();
        let mut candidates: Vec<&Environment> = environments.iter().filter(declares).collect();
        if candidates.is_empty() && project.monitoring().address.is_some() {
            candidates = environments.iter().collect();
        }
        let names = |environments: &[&Environment]| {
            let names = environments.iter().map(|one| format!("`{}`", sanitize(one.name())));
            names.collect::<Vec<_>>().join(", ")
        };
        let environment = match candidates.as_slice() {
            [one] => (*one).clone(),
            [] => {
                let all: Vec<_> = environments.iter().collect();
                return Ok(Err(Problem::new(format!(
                    "no environment has a monitoring stack: `monitoring` is absent or `null` in the tfvars of {}",
                    names(&all)
                ))
                .hint("write `monitoring = { vm = { ip = … } }` there, or `address` under `[monitoring]` in restore.toml")));
            }
            several => {
                let problem =
                    Problem::new(format!("several environments have a monitoring stack: {}", names(several)));
                return Ok(Err(problem.hint("choose one with `--env`")));
            }
        };
        Ok(Ok(Self { project, environment, environments }))
    }

    /// Where the services are. `known` is the guest's address where the files do not tell.
    pub fn stack(&self, cli: &Cli, known: Option<&str>) -> anyhow::Result<Stack> {
        Ok(Stack::of(&cli.common, &self.project, &self.environment, known)?)
    }

    /// The address that the files tell.
    pub fn address(&self) -> Option<&str> {
        let declared = self.environment.monitoring().and_then(|stack| stack.address.as_deref());
        self.project.monitoring().address.as_deref().or(declared)
    }

    /// The folder of the configuration.
    pub fn dir(&self) -> anyhow::Result<PathBuf> {
        Ok(std::path::absolute(self.environment.dir())?)
    }

    /// The workspace that Terraform works in.
    pub fn workspace(&self) -> String {
        let named = env::var("TF_WORKSPACE").ok().filter(|name| !name.is_empty());
        let selected = || DataFolder::of(self.environment.dir(), &|name| env::var_os(name)).workspace();
        named.or_else(selected).unwrap_or_else(|| "default".to_owned())
    }

    /// This machine, with what Terraform needs in its environment.
    pub fn local_host(&self) -> anyhow::Result<LocalHost> {
        let variables =
            Terraform::surroundings(&self.project, &self.environment, &self.workspace(), &|name| {
                env::var_os(name)
            })?;
        Ok(LocalHost::new(&state_folder(), variables)?)
    }
}

/// How the operator calls this program for the same stack again.
pub fn again(cli: &Cli) -> String {
    let mut command = Command::read("rebuild-monitoring");
    for (option, value) in [
        ("--env", cli.common.env.clone()),
        ("--vmid", cli.vmid.map(|vmid| vmid.to_string())),
        ("--node", cli.node.as_ref().map(ToString::to_string)),
    ] {
        command = command.args(value.into_iter().flat_map(|value| [option.to_owned(), value]));
    }
    command.to_string()
}
