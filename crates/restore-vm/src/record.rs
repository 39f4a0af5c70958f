//! What `verify-backups` has on record of a backup.
//!
//! A backup that was read to its end and found good is known by its SHA-256. The same bytes are the same backup: to compare
//! them proves more than reading it again, for `vma verify` and `tar` do not see a changed byte of what a guest stored.

use std::path::Path;

use restore_common::{
    ledger::{Entry, Ledger, Verdict},
    pve::Archive,
    remote::{Command, Host},
};

/// What is on record of a backup, nothing when it has another size by now. A record that cannot be used keeps nobody from
/// restoring: the backup is read then as if there was none.
pub fn of(state: &Path, host: &dyn Host, archive: &Archive, path: &str) -> Option<Entry> {
    if archive.server.is_some() {
        return None;
    }
    let ledger = Ledger::open(state).inspect_err(|error| log::warn!("{error}")).ok()?;
    ledger.archive(host.name(), path).filter(|entry| entry.size == archive.size)
}

/// The day of a reading.
pub fn day(entry: &Entry) -> String {
    entry.when.strftime("%Y-%m-%d").to_string()
}

/// Whether a backup was damaged when it was last read.
pub fn is_bad(entry: &Entry) -> bool {
    entry.verdict == Verdict::Bad
}

/// The command that says which bytes a file has.
pub fn sum_command(path: &str) -> Command {
    Command::read("sha256sum").arg(path)
}

/// The sum in its answer. Before the sum of a file with an odd name stands a backslash. Source: coreutils, `sha256sum`.
pub fn sum_in(answer: &str) -> &str {
    answer.split_whitespace().next().unwrap_or_default().trim_start_matches('\\')
}
