//! Everything a node was asked, a JSON line a command.

use std::fs::File;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Node;

/// Where the journal is.
pub const JOURNAL: &str = "/var/log/pve-sim/journal.jsonl";

/// What a command does to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It only looks.
    Read,
    /// It changes something.
    Write,
    /// It can take away what nobody gets back.
    Destroy,
}

/// One command that was run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970, when it began.
    pub begun: f64,
    /// Seconds since 1970, when it ended.
    pub time: f64,
    /// Its words.
    pub argv: Vec<String>,
    /// What it does.
    pub effect: Effect,
    /// Its exit status.
    pub exit: i32,
}

impl Effect {
    /// What a command does, told by its words.
    pub fn of(argv: &[String]) -> Self {
        let word = |at: usize| argv.get(at).map_or("", String::as_str);
        match (word(0), word(1)) {
            ("qmrestore" | "rm", _)
            | ("qm" | "pct", "destroy" | "restore")
            | ("pvesm", "free")
            | ("pvesh", "delete") => Self::Destroy,
            ("vzdump" | "install" | "tee", _) | ("pvesh", "create" | "set") => Self::Write,
            ("qm", "guest") if word(2) == "cmd" => Self::Read,
            ("qm", "status" | "config" | "list" | "listsnapshot" | "pending" | "wait" | "agent" | "help")
            | ("pct", "status" | "config" | "list" | "listsnapshot" | "pending" | "help" | "df") => {
                Self::Read
            }
            ("pct", "exec") if only_looks(argv.get(4..).unwrap_or_default()) => Self::Read,
            ("qm" | "pct", _) => Self::Write,
            ("pvesm", "status" | "list" | "path" | "extractconfig" | "help" | "scan") => Self::Read,
            ("pvesm", _) => Self::Write,
            ("ha-manager", "status" | "config") => Self::Read,
            ("ha-manager", _) => Self::Write,
            ("vma", "create" | "extract") => Self::Write,
            _ => Self::Read,
        }
    }
}

/// Whether a command inside of a container changes nothing.
fn only_looks(words: &[String]) -> bool {
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    let tools = ["true", "false", "hostname", "test", "cat", "ls", "journalctl"];
    tools.contains(&word(0)) || (word(0), word(1)) == ("systemctl", "is-active")
}

impl Node {
    /// Appends a command to the journal, in one write.
    pub fn record(&self, argv: &[String], begun: SystemTime, exit: i32) -> io::Result<()> {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (begun, time) = (since(begun), since(SystemTime::now()));
        let entry = Entry { begun, time, argv: argv.to_vec(), effect: Effect::of(argv), exit };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        File::options().create(true).append(true).open(self.path(JOURNAL))?.write_all(&line)
    }

    /// The commands that were run, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        let text = self.read(JOURNAL).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
