//! The cases, made from what undisturbed runs do.

use std::fmt;

/// How the server is when the run begins, and what the operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The container is gone, and there is no backup.
    Rebuild,
    /// Its process is dead; the container is rebuilt all the same.
    Aside,
    /// The container is gone, and there is a backup.
    Restore,
    /// It serves, and its data is gone.
    Add,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Rebuild, Self::Aside, Self::Restore, Self::Add];

    /// What the operator says.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Aside => &["--mode", "rebuild", "--yes"],
            Self::Rebuild | Self::Restore | Self::Add => &["--yes"],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebuild => "rebuild",
            Self::Aside => "aside",
            Self::Restore => "restore",
            Self::Add => "add",
        })
    }
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The program is killed before it is done.
    KillBefore,
    /// The program is killed; it is done.
    KillAfter,
    /// It fails.
    Fails,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The node's n-th remote execution.
    Execution(usize),
    /// The n-th run of Terraform.
    Terraform(usize),
    /// The server's n-th request.
    Request(usize),
}

/// One thing that goes wrong in one run.
#[derive(Clone, Debug)]
pub struct Case {
    pub number: usize,
    pub mode: Mode,
    pub place: Place,
    pub hit: Hit,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hit = match self.hit {
            Hit::KillBefore => "kill-before",
            Hit::KillAfter => "kill-after",
            Hit::Fails => "fail",
        };
        write!(f, "{}-{hit}-", self.mode)?;
        match self.place {
            Place::Execution(n) => write!(f, "execution-{n}"),
            Place::Terraform(n) => write!(f, "terraform-{n}"),
            Place::Request(n) => write!(f, "request-{n}"),
        }
    }
}

/// What an undisturbed run takes.
#[derive(Clone, Debug)]
pub struct Clean {
    pub executions: usize,
    pub terraforms: usize,
    /// Only of a server that was there all the time: whether each of them changes something.
    pub requests: Vec<bool>,
}

/// All cases of a mode.
pub fn generate(mode: Mode, clean: &Clean) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |place: fn(usize) -> Place, count: usize, hits: &[Hit]| {
        for n in 1..=count {
            cases.extend(hits.iter().map(|hit| (place(n), *hit)));
        }
    };
    add(Place::Execution, clean.executions, &[Hit::KillBefore, Hit::KillAfter, Hit::Fails]);
    add(Place::Terraform, clean.terraforms, &[Hit::KillBefore, Hit::Fails]);
    for (n, writes) in (1..).zip(&clean.requests) {
        // Where nothing was changed, a kill afterwards is one before the next.
        let hits = [Some(Hit::KillBefore), writes.then_some(Hit::KillAfter), Some(Hit::Fails)];
        cases.extend(hits.into_iter().flatten().map(|hit| (Place::Request(n), hit)));
    }
    let numbered = cases.into_iter().enumerate();
    numbered.map(|(number, (place, hit))| Case { number, mode, place, hit }).collect()
}
