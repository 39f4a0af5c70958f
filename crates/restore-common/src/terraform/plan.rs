//! What `terraform plan -json` says.
//!
//! Source: Terraform's "machine-readable UI": one JSON object a line. Values of resources are not in it.

use serde::{Deserialize, Serialize};

use crate::ui::sanitize;

/// What an apply would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// Resources that would be made.
    pub add: usize,
    /// Resources that would be changed in place.
    pub change: usize,
    /// Resources that would be removed.
    pub destroy: usize,
    /// Resources that would be removed and made anew; they are not counted among the others.
    pub replace: usize,
    /// Outputs that would change.
    pub outputs: usize,
    /// The resources, each with what would happen to it.
    pub resources: Vec<(String, String)>,
}

/// It did not come to a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no plan: {0}")]
pub struct PlanError(pub String);

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    change: Option<Change>,
    #[serde(default)]
    outputs: serde_json::Map<String, serde_json::Value>,
    diagnostic: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Change {
    resource: Resource,
    action: String,
}

#[derive(Deserialize)]
pub(super) struct Resource {
    pub(super) addr: String,
}

#[derive(Deserialize)]
pub(super) struct Diagnostic {
    severity: String,
    summary: String,
    #[serde(default)]
    detail: String,
}

impl Diagnostic {
    pub(super) fn is_error(&self) -> bool {
        self.severity == "error"
    }
}

/// What it says, in a line.
pub(super) fn words_of(Diagnostic { summary, detail, .. }: &Diagnostic) -> String {
    let detail = detail.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let words = if detail.is_empty() { summary.clone() } else { format!("{summary}: {detail}") };
    sanitize(&words).into_owned()
}

impl PlanSummary {
    /// Reads what it printed. Lines that are not of it (warnings about its own configuration) are skipped. Without the
    /// closing summary there is no plan: then the first error it named is given.
    pub fn parse(text: &str) -> Result<Self, PlanError> {
        let (mut plan, mut is_whole, mut error) = (Self::default(), false, None);
        for line in text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()) {
            match (line.kind.as_str(), line.change, line.diagnostic) {
                ("planned_change", Some(change), _) => plan.note(change),
                ("change_summary", ..) => is_whole = true,
                ("outputs", ..) => {
                    let changes = |output: &serde_json::Value| output["action"].as_str() != Some("noop");
                    plan.outputs = line.outputs.values().filter(|output| changes(output)).count();
                }
                ("diagnostic", _, Some(diagnostic)) if diagnostic.is_error() => {
                    error.get_or_insert(diagnostic);
                }
                _ => {}
            }
        }
        match error {
            None if is_whole => Ok(plan),
            None => Err(PlanError("it ended without a word".to_owned())),
            Some(diagnostic) => Err(PlanError(words_of(&diagnostic))),
        }
    }

    fn note(&mut self, change: Change) {
        match change.action.as_str() {
            "create" => self.add += 1,
            "update" => self.change += 1,
            "delete" => self.destroy += 1,
            "replace" => self.replace += 1,
            // Reading a data source and moving an address change nothing.
            _ => return,
        }
        self.resources.push((change.action, change.resource.addr));
    }

    /// The resources that would change and are not below `module`: `module.minio`.
    pub fn outside(&self, module: &str) -> Vec<&(String, String)> {
        let is_below = |address: &str| {
            address.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.resources.iter().filter(|(_, address)| !is_below(address)).collect()
    }

    /// Whether an apply would do nothing.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.outputs == 0
    }
}

impl std::fmt::Display for PlanSummary {
    /// `nothing to do`, or `1 to add, 2 to change, 0 to destroy, 1 to replace`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to do");
        }
        let Self { add, change, destroy, replace, outputs, .. } = self;
        write!(f, "{add} to add, {change} to change, {destroy} to destroy, {replace} to replace")?;
        if *outputs > 0 { write!(f, ", {outputs} of the outputs to change") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, rest: &str) -> String {
        format!("{{\"@level\":\"info\",\"type\":\"{kind}\"{rest}}}\n")
    }

    fn change(action: &str, address: &str) -> String {
        line(
            "planned_change",
            &format!(",\"change\":{{\"resource\":{{\"addr\":\"{address}\"}},\"action\":\"{action}\"}}"),
        )
    }

    #[test]
    fn changes_are_counted_and_named() {
        let text = "There are some problems with the CLI configuration:\n".to_owned()
            + &line("version", ",\"terraform\":\"1.11.4\"")
            + &change("create", "a.b")
            + &change("replace", "c.d")
            + &change("read", "data.x.y")
            + &line("change_summary", ",\"changes\":{\"add\":2,\"remove\":1}")
            + &line("outputs", ",\"outputs\":{\"o\":{\"action\":\"update\"},\"p\":{\"action\":\"noop\"}}");
        let plan = PlanSummary::parse(&text).unwrap();
        assert_eq!((plan.add, plan.replace, plan.outputs), (1, 1, 1));
        assert_eq!(
            plan.to_string(),
            "1 to add, 0 to change, 0 to destroy, 1 to replace, 1 of the outputs to change"
        );
        assert!(!plan.is_empty());
    }

    #[test]
    fn what_is_outside_of_a_module_is_told_from_what_is_in_it() {
        let mut plan = PlanSummary::default();
        for address in ["module.a.x.y", "module.a[0].x.y", "module.ab.x.y", "x.y"] {
            plan.resources.push(("create".to_owned(), address.to_owned()));
        }
        let outside: Vec<_> = plan.outside("module.a").into_iter().map(|(_, address)| address).collect();
        assert_eq!(outside, ["module.ab.x.y", "x.y"]);
    }

    #[test]
    fn an_empty_plan_is_one() {
        let plan = PlanSummary::parse(&line("change_summary", ",\"changes\":{}")).unwrap();
        assert!(plan.is_empty());
        assert_eq!(plan.to_string(), "nothing to do");
    }

    #[test]
    fn what_did_not_come_to_a_plan_says_why() {
        let error = line(
            "diagnostic",
            ",\"diagnostic\":{\"severity\":\"error\",\"summary\":\"No provider\",\"detail\":\"\\n  x \\u001b[1m\\n\"}",
        );
        let words = PlanSummary::parse(&error).unwrap_err().to_string();
        assert!(words.starts_with("no plan: No provider: x") && !words.contains('\u{1b}'), "{words}");
        assert!(PlanSummary::parse("Killed\n").is_err());
        assert!(PlanSummary::parse(&change("create", "a.b")).is_err(), "cut off before its summary");
    }
}
