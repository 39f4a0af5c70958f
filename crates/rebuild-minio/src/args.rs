//! The command line.

use std::{path::PathBuf, str::FromStr};

use clap::{Parser, ValueEnum};
use restore_common::{
    cli::Common,
    pve::{Vmid, VolumeId},
};

const EXAMPLES: &str = "\
Examples:
  rebuild-minio                      look, and do the least that helps
  rebuild-minio --dry-run            look and plan, change nothing
  rebuild-minio --mode restore       the container from its newest backup
  rebuild-minio --mode rebuild       the container anew, by Terraform
  rebuild-minio --state prod=a.json  with this state of prod
";

/// How the server comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// By what changes least: start it, restore it, rebuild it.
    #[default]
    Auto,
    /// Its container from a backup.
    Restore,
    /// Its container from nothing, by Terraform.
    Rebuild,
}

/// A state of an environment that is to be used: `ENV=FILE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The environment.
    pub environment: String,
    /// The file.
    pub file: PathBuf,
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((environment, file)) if !environment.is_empty() && !file.is_empty() => {
                Ok(Self { environment: environment.to_owned(), file: PathBuf::from(file) })
            }
            _ => Err("it is written ENV=FILE".to_owned()),
        }
    }
}

/// Bring the S3 server that holds Terraform's states back, with every state in it
#[derive(Parser, Clone, Debug)]
#[command(name = "rebuild-minio", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n{}", restore_common::cli::exit_codes()))]
pub struct Cli {
    /// auto, restore (from a backup) or rebuild (by Terraform)
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "How"
    )]
    pub mode: Mode,

    /// Restore or rebuild although it works (asks a second time)
    #[arg(long, help_heading = "How")]
    pub replace: bool,

    /// Use this state of an environment (repeatable)
    #[arg(long, value_name = "ENV=FILE", help_heading = "How")]
    pub state: Vec<Chosen>,

    /// Restore this very backup: STORAGE:backup/FILE
    #[arg(long, value_name = "VOLID", help_heading = "How")]
    pub archive: Option<VolumeId>,

    /// Apply what is left to apply in its environment, too
    #[arg(long, help_heading = "How")]
    pub complete: bool,

    /// Seconds that the server may take to serve [else 120]
    #[arg(long, value_name = "N", default_value = "120", hide_default_value = true, help_heading = "How")]
    pub wait: u64,

    /// The container [else by name, address, state or backup]
    #[arg(long, value_name = "ID", help_heading = "Where")]
    pub vmid: Option<Vmid>,

    /// The module that makes it [else the one whose source is `minio`]
    #[arg(long, value_name = "ADDRESS", help_heading = "Where")]
    pub module: Option<String>,

    /// terraform or tofu [else $TF_BIN, else in the path]
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub terraform_bin: Option<PathBuf>,

    /// Go on with a run that was cut off
    #[arg(long, help_heading = "After a run that was cut off", conflicts_with = "rollback")]
    pub resume: bool,

    /// Take back what it did
    #[arg(long, help_heading = "After a run that was cut off")]
    pub rollback: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(&["--mode", "other"])]
    #[case(&["--state", "prod"])]
    #[case(&["--state", "=file"])]
    #[case(&["--vmid", "99"])]
    #[case(&["--resume", "--rollback"])]
    #[case(&["102"])]
    fn nonsense_is_refused_by_the_parser(#[case] words: &[&str]) {
        let words = std::iter::once("rebuild-minio").chain(words.iter().copied());
        assert!(Cli::try_parse_from(words).unwrap_err().use_stderr());
    }
}
