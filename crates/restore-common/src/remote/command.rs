//! A command on a node as a value, and the one place where words become shell text.

use std::{fmt, time::Duration};

/// What running a command does to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing on the node is different afterwards.
    Read,
    /// Something is created or changed, nothing is lost.
    Write,
    /// Something is gone afterwards.
    Destroy,
}

/// A program with its arguments, or several joined by pipes. Never a string glued together.
///
/// [`fmt::Display`] gives the quoted shell line, the same text that is run and that the plan shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    stages: Vec<Vec<String>>,
    effect: Effect,
    stdin: Vec<u8>,
    limit: Duration,
}

/// How long a command may take when nothing else is said; long work runs as a job instead.
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

impl Command {
    /// A command that changes nothing.
    pub fn read(program: &str) -> Self {
        Self::new(program, Effect::Read)
    }

    /// A command that creates or changes something.
    pub fn write(program: &str) -> Self {
        Self::new(program, Effect::Write)
    }

    /// A command after which something is gone.
    pub fn destroy(program: &str) -> Self {
        Self::new(program, Effect::Destroy)
    }

    fn new(program: &str, effect: Effect) -> Self {
        Self { stages: vec![vec![program.to_owned()]], effect, stdin: Vec::new(), limit: DEFAULT_LIMIT }
    }

    /// Adds one argument to the last program of the pipe.
    #[must_use]
    pub fn arg(mut self, word: impl Into<String>) -> Self {
        if let Some(stage) = self.stages.last_mut() {
            stage.push(word.into());
        }
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<W: Into<String>>(self, words: impl IntoIterator<Item = W>) -> Self {
        words.into_iter().fold(self, Self::arg)
    }

    /// Feeds the output of this command to `next`. The whole fails when one part fails; its effect is the worse one.
    #[must_use]
    pub fn pipe(mut self, next: Self) -> Self {
        self.stages.extend(next.stages);
        self.effect = self.effect.max(next.effect);
        self
    }

    /// Text that the (first) program reads from its standard input. Never shown: it may hold a configuration.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long the command may take before the program stops waiting for it.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// What running it does to the node.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// What the first program reads.
    pub fn stdin_bytes(&self) -> &[u8] {
        &self.stdin
    }

    /// How long it may take.
    pub fn time_limit(&self) -> Duration {
        self.limit
    }

    /// Whether its output passes through a pipe.
    pub fn is_pipeline(&self) -> bool {
        self.stages.len() > 1
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stage) in self.stages.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            for (position, word) in stage.iter().enumerate() {
                if position > 0 {
                    f.write_str(" ")?;
                }
                f.write_str(&quoted(word))?;
            }
        }
        Ok(())
    }
}

/// A word as any POSIX shell reads it back unchanged: bare when it is harmless, else in single quotes.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
