//! Exit codes of the programs that restore and rebuild.

use serde::{Deserialize, Serialize};

/// How a run ended, for whoever called the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// Done and proven; or, in a dry run, planned.
    Done,
    /// Refused or failed, and nothing was changed.
    NothingChanged,
    /// Failed, and what was there before is back.
    RolledBack,
    /// Failed, and the operator must act.
    ActNeeded,
    /// Done, but a check afterwards failed.
    CheckFailed,
    /// The command line makes no sense.
    Usage,
    /// Interrupted: nothing was changed, or it was rolled back.
    Interrupted,
}

impl Exit {
    /// The one of several that the operator must hear of: act at once, know that nothing came of it, look why a check
    /// failed.
    pub fn worst(several: impl Iterator<Item = Self>) -> Self {
        let order =
            [Self::ActNeeded, Self::RolledBack, Self::CheckFailed, Self::NothingChanged, Self::Interrupted];
        let there: Vec<_> = several.collect();
        order.into_iter().find(|exit| there.contains(exit)).unwrap_or(Self::Done)
    }

    /// The number the program ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NothingChanged => 1,
            Self::RolledBack => 2,
            Self::ActNeeded => 3,
            Self::CheckFailed => 4,
            Self::Usage => 64,
            Self::Interrupted => 130,
        }
    }

    /// What it means, in the words of `--help`.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done and proven",
            Self::NothingChanged => "refused or failed, nothing was changed",
            Self::RolledBack => "failed, rolled back to what was there before",
            Self::ActNeeded => "failed, you must act (the report says how)",
            Self::CheckFailed => "done, but a check afterwards failed",
            Self::Usage => "bad usage",
            Self::Interrupted => "interrupted, nothing changed or rolled back",
        }
    }

    /// Every exit code, for `--help`.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::NothingChanged,
        Self::RolledBack,
        Self::ActNeeded,
        Self::CheckFailed,
        Self::Usage,
        Self::Interrupted,
    ];
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
