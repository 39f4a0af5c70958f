//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};
use restore_common::cli::Common;

const EXAMPLES: &str = "\
Examples:
  restore-tfstate --env prod --list                versions of the state of prod
  restore-tfstate --env prod --diff previous 3f2a  from one of them to another
  restore-tfstate --env prod --restore serial:41   make serial 41 current again
  restore-tfstate --all --fallback                 the S3 server is down
  restore-tfstate --all --return                   it is back

A version is an id or the beginning of one (4 characters), serial:N, current,
previous, a time (2026-01-30T01:00, as clocks here) or an age (2h, 3d).
";

/// Bring Terraform's state back: an earlier version, or work without its S3 server
#[derive(Parser, Clone, Debug)]
#[command(name = "restore-tfstate", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n{}", restore_common::cli::exit_codes()))]
#[command(override_usage = "restore-tfstate --env ENV <WHAT TO DO> [OPTIONS]")]
#[command(group = ArgGroup::new("mode").required(true).args(["list", "show", "diff", "restore", "fallback", "home", "pull", "resume", "rollback"]))]
pub struct Cli {
    /// The versions there are: serial, resources, what each changed
    #[arg(short, long, help_heading = "What to do")]
    pub list: bool,

    /// What version V holds (addresses, never values)
    #[arg(long, value_name = "V", help_heading = "What to do")]
    pub show: Option<String>,

    /// The difference from version V to version W
    #[arg(long, num_args = 2, value_names = ["V", "W"], help_heading = "What to do")]
    pub diff: Option<Vec<String>>,

    /// Write version V as the new current version
    #[arg(long, value_name = "V", help_heading = "What to do")]
    pub restore: Option<String>,

    /// The S3 server is down: work with the newest local copy
    #[arg(long, help_heading = "What to do")]
    pub fallback: bool,

    /// The S3 server is back: take the state there, end the fallback
    #[arg(id = "home", long = "return", help_heading = "What to do")]
    pub home: bool,

    /// Keep a copy of the current state on this machine
    #[arg(long, help_heading = "What to do")]
    pub pull: bool,

    /// Go on with a run that was cut off
    #[arg(long, help_heading = "What to do")]
    pub resume: bool,

    /// Take back what a run that was cut off has done
    #[arg(long, help_heading = "What to do")]
    pub rollback: bool,

    /// Every environment (--list, --pull, --fallback, --return)
    #[arg(long, help_heading = "Where", conflicts_with_all = ["env", "show", "diff", "restore", "resume", "rollback"])]
    pub all: bool,

    /// The workspace [else $TF_WORKSPACE, else the selected one]
    #[arg(long, value_name = "W", help_heading = "Where")]
    pub workspace: Option<String>,

    /// terraform or tofu [else $TF_BIN, else in the path]
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub terraform_bin: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(&[])]
    #[case(&["--env", "prod"])]
    #[case(&["--list", "--pull"])]
    #[case(&["--diff", "previous"])]
    #[case(&["--restore"])]
    #[case(&["--restore", "previous", "--all"])]
    #[case(&["--list", "--all", "--env", "prod"])]
    #[case(&["--resume", "--rollback"])]
    fn nonsense_is_refused_by_the_parser(#[case] words: &[&str]) {
        let words = std::iter::once("restore-tfstate").chain(words.iter().copied());
        assert!(Cli::try_parse_from(words).unwrap_err().use_stderr());
    }
}
