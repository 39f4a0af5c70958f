//! The cases, and what is wanted of each.

use std::{
    fmt::{self, Write as _},
    io,
    sync::{Mutex, PoisonError},
};

use restore_e2e::{Ran, matrix::KILLED};

/// How the stack comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the backup of its VM.
    Restore,
    /// By Terraform.
    Rebuild,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restore => "restore",
            Self::Rebuild => "rebuild",
        })
    }
}

/// What happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The program is killed.
    Kill,
    /// What it asks for fails.
    Fail,
}

/// One thing that goes wrong in one run.
#[derive(Clone, Debug)]
pub struct Case {
    number: usize,
    mode: Mode,
    /// At which moment, from 1.
    pub at: usize,
    pub hit: Hit,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hit = match self.hit {
            Hit::Kill => "kill",
            Hit::Fail => "fail",
        };
        write!(f, "{}-{hit}-{}", self.mode, self.at)
    }
}

/// All cases of a mode whose undisturbed run has so many moments.
pub fn generate(mode: Mode, moments: usize) -> Vec<Case> {
    let both = (1..=moments).flat_map(|at| [(at, Hit::Kill), (at, Hit::Fail)]);
    both.enumerate().map(|(number, (at, hit))| Case { number, mode, at, hit }).collect()
}

/// Where the cases of a mode are tried. What is broken at the beginning is the VM with the stack.
pub trait Ground: Sized + Send {
    /// A new one; `None` where something of it is not installed.
    fn start() -> io::Result<Option<Self>>;

    /// As at the beginning.
    fn reset(&mut self) -> io::Result<()>;

    /// Runs the program with these words; what a case says goes wrong.
    fn run(&self, words: &[&str], case: Option<&Case>) -> io::Result<Ran>;

    /// How many moments the run had.
    fn moments(&self) -> io::Result<usize>;

    /// What is not as this exit code says.
    fn wrong_after(&self, code: i32) -> io::Result<Option<String>>;
}

/// Those that wait for a case.
pub struct Benches<G>(Mutex<Vec<G>>);

impl<G> Default for Benches<G> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<G: Ground> Benches<G> {
    /// Lets `work` have one that is as at the beginning.
    pub fn with<T>(&self, work: impl FnOnce(&G) -> io::Result<T>) -> io::Result<Option<T>> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(mut ground) = waiting.map_or_else(G::start, |ground| Ok(Some(ground)))? else {
            return Ok(None);
        };
        ground.reset()?;
        let result = work(&ground)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ground);
        Ok(Some(result))
    }
}

/// A case at work.
struct Trial<'g, G> {
    ground: &'g G,
    ran: Vec<Ran>,
    wrong: Vec<String>,
}

impl<G: Ground> Trial<'_, G> {
    fn run(&mut self, words: &[&str], case: Option<&Case>) -> io::Result<i32> {
        let code = self.run_unjudged(words, case)?;
        if code != KILLED {
            self.judge(code)?;
        }
        Ok(code)
    }

    fn run_unjudged(&mut self, words: &[&str], case: Option<&Case>) -> io::Result<i32> {
        let ran = self.ground.run(words, case)?;
        let code = ran.code;
        self.ran.push(ran);
        Ok(code)
    }

    fn judge(&mut self, code: i32) -> io::Result<()> {
        let wrong = self.ground.wrong_after(code)?;
        self.wrong.extend(wrong.map(|words| format!("after exit {code}: {words}")));
        Ok(())
    }

    fn verdict(self) -> Result<(), String> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for line in &self.wrong {
            let _ = writeln!(text, "  * {line}");
        }
        for ran in &self.ran {
            let _ = writeln!(text, "  {ran}");
        }
        Err(text)
    }
}

/// Runs once without any fault; how many moments that has.
pub fn clean<G: Ground>(ground: &G) -> io::Result<Result<usize, String>> {
    let mut trial = Trial { ground, ran: Vec::new(), wrong: Vec::new() };
    let code = trial.run(&["--yes"], None)?;
    if code != 0 {
        trial.wrong.push(format!("it ends with {code}"));
    }
    let moments = ground.moments()?;
    Ok(trial.verdict().map(|()| moments))
}

/// Tries a case. The error says everything about it.
pub fn try_case<G: Ground>(ground: &G, case: &Case) -> io::Result<Result<(), String>> {
    let mut trial = Trial { ground, ran: Vec::new(), wrong: Vec::new() };
    let mut code = trial.run(&["--yes"], Some(case))?;
    if case.hit == Hit::Kill && code != KILLED {
        trial.wrong.push("it was not killed".to_owned());
    }
    if code == KILLED {
        // One that is refused has changed nothing of what the killed one left, whatever that is.
        code = trial.run_unjudged(&["--yes"], None)?;
        if code == 1 {
            let how = if case.number.is_multiple_of(4) { "--resume" } else { "--rollback" };
            code = trial.run(&[how, "--yes"], None)?;
            if how == "--resume" && code != 0 {
                trial.wrong.push(format!("`--resume` ends with {code}"));
            }
        } else {
            trial.judge(code)?;
        }
    }
    // The same command once more gets there.
    if code != 0 {
        code = trial.run(&["--yes"], None)?;
    }
    if code != 0 {
        trial.wrong.push(format!("it does not converge: {code}"));
    }
    Ok(trial.verdict())
}
