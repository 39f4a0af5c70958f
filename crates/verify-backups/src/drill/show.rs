//! What is going to be drilled, before the question.

use std::time::Duration;

use restore_common::{
    ledger::Ledger,
    procedure::plan_text,
    pve::PveError,
    ui::{Table, format, sanitize},
};

use super::{
    decide::{Ready, Terms},
    ground::Ground,
    steps,
};
use crate::nodes::Looked;

/// Columns of the summary.
const WIDTH: usize = 80;

/// One table, what is promised, and in a dry run or with `-v` every step.
pub(super) fn summary(
    terms: &Terms<'_>,
    ready: &[Ready],
    looked: &[Looked],
    grounds: &[Option<Result<Ground, PveError>>],
    ledger: &Ledger,
) -> String {
    let mut table = Table::new(["guest", "name", "node", "made", "disks", "memory", "as", "took"])
        .right("guest")
        .right("disks")
        .right("memory")
        .flexible("name");
    for Ready { node, what } in ready {
        let Looked { part, .. } = &looked[*node];
        let last = ledger.drill(&part.label, what.source);
        table.row([
            what.source.to_string(),
            sanitize(what.inside.config.name().unwrap_or_default()).into_owned(),
            what.node.clone(),
            format::age(what.archive.ctime, what.looked_at),
            what.data_size().map(format::bytes).unwrap_or_default(),
            format::bytes(super::decide::memory(what)),
            what.target.to_string(),
            last.map_or_else(|| "-".to_owned(), |last| format::duration(Duration::from_millis(last.took_ms))),
        ]);
    }
    let rows = table.render(WIDTH - 2).lines().fold(String::new(), |text, line| text + "  " + line + "\n");
    let common = &terms.frame.cli.common;
    let plans = if common.dry_run || common.verbose > 0 {
        ready
            .iter()
            .fold(String::new(), |text, ready| text + "\n" + &plan_text(&steps::plan(&ready.what), false))
    } else {
        "\n`-v` shows every step\n".to_owned()
    };
    let dry = if common.dry_run { "\nThis is a dry run: nothing will be changed.\n" } else { "" };
    format!(
        "Drill {}\n\n{rows}\n{PROMISE}{}{plans}{dry}",
        guests(ready.len()),
        passed_over(terms, ready, looked, grounds)
    )
}

const PROMISE: &str = concat!(
    "  One after the other, each backup is restored as a new guest under the number\n",
    "  in the column `as`, with its network links down, started, asked whether it is\n",
    "  up, and destroyed. Nothing is done to any other guest, to backups or to jobs.\n",
);

/// The numbers of the range that are somebody's.
fn passed_over(
    terms: &Terms<'_>,
    ready: &[Ready],
    looked: &[Looked],
    grounds: &[Option<Result<Ground, PveError>>],
) -> String {
    let line = |(node, ground): (usize, &Option<Result<Ground, PveError>>)| {
        let taken = ground.as_ref()?.as_ref().ok()?.passed_over(&terms.numbers);
        let is_used = ready.iter().any(|ready| ready.node == node);
        let label = sanitize(&looked[node].part.label).into_owned();
        (is_used && !taken.is_empty()).then(|| format!("  Passed over on {label}: {}\n", taken.join(", ")))
    };
    grounds.iter().enumerate().filter_map(line).collect()
}

/// `3 guests`.
pub(super) fn guests(number: usize) -> String {
    format::counted(u64::try_from(number).unwrap_or(u64::MAX), "guest")
}
