//! One case from its beginning to its end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    path::Path,
    process::Command,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use restore_e2e::{
    Ran,
    matrix::{KILLED, run_within},
};
use restore_lab::s3::Fault;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    bench::Bench,
    case::{CALLS, Case, Hit, Mode, Place, tracer},
    look::{Look, plain},
};

/// After this a run hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the program's process id may take to be known after it was started.
const SOON: Duration = Duration::from_secs(10);

/// What is wrong with a case, in words.
type Wrong = Vec<String>;

/// What an undisturbed run shows.
pub struct Clean {
    pub requests: usize,
    pub terraforms: usize,
    pub calls: BTreeMap<String, usize>,
}

/// Runs once without any fault.
pub fn clean(bench: &mut Bench, mode: Mode, tracer: Option<&Path>) -> io::Result<Result<Clean, String>> {
    let mut trial = Trial::new(bench, mode)?;
    let mut wrong = Wrong::new();
    let log = tempfile::NamedTempFile::new()?;
    let mut command = match tracer {
        Some(tracer) => trial.traced(tracer, &["-o", &log.path().to_string_lossy()]),
        None => trial.command(mode.words()),
    };
    command.args(if tracer.is_some() { mode.words() } else { &[] });
    let code = trial.run(command, |_| {})?;
    trial.ended(code, &mut wrong)?;
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for line in fs::read_to_string(log.path())?.lines() {
        if let Some((name, _)) = line.split_once('(') {
            *calls.entry(name.to_owned()).or_default() += 1;
        }
    }
    if tracer.is_some() && calls.values().sum::<usize>() < 10 {
        wrong.push(format!("strace saw only {calls:?}"));
    }
    if code != 0 || !wrong.is_empty() {
        return Ok(Err(trial.protocol(&wrong)));
    }
    let (requests, terraforms) = (trial.bench.states.server.requests().len(), trial.bench.terraform.calls()?);
    Ok(Ok(Clean { requests: if mode == Mode::Fallback { 0 } else { requests }, terraforms, calls }))
}

/// Tries a case. The error says everything about it.
pub fn try_case(bench: &mut Bench, case: &Case, _: &Clean) -> io::Result<Result<(), String>> {
    let mut trial = Trial::new(bench, case.mode)?;
    let wrong = trial.case(case)?;
    Ok(if wrong.is_empty() { Ok(()) } else { Err(trial.protocol(&wrong)) })
}

struct Trial<'a> {
    bench: &'a mut Bench,
    mode: Mode,
    before: Look,
    ran: Vec<Ran>,
}

impl<'a> Trial<'a> {
    fn new(bench: &'a mut Bench, mode: Mode) -> io::Result<Self> {
        bench.reset(mode)?;
        let before = Look::at(bench, mode != Mode::Fallback)?;
        bench.states.server.begin_anew();
        Ok(Self { bench, mode, before, ran: Vec::new() })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.bench.states.command(words);
        command.env("TF_BIN", self.bench.terraform.program());
        command
    }

    /// The program, without words yet, under `strace` with these options.
    fn traced(&self, tracer: &Path, options: &[&str]) -> Command {
        let plain = self.command(&[]);
        let mut command = Command::new(tracer);
        command.args(["-qq", "-e", &format!("trace={CALLS}"), "-e", "signal=none"]).args(options);
        command.arg(plain.get_program()).env_clear();
        let variables = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(variables).current_dir(self.bench.states.project.root());
        command
    }

    fn run(&mut self, command: Command, started: impl FnOnce(u32)) -> io::Result<i32> {
        let ran = run_within(command, LIMIT, started)?;
        let code = ran.code;
        self.ran.push(ran);
        Ok(code)
    }

    fn again(&mut self, words: &[&str]) -> io::Result<i32> {
        let command = self.command(words);
        self.run(command, |_| {})
    }

    fn case(&mut self, case: &Case) -> io::Result<Wrong> {
        let mut wrong = Wrong::new();
        let code = self.struck(case)?;
        self.bench.states.server.heal();
        self.bench.terraform.spare()?;
        self.never(&mut wrong)?;
        match code {
            KILLED if case.hit.kills() => self.recover(case, &mut wrong)?,
            code => self.ended(code, &mut wrong)?,
        }
        let code = self.again(self.mode.words())?;
        if code != 0 {
            wrong.push(format!("the same command once more ends with {code}"));
        }
        self.ended(code, &mut wrong)?;
        Ok(wrong)
    }

    /// The run to which it happens.
    fn struck(&mut self, case: &Case) -> io::Result<i32> {
        match &case.place {
            Place::Request(number) => self.struck_at_request(*number, case.hit),
            Place::Terraform(number) => {
                let what = if case.hit.kills() { "kill" } else { "fail" };
                self.bench.terraform.strike(*number, what)?;
                let command = self.command(self.mode.words());
                let mut aimed = Ok(());
                let ran = run_within(command, LIMIT, |pid| aimed = self.bench.terraform.called_by(pid))?;
                aimed?;
                let code = ran.code;
                self.ran.push(ran);
                Ok(code)
            }
            Place::Call(name, number) => {
                let tracer = tracer()?.unwrap_or_default();
                let how = if case.hit.kills() { "signal=SIGKILL" } else { "error=EIO" };
                let inject = format!("inject={name}:{how}:when={number}");
                let mut command = self.traced(&tracer, &["-o", "/dev/null", "-e", &inject]);
                command.args(self.mode.words());
                self.run(command, |_| {})
            }
        }
    }

    fn struck_at_request(&mut self, number: usize, hit: Hit) -> io::Result<i32> {
        let target: Arc<(Mutex<Option<u32>>, Condvar)> = Arc::default();
        let (aim, struck) = (Arc::clone(&target), AtomicBool::new(false));
        self.bench.states.server.watch(move |seen| {
            if seen.number != number || struck.swap(true, Ordering::SeqCst) {
                return None;
            }
            match hit {
                Hit::KillBefore | Hit::KillAfter => {
                    kill(&aim);
                    (hit == Hit::KillBefore).then_some(Fault::CutBefore)
                }
                Hit::CutBefore => Some(Fault::CutBefore),
                Hit::CutAfter => Some(Fault::CutAfter),
                Hit::Fails => Some(Fault::Unavailable),
            }
        });
        let command = self.command(self.mode.words());
        self.run(command, |pid| {
            *target.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
            target.1.notify_all();
        })
    }

    /// What the operator does after the program was killed.
    fn recover(&mut self, case: &Case, wrong: &mut Wrong) -> io::Result<()> {
        let code = self.again(self.mode.words())?;
        let says = self.ran.last().map(|ran| ran.stdout.clone()).unwrap_or_default();
        if !(code == 1 && says.contains("--rollback")) {
            return self.ended(code, wrong);
        }
        let (how, expected) = if case.number.is_multiple_of(2) && says.contains("--resume") {
            ("--resume", 0)
        } else {
            ("--rollback", 2)
        };
        let before = self.look()?;
        let code = self.again(&["--env", "prod", how, "--yes"])?;
        let nothing_to_do = how == "--rollback" && code == 1 && self.is_as_before(&before);
        if code != expected && !nothing_to_do {
            wrong.push(format!("`{how}` ends with {code} instead of {expected}"));
        }
        self.ended(code, wrong)
    }

    fn look(&self) -> io::Result<Look> {
        Look::at(self.bench, self.mode != Mode::Fallback)
    }

    /// What must not be at any time.
    fn never(&self, wrong: &mut Wrong) -> io::Result<()> {
        let now = self.look()?;
        if !now.versions.is_superset(&self.before.versions) {
            wrong.push(format!("versions are lost: {:?} of {:?}", now.versions, self.before.versions));
        }
        let whole = |text: &[u8]| text.starts_with(b"# pve-restore: {") && text.ends_with(b"}\n");
        if now.file("backend_override.tf").is_some_and(|text| !whole(text)) {
            wrong.push("the override is half-written".to_owned());
        }
        let state = now.file("fallback.tfstate");
        if state.is_some_and(|state| serde_json::from_slice::<serde_json::Value>(state).is_err()) {
            wrong.push("the local state is half-written".to_owned());
        }
        if now.file("backend.tf") != self.before.file("backend.tf") {
            wrong.push("`backend.tf` was changed".to_owned());
        }
        Ok(())
    }

    /// Whether everything is as the exit code says.
    fn ended(&self, code: i32, wrong: &mut Wrong) -> io::Result<()> {
        self.never(wrong)?;
        let now = self.look()?;
        let right = match code {
            0 | 4 => self.is_there(&now)?,
            1 | 2 | 130 => self.is_as_before(&now),
            _ => false,
        };
        if !right {
            let files: Vec<_> = now.files.iter().map(|(name, _)| name).collect();
            wrong.push(format!(
                "exit {code}, but: locked {}, backend {:?}, files {files:?}, as before {}, there {}",
                now.is_locked,
                now.backend,
                self.is_as_before(&now),
                self.is_there(&now)?
            ));
        }
        if !now.litter().is_empty() {
            wrong.push(format!("left in the folder: {:?}", now.litter()));
        }
        let work = self.bench.states.memory().join("work");
        if work.exists() {
            wrong.push(format!(
                "left: {:?}",
                fs::read_dir(work)?.map(|entry| entry.map(|e| e.path())).collect::<Vec<_>>()
            ));
        }
        Ok(())
    }

    fn is_as_before(&self, now: &Look) -> bool {
        let before = &self.before;
        now.current == before.current
            && now.files == before.files
            && now.backend == before.backend
            && now.is_locked == before.is_locked
    }

    /// Whether the mode has reached what it is for.
    fn is_there(&self, now: &Look) -> io::Result<bool> {
        let release = |number: u64| Some(plain(self.bench.releases[&number].clone()));
        let local = now.file("fallback.tfstate").map(serde_json::from_slice).transpose()?.map(plain);
        let overridden = now.file("backend_override.tf").is_some();
        let backend = now.backend.as_deref();
        Ok(!now.is_locked
            && match self.mode {
                Mode::Restore => now.current == release(1) && !overridden && backend == Some("s3"),
                Mode::Fallback | Mode::Migration => {
                    local == release(3)
                        && overridden
                        && backend == Some("local")
                        && now.current == self.before.current
                        && now.versions == self.before.versions
                }
                Mode::Return => {
                    now.current == release(4) && !overridden && local.is_none() && backend == Some("s3")
                }
            })
    }

    fn protocol(&self, wrong: &[String]) -> String {
        let mut text = String::new();
        for line in wrong {
            let _ = writeln!(text, "  * {line}");
        }
        for ran in &self.ran {
            let _ = writeln!(text, "  {ran}");
        }
        text
    }
}

/// Kills the program, once it is known.
fn kill(target: &(Mutex<Option<u32>>, Condvar)) {
    let pid = target.0.lock().unwrap_or_else(PoisonError::into_inner);
    let (pid, _) =
        target.1.wait_timeout_while(pid, SOON, |pid| pid.is_none()).unwrap_or_else(PoisonError::into_inner);
    if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
        // One that has just ended needs no signal.
        let _ = kill_process(pid, Signal::KILL);
    }
}
