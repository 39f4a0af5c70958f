//! The cases, made from what undisturbed runs do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::trial::Clean;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// The first version becomes current again.
    Restore,
    /// The server is down.
    Fallback,
    /// The server answers after all.
    Migration,
    /// It is back, and the state was changed meanwhile.
    Return,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Restore, Self::Fallback, Self::Migration, Self::Return];

    /// What the operator says.
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::Restore => &["--env", "prod", "--restore", "serial:1", "--yes"],
            Self::Fallback | Self::Migration => &["--env", "prod", "--fallback", "--yes"],
            Self::Return => &["--env", "prod", "--return", "--yes"],
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restore => "restore",
            Self::Fallback => "fallback",
            Self::Migration => "migration",
            Self::Return => "return",
        })
    }
}

/// What happens to the request, to the call of Terraform, or at the system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The program is killed before it is done.
    KillBefore,
    /// The program is killed; it is done.
    KillAfter,
    /// No answer, and nothing is done.
    CutBefore,
    /// No answer, but it is done.
    CutAfter,
    /// It fails.
    Fails,
}

impl Hit {
    pub fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter)
    }
}

/// Where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The server's n-th request.
    Request(usize),
    /// The n-th call of Terraform.
    Terraform(usize),
    /// The n-th system call of this name.
    Call(String, usize),
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
            Hit::CutBefore => "cut-before",
            Hit::CutAfter => "cut-after",
            Hit::Fails => "fail",
        };
        write!(f, "{}-{hit}-", self.mode)?;
        match &self.place {
            Place::Request(n) => write!(f, "request-{n}"),
            Place::Terraform(n) => write!(f, "terraform-{n}"),
            Place::Call(name, n) => write!(f, "{name}-{n}"),
        }
    }
}

/// The system calls by which a program changes files, or makes sure that they are on the disk.
pub const CALLS: &str = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir";

/// All cases of a mode.
pub fn generate(mode: Mode, clean: &Clean) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |place: Place, hits: &[Hit]| {
        for hit in hits {
            cases.push((place.clone(), *hit));
        }
    };
    for n in 1..=clean.requests {
        add(Place::Request(n), &[Hit::KillBefore, Hit::KillAfter, Hit::CutBefore, Hit::CutAfter, Hit::Fails]);
    }
    for n in 1..=clean.terraforms {
        add(Place::Terraform(n), &[Hit::KillBefore, Hit::Fails]);
    }
    for (name, count) in &clean.calls {
        for n in 1..=*count {
            add(Place::Call(name.clone(), n), &[Hit::KillBefore, Hit::Fails]);
        }
    }
    let numbered = cases.into_iter().enumerate();
    numbered.map(|(number, (place, hit))| Case { number, mode, place, hit }).collect()
}

/// What strikes at system calls: `strace`. Without it those cases are left out, which is said; in CI it has to be there.
pub fn tracer() -> io::Result<Option<PathBuf>> {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder: PathBuf| folder.join("strace"))
        .find(|path: &PathBuf| Path::is_file(path));
    if found.is_none() {
        if std::env::var_os("CI").is_some() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "strace is not installed, and in CI it has to be",
            ));
        }
        eprintln!("SKIPPED: failures and kills at changes of files, because strace is not installed");
    }
    Ok(found)
}
