//! The command line.

use std::{ops::Deref, path::PathBuf};

use clap::{Parser, ValueEnum};
use restore_common::{
    cli::Common,
    pve::{NodeName, StorageId, Vmid, VolumeId},
};

use crate::place::StorageMap;

/// How thoroughly an archive is read before anything is destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckLevel {
    /// To its end: decompression, structure, every cluster accounted for.
    Full,
    /// Header and configuration.
    Quick,
    /// Not at all.
    None,
}

/// What protects the guest that is overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Safety {
    /// A protected backup of it as it is now.
    #[default]
    Vzdump,
    /// Nothing.
    None,
}

const EXAMPLES: &str = "\
Examples:
  restore-vm 101                    newest backup of guest 101, over guest 101
  restore-vm 101 --list             the backups there are
  restore-vm 101 --date 2026-01-30  newest backup made that day
  restore-vm 101 --target-id 901    a copy beside the original
  restore-vm 101 --dry-run          look and plan, change nothing
  restore-vm 101 102 --parallel 2   several guests, two at once
";

/// Options that a run has settled when it began.
const SELECTING: &[&str] = &[
    "list",
    "date",
    "archive",
    "storage",
    "target_id",
    "target_storage",
    "storage_map",
    "check",
    "safety",
    "unique",
    "start",
    "no_start",
    "link_down",
    "live_restore",
    "discard_excluded",
    "bwlimit",
    "wait",
    "node",
];

/// Restore Proxmox VMs and containers from their vzdump backups, and prove it
#[derive(Parser, Clone, Debug)]
#[command(name = "restore-vm", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n{}", restore_common::cli::exit_codes()))]
pub struct Cli {
    /// The guests: 100 to 999999999
    #[arg(value_name = "VMID", required_unless_present_any = ["all_from", "tag", "pool"])]
    pub vmids: Vec<Vmid>,

    /// And those in FILE: one VMID a line, `#` for remarks
    #[arg(long, value_name = "FILE", help_heading = "Several guests")]
    pub all_from: Option<PathBuf>,

    /// And those with this tag, now or in their newest backup
    #[arg(long, value_name = "TAG", help_heading = "Several guests")]
    pub tag: Option<String>,

    /// And those in this resource pool
    #[arg(long, value_name = "POOL", help_heading = "Several guests")]
    pub pool: Option<String>,

    /// Restore so many at once to each storage
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=16), help_heading = "Several guests")]
    pub parallel: u8,

    /// Begin no other guest after one that failed
    #[arg(long, help_heading = "Several guests")]
    pub fail_fast: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: Options,
}

/// A guest, and what is to be done with it.
#[derive(Clone, Debug)]
pub struct Args {
    /// The guest.
    pub vmid: Vmid,
    /// The same for all guests of a run.
    pub options: Options,
}

impl Deref for Args {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

/// How guests are restored.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// List the guest's backups and stop
    #[arg(short, long, help_heading = "What to restore", conflicts_with_all = ["date", "archive"])]
    pub list: bool,

    /// The newest backup of this day (YYYY-MM-DD, node's time)
    #[arg(long, value_name = "DAY", help_heading = "What to restore", conflicts_with = "archive")]
    pub date: Option<jiff::civil::Date>,

    /// This very backup: STORAGE:backup/FILE
    #[arg(long, value_name = "VOLID", help_heading = "What to restore")]
    pub archive: Option<VolumeId>,

    /// Look for backups on this storage only
    #[arg(long, value_name = "ID", help_heading = "What to restore")]
    pub storage: Option<StorageId>,

    /// Look at this node only
    #[arg(long, value_name = "NODE", help_heading = "Where")]
    pub node: Option<NodeName>,

    /// Restore beside the original, as this new guest
    #[arg(long, value_name = "ID", help_heading = "How")]
    pub target_id: Option<Vmid>,

    /// Put every disk on this storage
    #[arg(long, value_name = "ID", help_heading = "How")]
    pub target_storage: Option<StorageId>,

    /// Put what was on storage OLD on NEW (repeatable)
    #[arg(long, value_name = "OLD=NEW", help_heading = "How", conflicts_with = "target_storage")]
    pub storage_map: Vec<StorageMap>,

    /// Read the backup first: full, quick, none
    #[arg(long, value_name = "HOW", hide_possible_values = true, help_heading = "How")]
    pub check: Option<CheckLevel>,

    /// Back the present guest up first: vzdump, none
    #[arg(
        long,
        value_name = "HOW",
        default_value = "vzdump",
        hide_possible_values = true,
        help_heading = "How"
    )]
    pub safety: Safety,

    /// New MAC addresses and identity (copies: always)
    #[arg(long, help_heading = "How")]
    pub unique: bool,

    /// Start a copy although its address is in use
    #[arg(long, help_heading = "How", conflicts_with = "no_start")]
    pub start: bool,

    /// Start a copy with its network links down
    #[arg(long, help_heading = "How", requires = "target_id")]
    pub link_down: bool,

    /// Start a VM at once, while its data comes from a backup server
    #[arg(long, help_heading = "How", conflicts_with_all = ["no_start", "link_down"])]
    pub live_restore: bool,

    /// Leave the guest stopped
    #[arg(long, help_heading = "How")]
    pub no_start: bool,

    /// Give up volumes that are not in the backup
    #[arg(long, help_heading = "How")]
    pub discard_excluded: bool,

    /// Read and write at most so many KiB/s on the node
    #[arg(long, value_name = "KIB", help_heading = "How", value_parser = clap::value_parser!(u32).range(1..))]
    pub bwlimit: Option<u32>,

    /// Seconds that the guest may take to come up
    #[arg(long, value_name = "N", help_heading = "How")]
    pub wait: Option<u64>,

    /// Go on with a run that was cut off
    #[arg(long, help_heading = "After a run that was cut off", conflicts_with_all = SELECTING)]
    pub resume: bool,

    /// Take back what it did
    #[arg(long, help_heading = "After a run that was cut off", conflicts_with = "resume", conflicts_with_all = SELECTING)]
    pub rollback: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

impl Options {
    /// Those of an operator who says nothing but what every program can be told.
    pub fn new(common: Common) -> Self {
        Self {
            list: false,
            date: None,
            archive: None,
            storage: None,
            node: None,
            target_id: None,
            target_storage: None,
            storage_map: Vec::new(),
            check: None,
            safety: Safety::default(),
            unique: false,
            start: false,
            link_down: false,
            live_restore: false,
            no_start: false,
            discard_excluded: false,
            bwlimit: None,
            wait: None,
            resume: false,
            rollback: false,
            common,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(&["abc"])]
    #[case(&["99"])]
    #[case(&["1000000000"])]
    #[case(&["101", "--date", "2026-02-30"])]
    #[case(&["101", "--date", "yesterday"])]
    #[case(&["101", "--archive", "no-storage"])]
    #[case(&["101", "--target-id", "0"])]
    #[case(&["101", "--check", "some"])]
    #[case(&["101", "--start", "--no-start"])]
    #[case(&["101", "--resume", "--rollback"])]
    #[case(&["101", "--live-restore", "--no-start"])]
    #[case(&["101", "--storage-map", "fast"])]
    #[case(&["101", "--storage-map", "a1=b1", "--target-storage", "c1"])]
    #[case(&["101", "--resume", "--date", "2026-01-30"])]
    #[case(&["101", "--rollback", "--safety", "none"])]
    #[case(&[])]
    #[case(&["101", "--parallel", "0"])]
    fn nonsense_is_refused_by_the_parser(#[case] words: &[&str]) {
        let words = std::iter::once("restore-vm").chain(words.iter().copied());
        assert!(Cli::try_parse_from(words).unwrap_err().use_stderr());
    }
}
