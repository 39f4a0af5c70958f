//! What the matrix is made of: every way a run can be struck, at every place where it can.

use std::fmt;

use restore_lab::{
    lab::{CT, VM},
    sim::GuestKind,
    ssh::Moment,
};

/// The number of a copy.
pub const COPY: u32 = 901;

/// What is restored, how and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setup {
    /// A VM or a container.
    pub kind: GuestKind,
    /// Beside the original instead of over it.
    pub copy: bool,
    /// Major version of Proxmox VE.
    pub pve: u8,
}

impl Setup {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for pve in [8, 9] {
            for kind in [GuestKind::Vm, GuestKind::Ct] {
                all.extend([false, true].map(|copy| Self { kind, copy, pve }));
            }
        }
        all
    }

    /// The guest whose backup it is.
    pub fn source(self) -> u32 {
        if self.kind == GuestKind::Vm { VM } else { CT }
    }

    /// The guest that comes of it.
    pub fn target(self) -> u32 {
        if self.copy { COPY } else { self.source() }
    }

    /// What the operator types after `restore-vm`.
    pub fn words(self) -> Vec<String> {
        let mut words = vec![self.source().to_string(), "--force".to_owned(), "--json".to_owned()];
        if self.copy {
            words.extend(["--target-id".to_owned(), COPY.to_string()]);
        }
        words
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == GuestKind::Vm { "vm" } else { "ct" };
        write!(f, "{kind}-{}-{}", if self.copy { "copy" } else { "over" }, self.pve)
    }
}

/// What happens to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// The node runs this command, for the n-th time, and it fails before it does anything.
    Command { number: usize, words: Vec<String>, nth: usize },
    /// The node cannot even run the shell of remote execution K.
    Execution(usize),
    /// The connection drops.
    Cut(Moment),
    /// SIGKILL. Before: the node never hears of the execution.
    Kill(Moment),
    /// SIGINT, while execution K runs.
    Interrupt(usize),
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |f: &mut fmt::Formatter<'_>, what: &str, moment: &Moment| match moment {
            Moment::Before(k) => write!(f, "{what}-before-{k:02}"),
            Moment::During(k) => write!(f, "{what}-during-{k:02}"),
            Moment::After(k) => write!(f, "{what}-after-{k:02}"),
        };
        match self {
            Self::Command { number, .. } => write!(f, "command-{number:02}"),
            Self::Execution(k) => write!(f, "execution-{k:02}"),
            Self::Cut(moment) => at(f, "cut", moment),
            Self::Kill(moment) => at(f, "kill", moment),
            Self::Interrupt(k) => write!(f, "interrupt-{k:02}"),
        }
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is restored.
    pub setup: Setup,
    /// What happens to it.
    pub strike: Strike,
    /// Its place among the cases of its setup: what is left open is chosen by it.
    pub number: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.setup, self.strike)
    }
}

/// All cases of a setup whose undisturbed run took so many remote executions and made the node run these commands.
pub fn generate(setup: Setup, executions: usize, commands: &[Vec<String>]) -> Vec<Case> {
    let failing = commands.iter().enumerate().map(|(at, words)| {
        let nth = commands[..=at].iter().filter(|earlier| earlier.starts_with(words)).count();
        Strike::Command { number: at + 1, words: words.clone(), nth }
    });
    let at_each = (1..=executions).flat_map(|k| {
        let moments = [Moment::Before(k), Moment::During(k), Moment::After(k)];
        let cuts = moments.map(Strike::Cut);
        let kills = moments.map(Strike::Kill);
        [Strike::Execution(k), Strike::Interrupt(k)].into_iter().chain(cuts).chain(kills)
    });
    let strikes = failing.chain(at_each).enumerate();
    strikes.map(|(number, strike)| Case { setup, strike, number }).collect()
}
