//! A command on a node as a value, and the one place where words become shell text.

use std::{fmt, time::Duration};

/// What running a command does to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
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

impl Command {
    /// Whether a word or the pipe holds a NUL byte, which no argument of a program can.
    pub(super) fn has_nul(&self) -> bool {
        self.stages.iter().flatten().any(|word| word.contains('\0'))
    }

    /// The command as one simple command of any POSIX shell. A pipe needs bash, to fail when one of its parts fails.
    pub(super) fn simple(&self) -> String {
        let line = self.to_string();
        if self.is_pipeline() {
            format!("bash -c {}", quoted(&format!("set -o pipefail; {line}")))
        } else {
            line
        }
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
                // In front, `A=b` would be an assignment.
                let bare = position > 0 || !word.contains('=');
                f.write_str(&if bare { quoted(word) } else { always_quoted(word) })?;
            }
        }
        Ok(())
    }
}

/// A word as any POSIX shell reads it back unchanged: bare when it is harmless, else in single quotes.
pub(super) fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !word.is_empty() && word.chars().all(harmless) { word.to_owned() } else { always_quoted(word) }
}

fn always_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, process::Stdio};

    use super::*;
    use proptest::prelude::*;

    /// The shells that may read what is sent: that of scripts, which is dash on a node, and the one that people log in to.
    const SHELLS: [&str; 2] = ["sh", "bash"];

    /// What a shell makes of a line: the words that the program was given. The line comes as a script, since an argument may
    /// be no longer than 128 KiB. `None` where there is no such shell; `sh` is everywhere.
    fn words_seen_by(shell: &str, line: &str) -> Option<Vec<String>> {
        let mut command = std::process::Command::new(shell);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = if shell == "sh" { child.unwrap() } else { child.ok()? };
        let mut input = child.stdin.take().unwrap();
        let line = line.to_owned();
        let feeding = std::thread::spawn(move || input.write_all(line.as_bytes()));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let mut words: Vec<String> = text.split('\0').map(str::to_owned).collect();
        assert_eq!(words.pop().as_deref(), Some(""), "every word ends with a NUL");
        Some(words)
    }

    #[track_caller]
    fn assert_seen(line: &str, words: &[String]) {
        for shell in SHELLS {
            let seen = words_seen_by(shell, line);
            assert!(seen.as_deref().is_none_or(|seen| seen == words), "{shell} read {seen:?} from {line:?}");
        }
    }

    /// What breaks out of a quotation, is expanded, or drives a terminal.
    const ATTACKS: [&str; 16] = [
        "'",
        "'\\''",
        "\"",
        "\\",
        "$(touch /nowhere)",
        "`touch /nowhere`",
        "${HOME}$$$1$@",
        "; touch /nowhere #",
        "| cat & ",
        "> /nowhere < /nowhere",
        "\n",
        "\r\n\t",
        "~ * ? [a-z] {a,b} !! !$",
        "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J",
        "\u{202e}\u{feff}\u{2028}",
        "-e --help -- -n",
    ];

    fn any_word() -> impl Strategy<Value = String> {
        let attack = prop::sample::select(&ATTACKS[..]).prop_map(str::to_owned);
        prop_oneof![
            "[^\0]{0,40}",
            "[-a-z'\"\\\\$`(){}*?~!#&;|<> \t\n\r=]{0,20}",
            prop::collection::vec(prop_oneof![attack, "[^\0]{0,4}"], 0..6).prop_map(|parts| parts.concat()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_words_come_back_unchanged(words in prop::collection::vec(any_word(), 1..6)) {
            let command = Command::read("printf").arg("%s\\0").args(words.clone());
            assert_seen(&command.to_string(), &words);
        }

        #[test]
        fn a_pipe_survives_being_quoted_twice(word in any_word()) {
            let command = Command::read("printf").arg("%s\\0").arg(word.clone()).pipe(Command::read("cat"));
            assert_seen(&command.simple(), &[word]);
        }
    }

    #[test]
    fn a_megabyte_of_attacks_is_one_word() {
        let word = ATTACKS.concat().repeat((1 << 20) / ATTACKS.concat().len());
        // `printf` is a part of each of these shells, so no limit of the system's holds.
        assert_seen(&Command::read("printf").arg("%s\\0").arg(word.clone()).to_string(), &[word]);
    }

    #[test]
    fn a_program_that_looks_like_an_assignment_is_still_a_program() {
        assert_eq!(Command::read("A=b").arg("A=b").to_string(), "'A=b' A=b");
    }

    #[test]
    fn a_pipe_fails_when_its_first_part_fails() {
        let command = Command::read("false").pipe(Command::read("cat"));
        let status = std::process::Command::new("sh").args(["-c", &command.simple()]).status().unwrap();
        assert_eq!(status.code(), Some(1));
    }

    #[test]
    fn a_pipe_has_the_worse_effect_of_its_parts() {
        assert_eq!(Command::read("zstd").pipe(Command::destroy("dd")).effect(), Effect::Destroy);
    }
}
