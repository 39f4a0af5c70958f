//! `--show` and `--diff`: what versions hold, by address; values are never shown.

use std::fmt::Write as _;

use restore_common::{
    procedure::Problem,
    state::{Content, Diff, Document, Entry},
    ui::{format, sanitize},
};
use serde::Serialize;

use crate::site::Site;

/// What a version holds, for programs.
#[derive(Serialize)]
pub struct Shown {
    schema: u32,
    program: &'static str,
    environment: String,
    workspace: String,
    version: String,
    written: jiff::Timestamp,
    size: u64,
    serial: u64,
    lineage: String,
    terraform_version: Option<String>,
    encrypted: bool,
    resources: Vec<String>,
    outputs: Vec<String>,
}

/// The state of a version; the problem says why it is none.
pub fn document(site: &Site, entry: &Entry) -> anyhow::Result<Result<(Document, Vec<u8>), Problem>> {
    let id = sanitize(&entry.version.id);
    let none = |why: String| {
        Problem::new(format!("version `{id}` cannot be used: {why}")).hint("`--list` shows which ones can")
    };
    match &entry.content {
        Content::Marker => return Ok(Err(none("the state was deleted there".to_owned()))),
        Content::Broken(error) => return Ok(Err(none(error.to_string()))),
        Content::Unread(error) => return Err(error.clone().into()),
        Content::State { .. } => {}
    }
    let object = site.bucket.get(&entry.version.key, Some(&entry.version.id))?;
    Ok(Document::parse(&object.bytes)
        .map(|document| (document, object.bytes))
        .map_err(|error| none(error.to_string())))
}

/// What one version holds.
pub fn shown(site: &Site, entry: &Entry, document: &Document) -> Shown {
    let names = |of: fn(&restore_common::state::Resources) -> Vec<String>| {
        document.resources.as_ref().map(of).unwrap_or_default()
    };
    Shown {
        schema: 1,
        program: crate::app::PROGRAM,
        environment: site.environment.clone(),
        workspace: site.workspace.clone(),
        version: entry.version.id.clone(),
        written: entry.version.written,
        size: entry.version.size,
        serial: document.summary.serial,
        lineage: document.summary.lineage.clone(),
        terraform_version: document.summary.terraform_version.clone(),
        encrypted: document.summary.encrypted,
        resources: names(|resources| resources.instances.keys().cloned().collect()),
        outputs: names(|resources| resources.outputs.keys().cloned().collect()),
    }
}

impl Shown {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "Version {} of the state of {}\n\n",
            sanitize(&self.version),
            sanitize(&self.environment)
        );
        let facts = [
            ("written", self.written.to_string()),
            ("size", format::bytes(self.size)),
            ("serial", self.serial.to_string()),
            ("lineage", self.lineage.clone()),
            ("terraform", self.terraform_version.clone().unwrap_or_else(|| "-".to_owned())),
        ];
        for (name, value) in facts {
            let _ = writeln!(text, "  {name:<10} {}", sanitize(&value));
        }
        if self.encrypted {
            text.push_str("\nIt is encrypted: what it holds cannot be seen.\n");
            return text;
        }
        for (title, names) in [("Resources", &self.resources), ("Outputs", &self.outputs)] {
            let _ = writeln!(text, "\n{title}: {}", if names.is_empty() { "none" } else { "" });
            for name in names {
                let _ = writeln!(text, "  {}", sanitize(name));
            }
        }
        text
    }
}

/// The difference, line by line: `+ address`, outputs below.
pub fn diff_text(diff: &Diff) -> String {
    let mut text = String::new();
    for (change, address) in &diff.resources {
        let _ = writeln!(text, "  {} {}", change.sign(), sanitize(address));
    }
    for (change, name) in &diff.outputs {
        let _ = writeln!(text, "  {} output {}", change.sign(), sanitize(name));
    }
    if text.is_empty() { "  no difference\n".to_owned() } else { text }
}
