//! What is wrong, with a code that says what it means and what to do.

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, nothing is wrong.
    Note,
    /// Something will go wrong if nobody looks.
    Warning,
    /// Something cannot be restored, or could not be checked.
    Error,
}

/// A kind of finding. All are in [`crate::codes::all`], and the table in the documents is made from there.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Its stable name: `archive-truncated`.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it means, as one sentence.
    pub meaning: &'static str,
    /// What to do about it, as one sentence.
    pub action: &'static str,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: &'static Code,
    /// What was seen, in words, with the other program's last ones. Shown sanitised.
    pub words: String,
}

impl Finding {
    /// A finding of this kind.
    pub fn new(code: &'static Code, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.code.severity
    }
}
