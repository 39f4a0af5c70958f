//! Command lines with what the real programs say about them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// A command line and what PVE 8 and 9 say about it.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// The command line.
    pub argv: Vec<String>,
    pve8: Verdict,
    pve9: Verdict,
}

/// What one version says.
#[derive(Debug, Deserialize)]
struct Verdict {
    exit: Option<i32>,
    message: String,
    params: Option<BTreeMap<String, Value>>,
}

/// Reads a file of verdicts.
///
/// # Errors
///
/// If the file cannot be read or is not of that kind.
pub fn load(file: &Path) -> io::Result<Vec<Line>> {
    Ok(serde_json::from_slice(&std::fs::read(file)?)?)
}

impl Line {
    /// Where the parser disagrees, for both versions.
    pub fn disagreements(&self) -> Vec<String> {
        [(8, &self.pve8), (9, &self.pve9)]
            .into_iter()
            .filter_map(|(version, verdict)| {
                let problem = verdict.disagreement(super::parse(version, "pve1", &self.argv))?;
                Some(format!("PVE {version}: {}\n{problem}", self.argv.join(" ")))
            })
            .collect()
    }
}

impl Verdict {
    fn disagreement(&self, result: Result<super::Accepted, super::Rejected>) -> Option<String> {
        let (exit, message, params) = match result {
            Ok(accepted) => (None, String::new(), Some(accepted.params)),
            Err(rejected) => (Some(rejected.exit), rejected.message, None),
        };
        let same = exit == self.exit && params == self.params && same_message(&self.message, &message);
        (!same).then(|| {
            format!(
                "  wanted {:?} {:?} {:?}\n  got    {exit:?} {message:?} {params:?}",
                self.exit, self.message, self.params
            )
        })
    }
}

/// Whether messages are the same; the order of reasons varies, and long ones are cut where an ellipsis stands.
fn same_message(wanted: &str, got: &str) -> bool {
    if let Some(start) = wanted.strip_suffix('…') {
        return got.starts_with(start.trim_end());
    }
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    sorted(wanted) == sorted(got)
}
