//! The proof: the node and the guest are asked again, nothing that a command returned is believed.

mod guest;
mod network;
mod own;
mod system;

use std::{
    fmt::Display,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use restore_common::{
    probe::{Wait, Waited},
    procedure::{Check, CheckStatus, Run},
    pve::GuestKind,
    ui,
};

use crate::assignment::{Assignment, Restore, Start};

pub use own::ask_all;
pub use system::system_is_up;

/// How something is, and what was seen.
pub type Found = anyhow::Result<(CheckStatus, String)>;

fn passed(saw: impl Into<String>) -> Found {
    Ok((CheckStatus::Passed, saw.into()))
}

fn failed(saw: impl Into<String>) -> Found {
    Ok((CheckStatus::Failed, saw.into()))
}

fn skipped(why: impl Into<String>) -> Found {
    Ok((CheckStatus::Skipped, why.into()))
}

/// Every check of a restore, cheapest first.
pub fn checks<'a>(what: &Assignment) -> Vec<Check<Restore<'a>>> {
    let target = what.target_name();
    let title = format!("{target} has the configuration and the disks of the backup");
    let mut checks = vec![Check { id: "configuration", title, run: Box::new(guest::configuration) }];
    if what.unique {
        let title = "its MAC addresses and ids are its own".to_owned();
        checks.push(Check { id: "identity", title, run: Box::new(guest::own_identity) });
    }
    if what.link_down {
        let title = "its network links are down".to_owned();
        checks.push(Check { id: "links", title, run: Box::new(guest::links_down) });
    }
    if what.start != Start::Yes {
        return checks;
    }
    checks.push(Check { id: "running", title: format!("{target} runs"), run: Box::new(guest::running) });
    let common = Arc::new(Common::default());
    if what.kind == GuestKind::Qemu && what.inside.config.flag("agent") {
        let common = Arc::clone(&common);
        checks.push(Check {
            id: "agent",
            title: "the guest agent answers".to_owned(),
            run: Box::new(move |restore, run| guest::agent(restore, run, &common)),
        });
    }
    checks.extend(network::ports(what, &common));
    checks.extend(own::checks(what, &common));
    checks.extend(network::by_ping(what, &common));
    checks
}

/// What the checks of one guest have in common.
#[derive(Default)]
struct Common {
    began: OnceLock<Instant>,
    address: OnceLock<String>,
    answered: AtomicBool,
}

impl Common {
    /// What is left of a limit. All limits count from the first time that one is asked for: a guest that never comes up
    /// costs the longest of them, not their sum.
    fn left(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.began.get_or_init(Instant::now).elapsed())
    }

    /// The guest's address: from the project or its configuration, else what it says itself.
    fn address(&self, restore: &Restore<'_>) -> anyhow::Result<Option<String>> {
        if let Some(known) = restore.what.proof.address.as_ref().or_else(|| self.address.get()) {
            return Ok(Some(known.clone()));
        }
        let (kind, target) = (restore.what.kind, restore.what.target);
        let output = restore.host.run(&restore_common::pve::addresses_command(kind, target))?;
        let found = restore_common::pve::first_address(kind, &output);
        Ok(found.map(|address| self.address.get_or_init(|| address).clone()))
    }

    /// Something answered by the network, so the guest's is up.
    fn heard(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    fn was_heard(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// A yes, or what was seen instead.
type Asked = Result<String, String>;

/// Something that is asked until the answer is yes.
struct Until<'a> {
    /// What is waited for.
    what: &'a str,
    /// How long the answer may take.
    limit: Duration,
    /// How much of that is left.
    left: Duration,
    /// The time between two questions.
    interval: Duration,
    run: &'a Run<'a>,
}

impl Until<'_> {
    /// Asks; the answer that was given last is what was seen.
    fn ask(&self, mut question: impl FnMut() -> anyhow::Result<Asked>) -> Found {
        let mut last = String::new();
        let interrupted = || self.run.stop_requested();
        let Self { what, limit, left, interval, .. } = *self;
        let wait = Wait { what, limit: left, interval, interrupted: &interrupted };
        let waited = wait.until(|| {
            let no = match question()? {
                Ok(saw) => return Ok::<_, anyhow::Error>(Some(saw)),
                Err(no) => no,
            };
            if last.is_empty() {
                self.run.say(&wait.to_string());
            }
            last = no;
            Ok(None)
        })?;
        match waited {
            Waited::Ready { value, .. } => passed(value),
            Waited::TimedOut => failed(format!("{last}, for {}", ui::format::duration(limit))),
            Waited::Interrupted if last.is_empty() => failed("interrupted before it was asked"),
            Waited::Interrupted => failed(format!("interrupted, last seen: {last}")),
        }
    }
}

/// An answer as it is shown: one line of it, harmless and not long.
fn shown(said: impl Display) -> String {
    const ROOM: usize = 160;
    let said = said.to_string();
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let line = ui::sanitize(line);
    match line.char_indices().nth(ROOM) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_count_from_the_first_look() {
        let common = Common::default();
        let began = Instant::now().checked_sub(Duration::from_secs(100)).unwrap();
        common.began.set(began).unwrap();
        assert_eq!(common.left(Duration::from_secs(60)), Duration::ZERO);
        let left = common.left(Duration::from_secs(160));
        assert!(left > Duration::ZERO && left <= Duration::from_secs(60), "{left:?}");
    }

    #[test]
    fn what_is_shown_is_the_last_line() {
        assert_eq!(shown("a\n  inactive \n\n"), "inactive");
        assert_eq!(shown("\u{1b}[31mred"), ui::sanitize("\u{1b}[31mred"));
        assert_eq!(shown("ä".repeat(500)).chars().count(), 161);
        assert_eq!(shown(""), "");
    }
}
