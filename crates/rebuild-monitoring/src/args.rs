//! The command line.

use clap::Parser;
use rebuild_stack::args::Options;

const EXAMPLES: &str = "\
Examples:
  rebuild-monitoring                     its VM's newest backup, and the proof
  rebuild-monitoring --check-only        is everything that watches awake?
  rebuild-monitoring --date 2026-01-30   the newest backup made that day
  rebuild-monitoring --mode rebuild      no backup: made anew by Terraform
  rebuild-monitoring --dry-run           look and plan, change nothing
";

/// Bring the monitoring stack back: from its VM's backup, or made anew. Every service is proven
#[derive(Parser, Clone, Debug)]
#[command(name = "rebuild-monitoring", version, max_term_width = 100, after_help = format!("{EXAMPLES}\n{}", restore_common::cli::exit_codes()))]
pub struct Cli {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: Options,
}
