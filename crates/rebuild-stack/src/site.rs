//! Which environment has the stack, and where that is.

use std::{env, path::PathBuf};

use restore_common::{
    cli::state_folder,
    homelab::{Environment, Project},
    procedure::Problem,
    remote::{Command, LocalHost},
    terraform::{DataFolder, Terraform},
    ui::sanitize,
};

use crate::{About, Place, Services, Stack, args::Options};

/// The environment with the stack.
pub struct Site<'a> {
    /// Which stack.
    pub stack: &'a dyn Stack,
    /// The options of the run.
    pub options: &'a Options,
    /// The project.
    pub project: Project,
    /// The environment.
    pub environment: Environment,
    /// All environments that the run is about: their nodes are asked for the guest.
    pub environments: Vec<Environment>,
    /// The address that the tfvars tell.
    declared: Option<String>,
}

impl<'a> Site<'a> {
    /// Finds it; the problem says why there is none.
    pub fn find(stack: &'a dyn Stack, options: &'a Options) -> anyhow::Result<Result<Self, Problem>> {
        let common = &options.common;
        let project =
            Project::find(common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
        let environments = project.selected(common.env.as_deref())?;
        let mut candidates = Vec::new();
        let mut disabled = Vec::new();
        for environment in &environments {
            match stack.declared(environment)? {
                Some(declared) if declared.enabled => candidates.push((environment, declared.address)),
                Some(_) => disabled.push(environment),
                None => {}
            }
        }
        if candidates.is_empty() && stack.overridden(&project).is_some() {
            candidates = environments.iter().map(|environment| (environment, None)).collect();
        }
        let (environment, declared) = match candidates.as_slice() {
            [(one, address)] => ((*one).clone(), address.clone()),
            [] => return Ok(Err(none(stack.about(), &environments, &disabled))),
            several => {
                let names = names(several.iter().map(|(environment, _)| *environment));
                let problem =
                    Problem::new(format!("several environments have a {} stack: {names}", stack.about().key));
                return Ok(Err(problem.hint("choose one with `--env`")));
            }
        };
        Ok(Ok(Self { stack, options, project, environment, environments, declared }))
    }

    /// What the stack is called.
    pub fn about(&self) -> &'static About {
        self.stack.about()
    }

    /// How the operator calls this program for the same stack again.
    pub fn again(&self) -> String {
        again(self.about(), self.options)
    }

    /// Where the services are. `known` is the guest's address where the files do not tell.
    pub fn services(&self, known: Option<&str>) -> anyhow::Result<Box<dyn Services>> {
        Ok(self.stack.services(&Place {
            about: self.about(),
            common: &self.options.common,
            project: &self.project,
            environment: &self.environment,
            address: self.address().or(known),
        })?)
    }

    /// The address that the files tell.
    pub fn address(&self) -> Option<&str> {
        self.stack.overridden(&self.project).or(self.declared.as_deref())
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

/// Why no environment has the stack.
fn none(about: &About, environments: &[Environment], disabled: &[&Environment]) -> Problem {
    let key = about.key;
    if !disabled.is_empty() {
        let names = names(disabled.iter().copied());
        let problem = Problem::new(format!("no environment has a {key} stack: it is not enabled in {names}"));
        return problem.hint(format!("`enabled` under `{key}` in the tfvars says so"));
    }
    let instead = about.instead.map(|instead| format!(", or {instead}")).unwrap_or_default();
    Problem::new(format!(
        "no environment has a {key} stack: `{key}` is absent or `null` in the tfvars of {}",
        names(environments)
    ))
    .hint(format!("write `{key} = {{ vm = {{ ip = … }} }}` there{instead}"))
}

fn names<'e>(environments: impl IntoIterator<Item = &'e Environment>) -> String {
    let names = environments.into_iter().map(|one| format!("`{}`", sanitize(one.name())));
    names.collect::<Vec<_>>().join(", ")
}

/// How the operator calls this program for the same stack again.
pub(crate) fn again(about: &About, options: &Options) -> String {
    let mut command = Command::read(about.program);
    for (option, value) in [
        ("--env", options.common.env.clone()),
        ("--vmid", options.vmid.map(|vmid| vmid.to_string())),
        ("--node", options.node.as_ref().map(ToString::to_string)),
    ] {
        command = command.args(value.into_iter().flat_map(|value| [option.to_owned(), value]));
    }
    command.to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{args::tests::read, stack::eyes::Eyes};

    /// The environment that is found and where its services are, in a project with `prod` and this block in `monitoring`; else
    /// what is said.
    fn found(block: &str) -> Result<(String, String), String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, block) in [("prod", ""), ("monitoring", block)] {
            let path = folder.path().join("infrastructure/proxmox/environments").join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("terraform.tfvars"), format!("pve_ip = \"10.0.0.3\"\n{block}\n")).unwrap();
        }
        let options = read(&["--project", folder.path().to_str().unwrap()]).unwrap();
        let site = match Site::find(&Eyes, &options).map_err(|error| error.to_string())? {
            Ok(site) => site,
            Err(problem) => return Err(problem.what),
        };
        let services = site.services(None).map_err(|error| error.to_string())?;
        Ok((site.environment.name().to_owned(), services.address().to_owned()))
    }

    #[test]
    fn the_environment_is_the_one_whose_tfvars_have_the_stack() {
        let at = Ok(("monitoring".to_owned(), "10.0.0.9".to_owned()));
        assert_eq!(found("eyes = { vm = { ip = \"10.0.0.9/24\" } }"), at);
        assert_eq!(found("eyes = { enabled = true, vm = { ip = \"10.0.0.9\" } }"), at);
    }

    #[rstest::rstest]
    #[case("", "`eyes` is absent or `null` in the tfvars of `monitoring`, `prod`")]
    #[case("eyes = null", "`eyes` is absent or `null` in the tfvars of `monitoring`, `prod`")]
    #[case("eyes = { enabled = false }", "it is not enabled in `monitoring`")]
    #[case("eyes = { enabled = 2 }", "`eyes.enabled` must be true or false")]
    #[case("eyes = { vm = { ip = \"dhcp\" } }", "no `eyes.vm.ip` in ")]
    fn what_is_missing_is_named(#[case] block: &str, #[case] words: &str) {
        let said = found(block).unwrap_err();
        assert!(said.contains(words), "{said}");
    }
}
