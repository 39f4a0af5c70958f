//! Whether Terraform is here, in a version that every environment accepts, with the providers that they need.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use restore_common::{
    homelab::{Environment, Requirements, Variables},
    remote::ReadOnly,
    terraform::{DataFolder, NoTerraform, Terraform, accepts},
};

use super::Ready;
use crate::{codes::ready as codes, report::ReadyPart};

const CHECK: &str = "terraform";

pub(super) fn look(ready: &Ready<'_>, environments: &[Environment]) -> Vec<ReadyPart> {
    let variables: Variables<'_> = &|name| env::var_os(name);
    let found = Terraform::find(&ReadOnly(&ready.here), None, variables);
    let mut parts = vec![match &found {
        Ok(found) => ReadyPart::ready(
            CHECK,
            "this machine",
            format!("{} {}: {}", found.kind, found.version, found.program),
        ),
        Err(error @ NoTerraform::Host(_)) => {
            ReadyPart::lacking(CHECK, "this machine", &codes::NOT_ASKED, error.to_string())
        }
        Err(error) => ReadyPart::lacking(CHECK, "this machine", &codes::TERRAFORM, error.to_string()),
    }];
    for environment in environments.iter().filter(|environment| environment.dir().is_dir()) {
        match Requirements::read(environment.dir()) {
            Ok(required) => {
                parts.extend(found.as_ref().ok().and_then(|found| version(environment, &required, found)));
                parts.extend(providers(environment, &required, &Shelves::new(environment, variables)));
            }
            Err(error) => {
                parts.push(ReadyPart::lacking(CHECK, environment.name(), &codes::TFVARS, error.to_string()));
            }
        }
    }
    parts
}

fn version(environment: &Environment, required: &Requirements, found: &Terraform) -> Option<ReadyPart> {
    let name = environment.name();
    let constraint = required.version.as_deref()?;
    Some(match accepts(constraint, &found.version) {
        Some(true) => ReadyPart::ready(CHECK, name, format!("{} fits `{constraint}`", found.version)),
        Some(false) => {
            let words = format!("{} {} does not fit `{constraint}`", found.kind, found.version);
            ReadyPart::lacking(CHECK, name, &codes::TERRAFORM, words)
        }
        None => {
            let words = format!("whether {} fits `{constraint}` is not understood here", found.version);
            ReadyPart::lacking(CHECK, name, &codes::NOT_ASKED, words)
        }
    })
}

/// Every provider of the lock file is somewhere here; without a lock file nothing says which versions are meant.
fn providers(environment: &Environment, required: &Requirements, shelves: &Shelves) -> Vec<ReadyPart> {
    let name = environment.name();
    if required.locked.is_empty() {
        let words = format!("{} has no `.terraform.lock.hcl`", environment.dir().display());
        let lacking = ReadyPart::lacking("provider", name, &codes::PROVIDER, words);
        return if required.providers.is_empty() { Vec::new() } else { vec![lacking] };
    }
    let part = |(source, version): &(String, String)| match shelves.find(source, version) {
        Some(place) => {
            let words = format!("{source} {version}, in {}", place.display());
            ReadyPart::ready("provider", name, words)
        }
        None => {
            let words = format!("{source} {version} is neither in {}", shelves.describe());
            ReadyPart::lacking("provider", name, &codes::PROVIDER, words)
        }
    };
    required.locked.iter().map(part).collect()
}

/// Where Terraform looks for providers before it asks a registry. Source: its documentation of the CLI configuration;
/// folders that the CLI configuration names besides are not looked at.
struct Shelves(Vec<PathBuf>);

impl Shelves {
    fn new(environment: &Environment, variables: Variables<'_>) -> Self {
        let set = |name: &str| variables(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let data = DataFolder::of(environment.dir(), variables).providers();
        let home = set("HOME").unwrap_or_default();
        let mut all = vec![data];
        all.extend(set("TF_PLUGIN_CACHE_DIR"));
        all.extend([".terraform.d/plugin-cache", ".terraform.d/plugins"].map(|name| home.join(name)));
        let share = set("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        all.push(share.join("terraform/plugins"));
        all.extend(
            ["/usr/local/share", "/usr/share"].map(|share| Path::new(share).join("terraform/plugins")),
        );
        Self(all)
    }

    /// As a folder, or packed as `terraform providers mirror` writes it.
    fn find(&self, source: &str, version: &str) -> Option<&Path> {
        let holds = |shelf: &&PathBuf| {
            let unpacked = fs::read_dir(shelf.join(source).join(version));
            let packed = fs::read_dir(shelf.join(source))
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().contains(&format!("_{version}_")));
            packed || unpacked.is_ok_and(|mut entries| entries.next().is_some())
        };
        self.0.iter().find(holds).map(PathBuf::as_path)
    }

    fn describe(&self) -> String {
        self.0.iter().map(|shelf| shelf.display().to_string()).collect::<Vec<_>>().join(" nor ")
    }
}
