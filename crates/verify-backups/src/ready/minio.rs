//! Where the module of the S3 server installs it from, and whether that still answers.

use std::{env, time::Duration};

use restore_common::{
    contact::at_once,
    homelab::{Environment, Module, module_calls},
    probe::{Http, HttpUrl, http_head},
    terraform::DataFolder,
};

use crate::{codes::ready as codes, report::ReadyPart};

const CHECK: &str = "minio source";

/// What the last component of the module's source is.
const MODULE: &str = "minio";

/// How long one place may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

pub(super) fn look(environments: &[Environment]) -> anyhow::Result<Vec<ReadyPart>> {
    let mut parts = Vec::new();
    for environment in environments.iter().filter(|environment| environment.dir().is_dir()) {
        let (name, dir) = (environment.name(), environment.dir());
        let data = DataFolder::of(dir, &|name| env::var_os(name));
        // A configuration that does not parse is told of with Terraform.
        let calls = module_calls(dir).unwrap_or_default();
        let ours = calls.iter().filter(|call| call.last_component() == MODULE);
        for folder in ours.filter_map(|call| call.folder(dir, data.path())) {
            match Module::read(&folder) {
                Ok(module) => parts.extend(at_once(&module.urls, |url| answer(name, url))?),
                Err(error) => parts.push(ReadyPart::lacking(CHECK, name, &codes::TFVARS, error.to_string())),
            }
        }
    }
    Ok(parts)
}

fn answer(environment: &str, url: &str) -> ReadyPart {
    let shown = match HttpUrl::parse(url) {
        Ok(url) => url,
        Err(why) => {
            return ReadyPart::lacking(CHECK, environment, &codes::MINIO, format!("`{url}`: {why}"));
        }
    };
    match http_head(&shown, LIMIT) {
        Http::Answered { status: 200..=399, .. } => {
            ReadyPart::ready(CHECK, environment, format!("{shown} answers"))
        }
        Http::Answered { status: status @ (404 | 410 | 451), .. } => {
            ReadyPart::lacking(CHECK, environment, &codes::MINIO, format!("{shown} answers {status}"))
        }
        other => ReadyPart::lacking(CHECK, environment, &codes::NOT_ASKED, format!("{shown}: {other}")),
    }
}
