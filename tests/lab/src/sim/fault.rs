//! Faults on demand: `/etc/pve-sim-faults.json` lists commands that go wrong, and how.

use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::{Io, Node};

/// The list of faults.
const FAULTS: &str = "/etc/pve-sim-faults.json";

/// A fault and the commands it is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fault {
    /// The first words of the commands.
    #[serde(rename = "match")]
    words: Vec<String>,
    /// Which of these commands, counted from 1 over the node's journal; all of them if absent.
    nth: Option<usize>,
    action: Action,
}

/// What goes wrong.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Action {
    /// The command fails with this status before it does anything …
    exit: Option<i32>,
    /// … and this text on standard error.
    stderr: String,
    /// The program dies when it has written so much data.
    kill_after_bytes: Option<u64>,
    /// The storage is full when the program has written so much data.
    no_space_after_bytes: Option<u64>,
    /// The command begins late.
    delay_ms: Option<u64>,
}

/// Prepares the faults for a command. Gives an exit status if the command fails at once.
pub(super) fn strike(node: &Node, argv: &[String], io: &mut Io<'_>) -> Option<i32> {
    let text = node.read(FAULTS)?;
    let faults: Vec<Fault> = match serde_json::from_str(&text) {
        Ok(faults) => faults,
        Err(error) => {
            io.complain(&format!("{FAULTS}: {error}"));
            return Some(255);
        }
    };
    for fault in faults.iter().filter(|fault| argv.starts_with(&fault.words)) {
        if fault.nth.is_some_and(|nth| nth != occurrence(node, &fault.words)) {
            continue;
        }
        let action = &fault.action;
        if let Some(delay) = action.delay_ms {
            thread::sleep(Duration::from_millis(delay));
        }
        if let Some(exit) = action.exit {
            io.complain(&action.stderr);
            return Some(exit);
        }
        node.set_fault(action.kill_after_bytes, action.no_space_after_bytes);
    }
    None
}

/// The how-manieth command with these words this one is.
fn occurrence(node: &Node, words: &[String]) -> usize {
    1 + node.journal().iter().filter(|entry| entry.argv.starts_with(words)).count()
}
