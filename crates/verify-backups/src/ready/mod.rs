//! `--ready`: whether everything is at hand that a disaster would need. It only looks, and it works when no node and no
//! server answers: what could not be asked is told apart from what is not there.

mod minio;
mod nodes;
mod programs;
mod states;
mod terraform;

use std::{collections::BTreeMap, env};

use restore_common::{
    homelab::{Environment, HomelabError, Project},
    procedure::Interrupted,
    remote::LocalHost,
};

use crate::{app::Frame, codes::ready as codes, finding::Finding, report::ReadyPart};

/// What the looks share.
struct Ready<'a> {
    frame: &'a Frame<'a>,
    project: &'a Project,
    /// This machine, for programs that are asked for their versions.
    here: LocalHost,
}

/// Looks at all of it.
pub fn look(frame: &Frame<'_>) -> anyhow::Result<Vec<ReadyPart>> {
    let common = &frame.cli.common;
    let project = Project::find(common.project.as_deref(), &|name| env::var_os(name), &env::current_dir()?)?;
    let ready = Ready { frame, project: &project, here: LocalHost::new(&frame.state, Vec::new())? };
    let mut parts = Vec::new();
    let environments = ready.environments(&mut parts)?;
    let looks: [&dyn Fn() -> anyhow::Result<Vec<ReadyPart>>; 5] = [
        &|| nodes::look(&ready, &environments),
        &|| Ok(states::look(&ready, &environments)),
        &|| Ok(terraform::look(&ready, &environments)),
        &|| minio::look(&environments),
        &|| Ok(programs::look(&ready.here)),
    ];
    for look in looks {
        if frame.interrupt.requested() {
            return Err(Interrupted.into());
        }
        parts.extend(look()?);
    }
    Ok(parts)
}

impl Ready<'_> {
    /// The environments whose files can be read, and a line about each.
    fn environments(&self, parts: &mut Vec<ReadyPart>) -> Result<Vec<Environment>, HomelabError> {
        let wanted = self.frame.cli.common.env.as_deref();
        let names = match wanted {
            Some(name) => vec![name.to_owned()],
            None => self.project.names()?,
        };
        let mut environments = BTreeMap::new();
        for name in names {
            match self.project.selected(Some(&name)) {
                Ok(read) => {
                    environments.extend(read.into_iter().map(|environment| (name.clone(), environment)));
                }
                Err(error @ HomelabError::UnknownEnvironment { .. }) => return Err(error),
                Err(error) => {
                    parts.push(ReadyPart::lacking("tfvars", &name, &codes::TFVARS, error.to_string()));
                }
            }
        }
        environments.retain(|_, environment| environment.is_described());
        parts.extend(environments.keys().map(|name| ReadyPart::ready("tfvars", name, "they can be read")));
        Ok(environments.into_values().collect())
    }
}

impl ReadyPart {
    /// Something that is there.
    fn ready(check: &'static str, about: &str, seen: impl Into<String>) -> Self {
        Self { check, about: about.to_owned(), seen: seen.into(), findings: Vec::new() }
    }

    /// Something that is not.
    fn lacking(
        check: &'static str,
        about: &str,
        code: &'static crate::finding::Code,
        words: impl Into<String>,
    ) -> Self {
        let findings = vec![Finding::new(code, words)];
        Self { check, about: about.to_owned(), seen: String::new(), findings }
    }
}
