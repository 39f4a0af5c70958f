//! One case from its beginning to its end.

use std::{
    fmt::Write as _,
    fs, io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use restore_e2e::{
    Ran,
    matrix::{KILLED, run_within},
};
use restore_lab::{
    s3::Fault,
    ssh::{Act, Moment},
    terraform::ENVIRONMENTS,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    bench::Bench,
    case::{Case, Clean, Hit, Mode, Place},
};

/// After this a run hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// How long the program's process id may take to be known after it was started, and Terraform to write a file.
const SOON: Duration = Duration::from_secs(10);

/// How often the operator tries again.
const TRIES: usize = 4;

/// What is wrong with a case, in words.
type Wrong = Vec<String>;

/// Runs once without any fault.
pub fn clean(bench: &Bench, mode: Mode) -> io::Result<Result<Clean, String>> {
    let mut trial = Trial::new(bench, mode)?;
    let code = trial.again(mode.words())?;
    let mut wrong = Wrong::new();
    if code != 0 {
        wrong.push(format!("exit {code}"));
    }
    trial.is_there(&mut wrong)?;
    if !wrong.is_empty() {
        return Ok(Err(trial.protocol(&wrong)));
    }
    let executions = bench.homelab.server().map(|server| server.executions()).unwrap_or_default();
    let requests = bench.homelab.with_minio(|server| server.requests()).unwrap_or_default();
    let requests = requests
        .iter()
        .filter(|_| mode == Mode::Add)
        .map(|seen| !matches!(seen.method.as_str(), "GET" | "HEAD"));
    let requests = requests.collect();
    Ok(Ok(Clean { executions, terraforms: bench.terraform.calls()?, requests }))
}

/// Tries a case. The error says everything about it.
pub fn try_case(bench: &Bench, case: &Case) -> io::Result<Result<(), String>> {
    let mut trial = Trial::new(bench, case.mode)?;
    let wrong = trial.case(case)?;
    Ok(if wrong.is_empty() { Ok(()) } else { Err(trial.protocol(&wrong)) })
}

struct Trial<'a> {
    bench: &'a Bench,
    mode: Mode,
    ran: Vec<Ran>,
}

impl<'a> Trial<'a> {
    fn new(bench: &'a Bench, mode: Mode) -> io::Result<Self> {
        bench.reset(mode)?;
        Ok(Self { bench, mode, ran: Vec::new() })
    }

    fn again(&mut self, words: &[&str]) -> io::Result<i32> {
        let ran = run_within(self.bench.command(words), LIMIT, |_| {})?;
        let code = ran.code;
        self.ran.push(ran);
        Ok(code)
    }

    fn case(&mut self, case: &Case) -> io::Result<Wrong> {
        let mut wrong = Wrong::new();
        let code = self.struck(case)?;
        if let Some(server) = self.bench.homelab.server() {
            server.watch(|_| Act::GoOn);
        }
        self.bench.homelab.with_minio(|server| server.heal());
        self.bench.terraform.spare()?;
        if ![0, 1, 2, 4, KILLED].contains(&code) {
            wrong.push(format!("exit {code}"));
        }
        self.never(&mut wrong);
        self.converge(case, &mut wrong)?;
        self.is_there(&mut wrong)?;
        Ok(wrong)
    }

    /// The run to which it happens.
    fn struck(&mut self, case: &Case) -> io::Result<i32> {
        let target: Arc<Target> = Arc::default();
        let aim = Arc::clone(&target);
        let (hit, struck) = (case.hit, AtomicBool::new(false));
        match case.place {
            Place::Terraform(number) => {
                let what = if hit == Hit::Fails { "fail" } else { "kill" };
                self.bench.terraform.strike(number, what)?;
            }
            Place::Execution(number) => {
                let planned =
                    if hit == Hit::KillAfter { Moment::After(number) } else { Moment::Before(number) };
                let watcher = move |moment| {
                    if moment != planned || struck.swap(true, Ordering::SeqCst) {
                        return Act::GoOn;
                    }
                    if hit == Hit::Fails {
                        return Act::Fail;
                    }
                    aim.kill();
                    Act::Cut
                };
                if let Some(server) = self.bench.homelab.server() {
                    server.watch(watcher);
                }
            }
            Place::Request(number) => {
                self.bench.homelab.with_minio(|server| {
                    server.watch(move |seen| {
                        if seen.number != number || struck.swap(true, Ordering::SeqCst) {
                            return None;
                        }
                        if hit == Hit::Fails {
                            return Some(Fault::Unavailable);
                        }
                        aim.kill();
                        (hit == Hit::KillBefore).then_some(Fault::CutBefore)
                    });
                });
            }
        }
        let mut aimed = Ok(());
        let ran = run_within(self.bench.command(self.mode.words()), LIMIT, |pid| {
            aimed = self.bench.terraform.called_by(pid);
            target.is(pid);
        })?;
        aimed?;
        let code = ran.code;
        self.ran.push(ran);
        Ok(code)
    }

    /// What must not be at any time: an environment without a state that can be read.
    fn never(&self, wrong: &mut Wrong) {
        for name in ENVIRONMENTS {
            let local = || fs::read(self.bench.file(name, "fallback.tfstate"));
            let overridden = || self.bench.file(name, "backend_override.tf").exists();
            let is_state = |bytes: &[u8]| {
                serde_json::from_slice::<Value>(bytes)
                    .is_ok_and(|state| state["lineage"] == self.bench.states[name]["lineage"])
            };
            // A Terraform that outlives the program writes its file in place, for a moment.
            let is_readable = || !overridden() || local().as_deref().is_ok_and(is_state);
            if !soon(is_readable) {
                wrong.push(format!("{name} works without its bucket, and without a state"));
            }
            let folder =
                self.bench.homelab.operator().home().join(".local/state/pve-restore/states").join(name);
            let copies = fs::read_dir(folder.join("default")).into_iter().flatten().flatten();
            let mut readable = copies.filter_map(|entry| fs::read(entry.path()).ok());
            if !readable.any(|bytes| is_state(&bytes)) {
                wrong.push(format!("no copy of the state of {name} can be read"));
            }
        }
    }

    /// What the operator does, until the program says that all is well.
    fn converge(&mut self, case: &Case, wrong: &mut Wrong) -> io::Result<()> {
        for _ in 0..TRIES {
            let code = self.again(self.mode.words())?;
            self.never(wrong);
            if code == 0 {
                return Ok(());
            }
            let says = self.ran.last().map(|ran| ran.stdout.clone()).unwrap_or_default();
            if code == 1 && says.contains("--rollback") {
                let resume = case.number.is_multiple_of(2) && says.contains("--resume");
                let how = if resume { "--resume" } else { "--rollback" };
                let code = self.again(&[how, "--yes"])?;
                self.never(wrong);
                // The cut that came with the kill also hits Terraform's own connection to the node: then its apply has
                // failed, and going on means going back.
                let is_cut = matches!(case.place, Place::Execution(_));
                let is_expected = match (resume, code) {
                    (true, 0) | (false, 1 | 2) => true,
                    (true, 2) => is_cut,
                    _ => false,
                };
                if !is_expected {
                    wrong.push(format!("`{how}` ends with {code}"));
                }
            }
        }
        wrong.push("it does not converge".to_owned());
        Ok(())
    }

    /// Whether everything is where it belongs.
    fn is_there(&self, wrong: &mut Wrong) -> io::Result<()> {
        for name in ENVIRONMENTS {
            let before = &self.bench.states[name];
            match self.bench.homelab.state(name) {
                Ok(now) if now["lineage"] != before["lineage"] => {
                    wrong.push(format!("{name}: another lineage"));
                }
                Ok(now) if now["serial"].as_u64() < before["serial"].as_u64() => {
                    wrong.push(format!("{name}: serial {} after {}", now["serial"], before["serial"]));
                }
                Ok(_) => {}
                Err(error) => wrong.push(format!("{name}: no state: {error}")),
            }
            for file in ["backend_override.tf", "fallback.tfstate", "fallback.tfstate.backup"] {
                if self.bench.file(name, file).exists() {
                    wrong.push(format!("{name}: `{file}` is left"));
                }
            }
        }
        if self.mode == Mode::Aside {
            let list = self.bench.homelab.on_node(&["pvesm", "list", "local-lvm"])?;
            let list = String::from_utf8_lossy(&list.stdout).into_owned();
            let gone: Vec<_> =
                self.bench.volumes.iter().filter(|volume| !list.contains(volume.as_str())).collect();
            if !gone.is_empty() {
                wrong.push(format!("volumes of the old container are gone: {gone:?}"));
            }
        }
        Ok(())
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

/// Whether something is true, now or in a moment.
fn soon(is_true: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !is_true() {
        if begun.elapsed() > SOON {
            return false;
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    true
}

/// The program that is to be killed, once it is known.
#[derive(Default)]
struct Target {
    pid: Mutex<Option<u32>>,
    known: Condvar,
}

impl Target {
    fn is(&self, pid: u32) {
        *self.pid.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
        self.known.notify_all();
    }

    fn kill(&self) {
        let pid = self.pid.lock().unwrap_or_else(PoisonError::into_inner);
        let (pid, _) = self
            .known
            .wait_timeout_while(pid, SOON, |pid| pid.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pid) = pid.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // One that has just ended needs no signal.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
