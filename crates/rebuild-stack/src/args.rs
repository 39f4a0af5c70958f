//! The command line.

use std::path::PathBuf;

use clap::ValueEnum;
use restore_common::{
    cli::Common,
    pve::{NodeName, StorageId, Vmid, VolumeId},
};
use restore_vm::{
    args::{self as of_guest, Safety},
    place::StorageMap,
};

/// How the stack comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// From the backup of its VM.
    #[default]
    Restore,
    /// By Terraform, from nothing.
    Rebuild,
}

/// Options that a run has settled when it began.
const SETTLED: &[&str] =
    &["mode", "module", "vmid", "date", "archive", "storage", "target_storage", "storage_map", "safety"];

/// How a stack is brought back, for a program to flatten into its own command line.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// restore: from the backup of its VM; rebuild: by Terraform
    #[arg(
        long,
        value_name = "HOW",
        default_value = "restore",
        hide_possible_values = true,
        help_heading = "What to do"
    )]
    pub mode: Mode,

    /// Only look whether every service works
    #[arg(long, help_heading = "What to do", conflicts_with_all = SETTLED)]
    pub check_only: bool,

    /// Its VM [else by address, by name, by the Terraform state]
    #[arg(long, value_name = "ID", help_heading = "Where")]
    pub vmid: Option<Vmid>,

    /// Look at this node only
    #[arg(long, value_name = "NODE", help_heading = "Where")]
    pub node: Option<NodeName>,

    /// The newest backup of this day (YYYY-MM-DD, node's time)
    #[arg(long, value_name = "DAY", help_heading = "Restoring", conflicts_with = "archive")]
    pub date: Option<jiff::civil::Date>,

    /// This very backup: STORAGE:backup/FILE
    #[arg(long, value_name = "VOLID", help_heading = "Restoring")]
    pub archive: Option<VolumeId>,

    /// Look for backups on this storage only
    #[arg(long, value_name = "ID", help_heading = "Restoring")]
    pub storage: Option<StorageId>,

    /// Put every disk on this storage
    #[arg(long, value_name = "ID", help_heading = "Restoring")]
    pub target_storage: Option<StorageId>,

    /// Put what was on storage OLD on NEW (repeatable)
    #[arg(long, value_name = "OLD=NEW", help_heading = "Restoring", conflicts_with = "target_storage")]
    pub storage_map: Vec<StorageMap>,

    /// Back the present VM up first: vzdump, none
    #[arg(
        long,
        value_name = "HOW",
        default_value = "vzdump",
        hide_possible_values = true,
        help_heading = "Restoring"
    )]
    pub safety: Safety,

    /// The call of the module [else by its source]
    #[arg(long, value_name = "NAME", help_heading = "Rebuilding")]
    pub module: Option<String>,

    /// terraform or tofu [else $TF_BIN, else in the path]
    #[arg(long, value_name = "FILE", help_heading = "Rebuilding")]
    pub terraform_bin: Option<PathBuf>,

    /// Seconds to wait for what is starting [600; alone: 60]
    #[arg(long, value_name = "N", help_heading = "How")]
    pub wait: Option<u64>,

    /// Go on with a run that was cut off
    #[arg(long, help_heading = "After a run that was cut off", conflicts_with_all = SETTLED, conflicts_with = "check_only")]
    pub resume: bool,

    /// Take back what it did
    #[arg(long, help_heading = "After a run that was cut off", conflicts_with = "resume", conflicts_with_all = SETTLED, conflicts_with = "check_only")]
    pub rollback: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

impl Options {
    /// An option of the other mode that was given, if one was.
    pub fn misplaced(&self) -> Option<&'static str> {
        let of_restore = [
            (self.date.is_some(), "--date"),
            (self.archive.is_some(), "--archive"),
            (self.storage.is_some(), "--storage"),
            (self.target_storage.is_some(), "--target-storage"),
            (!self.storage_map.is_empty(), "--storage-map"),
        ];
        let given = match self.mode {
            Mode::Rebuild => of_restore.to_vec(),
            Mode::Restore => vec![(self.module.is_some(), "--module")],
        };
        given.into_iter().find_map(|(given, option)| given.then_some(option))
    }

    /// The same for the library that restores guests.
    pub fn restore(&self, vmid: Vmid) -> of_guest::Args {
        let options = of_guest::Options {
            date: self.date,
            archive: self.archive.clone(),
            storage: self.storage.clone(),
            node: self.node.clone(),
            target_storage: self.target_storage.clone(),
            storage_map: self.storage_map.clone(),
            safety: self.safety,
            wait: self.wait,
            resume: self.resume,
            rollback: self.rollback,
            ..of_guest::Options::new(self.common.clone())
        };
        of_guest::Args { vmid, options }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    pub(crate) fn read(words: &[&str]) -> Result<Options, clap::Error> {
        Cli::try_parse_from(std::iter::once("rebuild-eyes").chain(words.iter().copied()))
            .map(|cli| cli.options)
    }

    #[rstest::rstest]
    #[case(&["--mode", "auto"])]
    #[case(&["--check-only", "--vmid", "103"])]
    #[case(&["--check-only", "--resume"])]
    #[case(&["--resume", "--rollback"])]
    #[case(&["--resume", "--date", "2026-01-30"])]
    #[case(&["--date", "yesterday"])]
    #[case(&["--date", "2026-01-30", "--archive", "local:backup/x"])]
    #[case(&["--vmid", "7"])]
    fn nonsense_is_refused_by_the_parser(#[case] words: &[&str]) {
        assert!(read(words).unwrap_err().use_stderr());
    }

    #[rstest::rstest]
    #[case(&["--mode", "rebuild", "--date", "2026-01-30"], Some("--date"))]
    #[case(&["--module", "eyes"], Some("--module"))]
    #[case(&["--mode", "rebuild", "--module", "eyes"], None)]
    #[case(&["--date", "2026-01-30"], None)]
    fn options_of_the_other_mode_are_found(#[case] words: &[&str], #[case] option: Option<&str>) {
        assert_eq!(read(words).unwrap().misplaced(), option);
    }
}
