//! One case from its beginning to its end.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use restore_e2e::{
    Ran,
    matrix::{KILLED, run_within},
    restore_vm_command,
};
use restore_lab::{lab::Fault, ssh::Act};

use crate::{
    bench::Bench,
    case::{Case, Setup, Strike},
    ground::Ground,
    guardian::Guardian,
    leftovers::{is_quiet_within, unnamed},
    state::State,
    striker::Striker,
};

/// After this a run hangs.
const LIMIT: Duration = Duration::from_secs(100);

/// What is wrong with a case, in words.
type Wrong = Vec<String>;

/// What an undisturbed run shows.
pub struct Clean {
    /// The guest that was restored.
    pub restored: State,
    /// How many remote executions it took.
    pub executions: usize,
    /// The commands that the node ran.
    pub commands: Vec<Vec<String>>,
    /// What cases have left, and a run that began there converged.
    pub grounds: Mutex<BTreeSet<Ground>>,
}

/// Runs once without any fault.
pub fn clean(bench: &Bench, setup: Setup) -> Result<Clean, String> {
    let mut trial = Trial::new(bench, setup).map_err(|error| error.to_string())?;
    let result = trial.undisturbed().unwrap_or_else(|error| Err(vec![error.to_string()]));
    result.map_err(|wrong| trial.protocol(&wrong))
}

/// Tries a case. The error says everything about it.
pub fn try_case(bench: &Bench, case: &Case, clean: &Clean) -> Result<(), String> {
    let mut trial = Trial::new(bench, case.setup).map_err(|error| error.to_string())?;
    let mut wrong = trial.case(case, clean).unwrap_or_else(|error| vec![error.to_string()]);
    wrong.extend(trial.guardian.take());
    if wrong.is_empty() { Ok(()) } else { Err(trial.protocol(&wrong)) }
}

struct Trial<'a> {
    bench: &'a Bench,
    setup: Setup,
    guardian: Arc<Guardian>,
    ran: Vec<(String, Ran)>,
}

impl<'a> Trial<'a> {
    fn new(bench: &'a Bench, setup: Setup) -> io::Result<Self> {
        Ok(Self { bench, setup, guardian: Arc::new(Guardian::new(bench, setup)?), ran: Vec::new() })
    }

    fn undisturbed(&mut self) -> io::Result<Result<Clean, Wrong>> {
        let lab = Arc::clone(&self.bench.lab);
        let code = self.run(&self.setup.words(), None)?;
        let mut wrong = self.guardian.take();
        if code != 0 {
            wrong.push(format!("exit {code}"));
        }
        wrong.extend(unnamed(self.bench, self.setup, &self.reports())?);
        let restored = State::of(&lab, self.setup.kind, self.setup.target())?;
        let Some(restored) = restored else { return Ok(Err(vec!["there is no guest".to_owned()])) };
        if restored.contents.disks != self.bench.archived[&self.setup.source()] {
            wrong.push("the disks do not hold what the backup holds".to_owned());
        }
        if !wrong.is_empty() {
            return Ok(Err(wrong));
        }
        let words = |entry: &serde_json::Value| -> Vec<String> {
            serde_json::from_value(entry["argv"].clone()).unwrap_or_default()
        };
        let commands = lab.journal()?.iter().map(|entry| lasting(words(entry))).collect();
        let executions = lab.server().map(|server| server.executions()).unwrap_or_default();
        Ok(Ok(Clean { restored, executions, commands, grounds: Mutex::default() }))
    }

    fn case(&mut self, case: &Case, clean: &Clean) -> io::Result<Wrong> {
        if let Strike::Command { words, nth, .. } = &case.strike {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let fault = Fault::Fails { exit: 255, stderr: "the disk controller caught fire".to_owned() };
            self.bench.lab.fault(&words, Some(*nth), &fault)?;
        }
        let words = self.setup.words();
        let code = self.run(&words, Some(Striker::new(case.strike.clone())))?;
        let mut wrong = Wrong::new();
        match (&case.strike, code) {
            (Strike::Kill(_), KILLED) => self.recover(case, clean, &mut wrong)?,
            (Strike::Cut(_), 0) => self.ended(code, clean, &mut wrong)?,
            (Strike::Cut(_), _) => {
                wrong.push(format!("exit {code} after a connection that was gone for a moment"));
                self.ended(code, clean, &mut wrong)?;
            }
            _ => self.ended(code, clean, &mut wrong)?,
        }
        if self.is_new_ground(clean)? {
            self.run_again(clean, &mut wrong)?;
        }
        Ok(wrong)
    }

    /// Whether no case before left what this one leaves.
    fn is_new_ground(&self, clean: &Clean) -> io::Result<bool> {
        let ground = Ground::of(self.bench, self.setup, self.state()?.as_ref(), clean)?;
        let mut known = clean.grounds.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(ground.is_none_or(|ground| known.insert(ground)))
    }

    /// A plain run converges: to the restored guest, or for a copy that is there already to a refusal that touches nothing.
    fn run_again(&mut self, clean: &Clean, wrong: &mut Wrong) -> io::Result<()> {
        let copied = self.state()?.filter(|_| self.setup.copy);
        let code = self.run(&self.setup.words(), None)?;
        match copied {
            Some(copy) => {
                if code != 1 || !self.last().contains(&format!("{} is in use", self.setup.target())) {
                    wrong.push(format!("run again over the copy, it ends with {code}"));
                }
                if self.state()?.as_ref() != Some(&copy) {
                    wrong.push("run again over the copy, it changed something".to_owned());
                }
                wrong.extend(unnamed(self.bench, self.setup, &self.reports())?);
                Ok(())
            }
            None if code == 0 => self.ended(code, clean, wrong),
            None => {
                wrong.push(format!("run again, it ends with {code}"));
                self.ended(code, clean, wrong)
            }
        }
    }

    /// What the operator does after the program was killed.
    fn recover(&mut self, case: &Case, clean: &Clean, wrong: &mut Wrong) -> io::Result<()> {
        // Half of them wait until what was begun on the node has ended, half go on at once.
        let waits = case.number % 4 < 2;
        if waits && !is_quiet_within(&self.bench.lab, LIMIT) {
            wrong.push("the work on the node does not end".to_owned());
        }
        let (state, inventory) = (self.state()?, self.bench.lab.inventory()?);
        let code = self.run(&self.setup.words(), None)?;
        let refuses = code == 1 && self.last().contains("--resume") && self.last().contains("--rollback");
        if !refuses {
            let over = state.as_ref().is_some_and(|state| state.is(&clean.restored));
            if !over && inventory != self.bench.initial {
                wrong.push("a plain run does not see that another one was cut off".to_owned());
            }
            return self.ended(code, clean, wrong);
        }
        if waits && self.bench.lab.inventory()? != inventory {
            wrong.push("the plain run refused, but changed something".to_owned());
        }
        let (how, expected) = if case.number.is_multiple_of(2) { ("--resume", 0) } else { ("--rollback", 2) };
        let words = [&self.setup.target().to_string(), how, "--force", "--json"].map(str::to_owned);
        let code = self.run(&words, None)?;
        // Where there was nothing to take back, that is what it says.
        let nothing_to_do = how == "--rollback" && code == 1 && self.is_as_before(state.as_ref());
        if code != expected && !nothing_to_do {
            wrong.push(format!("`{how}` ends with {code} instead of {expected}"));
        }
        self.ended(code, clean, wrong)
    }

    /// Whether the node is as the exit code says, and everything else on it is named.
    fn ended(&self, code: i32, clean: &Clean, wrong: &mut Wrong) -> io::Result<()> {
        let state = self.state()?;
        let is_restored = |same: fn(&State, &State) -> bool| {
            state.as_ref().is_some_and(|state| same(state, &clean.restored))
        };
        let right = match code {
            0 => is_restored(State::is),
            4 => is_restored(State::holds_what),
            1 | 2 | 130 => self.is_as_before(state.as_ref()),
            _ => false,
        };
        if !right {
            wrong.push(format!(
                "exit {code}, but the guest is: {state:#?}\nbefore: {:#?}\nrestored: {:#?}",
                self.bench.before(self.setup),
                clean.restored
            ));
        }
        wrong.extend(unnamed(self.bench, self.setup, &self.reports())?);
        Ok(())
    }

    fn is_as_before(&self, state: Option<&State>) -> bool {
        match (state, self.bench.before(self.setup)) {
            (Some(now), Some(before)) => now.is(before),
            (now, before) => now.is_none() && before.is_none(),
        }
    }

    fn state(&self) -> io::Result<Option<State>> {
        State::of(&self.bench.lab, self.setup.kind, self.setup.target())
    }

    /// Runs the program to its end, watched over, and struck if somebody is there to strike.
    fn run(&mut self, words: &[String], striker: Option<Arc<Striker>>) -> io::Result<i32> {
        let lab = &self.bench.lab;
        if let Some(server) = lab.server() {
            let (guardian, striker, lab) = (Arc::clone(&self.guardian), striker.clone(), Arc::downgrade(lab));
            server.watch(move |moment| {
                if let Some(lab) = lab.upgrade() {
                    guardian.look(&lab, moment);
                }
                striker.as_ref().map_or(Act::GoOn, |striker| striker.at(moment))
            });
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = restore_vm_command(lab, &words);
        let ran = run_within(command, LIMIT, |pid| {
            if let Some(striker) = striker {
                striker.aim_at(pid);
            }
        })?;
        let code = ran.code;
        self.ran.push((words.join(" "), ran));
        Ok(code)
    }

    /// All reports so far.
    fn reports(&self) -> String {
        self.ran.iter().map(|(_, ran)| ran.stdout.as_str()).collect()
    }

    fn last(&self) -> String {
        self.ran.last().map(|(_, ran)| ran.to_string()).unwrap_or_default()
    }

    fn protocol(&self, wrong: &[String]) -> String {
        let mut text = String::new();
        for line in wrong {
            let _ = writeln!(text, "  * {line}");
        }
        for (words, ran) in &self.ran {
            let _ = writeln!(text, "  restore-vm {words}: {ran}");
        }
        text
    }
}

/// The words of a command up to what differs in each run: names of new archives, of runs and of folders for them.
fn lasting(words: Vec<String>) -> Vec<String> {
    let differs = |word: &String| {
        word.contains("vzdump-") && !word.contains("-2026_01_") || word.contains("/pve-restore/")
    };
    words.into_iter().take_while(|word| !differs(word)).collect()
}
