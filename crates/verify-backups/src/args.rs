//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Parser};
use restore_common::{
    cli::Common,
    pve::{NodeName, StorageId, Vmid},
};

const EXAMPLES: &str = "\
Examples:
  verify-backups                      what there is, its age, what is missing
  verify-backups --deep --jobs 2      read every archive to its end, on the node
  verify-backups --deep --skip-verified 7 --max-duration 2h
  verify-backups --local /mnt/usb     the same for a folder of this machine
  verify-backups --ready              is all here that a disaster needs?
  verify-backups --drill 101          prove it: restore, start, destroy a copy
";

const EXITS: &str = "\
Exit codes:
    0  all good
    1  warnings
    2  errors, or something could not be checked
   64  bad usage
  130  interrupted
";

/// Know that every backup of a Proxmox VE homelab can be restored
#[derive(Parser, Clone, Debug)]
#[command(name = "verify-backups", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n{EXITS}"))]
#[command(group = ArgGroup::new("reading").args(["deep", "full", "local"]).multiple(true))]
pub struct Cli {
    /// Look at this node only (repeatable)
    #[arg(long, value_name = "NODE", help_heading = "What to check")]
    pub node: Vec<NodeName>,

    /// Look at this storage only
    #[arg(long, value_name = "ID", help_heading = "What to check")]
    pub storage: Option<StorageId>,

    /// Look at this guest only (repeatable)
    #[arg(long, value_name = "VMID", help_heading = "What to check")]
    pub vmid: Vec<Vmid>,

    /// The archives in DIR on this machine, without any node
    #[arg(long, value_name = "DIR", help_heading = "What to check", conflicts_with_all = ["node", "storage", "max_age"])]
    pub local: Option<PathBuf>,

    /// Leave Terraform's states out
    #[arg(long, help_heading = "What to check")]
    pub no_state: bool,

    /// Listing, header, configuration, age, jobs (the default)
    #[arg(long, help_heading = "How thoroughly", conflicts_with = "deep")]
    pub quick: bool,

    /// Read every archive to its end
    #[arg(long, help_heading = "How thoroughly")]
    pub deep: bool,

    /// Deep, and what runs: guests reachable, services healthy
    #[arg(long, help_heading = "How thoroughly", conflicts_with_all = ["quick", "local"])]
    pub full: bool,

    /// Restore, start and destroy a throw-away copy of each [of VMID]
    #[arg(long, value_name = "VMID", num_args = 0.., conflicts_with = "local", help_heading = "How thoroughly")]
    pub drill: Option<Vec<Vmid>>,

    /// Whether all is here that a disaster needs; looks at no backup
    #[arg(
        long,
        help_heading = "What to check",
        conflicts_with_all = ["quick", "deep", "full", "drill", "local", "storage", "vmid", "max_age", "no_state"]
    )]
    pub ready: bool,

    /// A newest backup may be this old [else its job's schedule]
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "How thoroughly")]
    pub max_age: Option<std::time::Duration>,

    /// Read so many at once [node: 1, --local: this machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16), help_heading = "Deep")]
    pub jobs: Option<u8>,

    /// Read at most so many KiB/s of each archive
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Deep")]
    pub bwlimit: Option<u32>,

    /// Skip what was read, unchanged, in the last DAYS
    #[arg(long, value_name = "DAYS", help_heading = "Deep", requires = "reading", conflicts_with = "quick")]
    pub skip_verified: Option<u32>,

    /// Begin no other archive after this time (2h, 30m)
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = "Deep", requires = "reading", conflicts_with = "quick")]
    pub max_duration: Option<std::time::Duration>,

    /// Metrics for Prometheus' textfile collector
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub metrics: Option<PathBuf>,

    /// A page to read offline
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub common: Common,
}

impl Cli {
    /// Whether archives are read to their end.
    pub fn reads_all(&self) -> bool {
        self.deep || self.full || (self.local.is_some() && !self.quick)
    }
}

/// `90s`, `30m`, `48h`, `7d`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || format!("`{text}` is no time: it is written like 90s, 30m, 48h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    number
        .checked_mul(seconds)
        .filter(|seconds| *seconds > 0)
        .map(std::time::Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(&["--quick", "--deep"])]
    #[case(&["--vmid", "99"])]
    #[case(&["--max-age", "soon"])]
    #[case(&["--max-age", "0h"])]
    #[case(&["--deep", "--max-duration", "99999999999999999999d"])]
    #[case(&["--jobs", "0"])]
    #[case(&["--bwlimit", "0"])]
    #[case(&["--max-duration", "4h"])]
    #[case(&["--skip-verified", "7"])]
    #[case(&["--local", "/mnt/usb", "--quick", "--skip-verified", "7"])]
    #[case(&["--drill", "--max-duration", "4h"])]
    #[case(&["--local", "/mnt/usb", "--node", "pve-prod"])]
    #[case(&["--local", "/mnt/usb", "--max-age", "48h"])]
    #[case(&["--local", "/mnt/usb", "--drill"])]
    #[case(&["--drill", "web"])]
    #[case(&["--ready", "--deep"])]
    fn nonsense_is_refused_by_the_parser(#[case] words: &[&str]) {
        let words = std::iter::once("verify-backups").chain(words.iter().copied());
        assert!(Cli::try_parse_from(words).unwrap_err().use_stderr());
    }

    #[rstest::rstest]
    #[case(&["--deep", "--jobs", "2", "--skip-verified", "7", "--max-duration", "4h", "--bwlimit", "1000"])]
    #[case(&["--full", "--max-duration", "4h"])]
    #[case(&["--local", "/mnt/usb", "--skip-verified", "7"])]
    #[case(&["--jobs", "2"])]
    #[case(&["--drill", "--bwlimit", "1000"])]
    fn what_belongs_together_is_taken(#[case] words: &[&str]) {
        let words = std::iter::once("verify-backups").chain(words.iter().copied());
        assert!(Cli::try_parse_from(words).is_ok());
    }

    #[test]
    fn times_have_a_unit() {
        let seconds = |text| duration(text).unwrap().as_secs();
        assert_eq!(["90s", "30m", "48h", "7d"].map(seconds), [90, 1800, 172_800, 604_800]);
    }
}
