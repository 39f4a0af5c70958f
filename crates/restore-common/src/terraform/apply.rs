//! What `terraform apply -json` says, line by line while it works.
//!
//! Source: Terraform's "machine-readable UI": `apply_start`, `apply_complete` and `change_summary`.

use serde::{Deserialize, Serialize};

use super::plan::{Diagnostic, words_of};
use crate::{
    procedure::{Failure, Run},
    remote::{Command, CommandFailed, Host},
    ui::sanitize,
};

/// What an apply has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What was begun, in order: `create`, `update` or `delete`, and the address.
    pub begun: Vec<(String, String)>,
    /// What of it was finished.
    pub done: Vec<(String, String)>,
    /// How many resources were added, changed and removed; nothing when it did not come to its end.
    pub summary: Option<Counts>,
}

/// What an apply that came to its end has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Resources that were made.
    pub add: usize,
    /// Resources that were changed in place.
    pub change: usize,
    /// Resources that were removed. One that was made anew counts here and above.
    pub remove: usize,
}

impl Applied {
    /// Whether anything was begun, so that things may be other than before.
    pub fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    /// What was begun and not finished: nobody knows how far it came.
    pub fn unfinished(&self) -> impl Iterator<Item = &str> {
        self.begun.iter().filter(|begun| !self.done.contains(begun)).map(|(_, address)| address.as_str())
    }
}

impl std::fmt::Display for Counts {
    /// `2 added, 0 changed, 1 removed`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { add, change, remove } = self;
        write!(f, "{add} added, {change} changed, {remove} removed")
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    hook: Option<Hook>,
    changes: Option<Changes>,
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Hook {
    resource: super::plan::Resource,
    action: Option<String>,
}

#[derive(Deserialize)]
struct Changes {
    #[serde(flatten)]
    counts: Option<Counts>,
    operation: Option<String>,
}

/// Reads an apply while it works.
#[derive(Debug, Default)]
pub struct Applying {
    applied: Applied,
    error: Option<String>,
}

impl Applying {
    /// Takes a line; what it says for the operator, where that is worth a line.
    pub fn line(&mut self, line: &str) -> Option<String> {
        let line: Line = serde_json::from_str(line).ok()?;
        match (line.kind.as_str(), line.hook) {
            ("apply_start", Some(Hook { resource, action: Some(action) })) => {
                let words = format!("{} {}", doing(&action), sanitize(&resource.addr));
                self.applied.begun.push((action, resource.addr));
                return Some(words);
            }
            ("apply_complete", Some(Hook { resource, action: Some(action) })) => {
                self.applied.done.push((action, resource.addr));
            }
            ("provision_start", Some(Hook { resource, .. })) => {
                return Some(format!("provisioning {}", sanitize(&resource.addr)));
            }
            _ => {}
        }
        let is_apply = |changes: &Changes| changes.operation.as_deref() == Some("apply");
        if let Some(changes) = line.changes.filter(is_apply) {
            self.applied.summary = changes.counts;
        }
        if let Some(diagnostic) = line.diagnostic.filter(Diagnostic::is_error) {
            self.error.get_or_insert_with(|| words_of(&diagnostic));
        }
        None
    }

    /// What it has done until now.
    pub fn applied(&self) -> &Applied {
        &self.applied
    }
}

fn doing(action: &str) -> &str {
    match action {
        "create" => "making",
        "update" => "changing",
        "delete" => "removing",
        other => other,
    }
}

/// Runs an apply as a job of `host` and says what it works at. What it has done is in `applied` also when it fails or is
/// cut off: it is the caller's to keep, for the way back.
pub fn apply(run: &Run<'_>, host: &dyn Host, command: &Command, applied: &mut Applied) -> anyhow::Result<()> {
    let mut applying = Applying::default();
    let ended = run.job(host, command, None, &mut |line| {
        if let Some(words) = applying.line(line) {
            run.say(&words);
        }
    });
    let Applying { applied: done, error } = applying;
    *applied = done;
    match (ended, error) {
        (Ok(_), _) => Ok(()),
        // Its last line is JSON, which is nothing to read.
        (Err(failed), Some(words)) if failed.downcast_ref::<CommandFailed>().is_some() => {
            Err(Failure::new(format!("the apply failed: {words}")).into())
        }
        (Err(failed), _) => Err(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(kind: &str, action: &str, address: &str) -> String {
        format!(r#"{{"type":"{kind}","hook":{{"resource":{{"addr":"{address}"}},"action":"{action}"}}}}"#)
    }

    #[test]
    fn what_was_begun_and_what_was_done_is_told_apart() {
        let mut applying = Applying::default();
        assert_eq!(applying.line(r#"{"type":"planned_change"}"#), None);
        let planned =
            r#"{"type":"change_summary","changes":{"add":9,"change":0,"remove":9,"operation":"plan"}}"#;
        assert_eq!(applying.line(planned), None);
        assert!(!applying.applied().has_begun() && applying.applied().summary.is_none());
        assert_eq!(applying.line(&hook("apply_start", "delete", "m.a")).as_deref(), Some("removing m.a"));
        applying.line(&hook("apply_complete", "delete", "m.a"));
        applying.line(&hook("apply_start", "create", "m.a"));
        applying.line("Killed");
        assert_eq!(applying.applied().unfinished().collect::<Vec<_>>(), ["m.a"]);
        let summary = r#"{"type":"change_summary","changes":{"add":1,"change":0,"import":0,"remove":1,"operation":"apply"}}"#;
        applying.line(summary);
        let counts = applying.applied().summary.unwrap();
        assert_eq!(counts.to_string(), "1 added, 0 changed, 1 removed");
    }
}
