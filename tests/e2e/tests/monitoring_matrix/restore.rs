//! `--mode restore`: a moment is a remote execution on the node.

use std::{
    collections::BTreeSet,
    fs, io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use restore_e2e::{Ran, matrix::run_within};
use restore_lab::{
    lab::{Checkpoint, Lab, LabBuilder, MONITORING},
    monitoring::{Options, is_installed},
    ssh::{Act, Embedded, Moment},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::case::{Case, Ground, Hit};

const CONFIG: &str = "/etc/pve/qemu-server/151.conf";
const DISK: &str = "scsi0";

/// After this a run hangs.
pub const LIMIT: Duration = Duration::from_secs(240);
/// How long the program's process id may take to be known after it was started.
const SOON: Duration = Duration::from_secs(10);

/// A node whose monitoring VM is off and boots no more.
pub struct Restore {
    lab: Lab,
    checkpoint: Checkpoint,
    /// The disk as it is in the backup, and as it is now.
    whole: String,
    broken: String,
    backups: BTreeSet<String>,
}

impl Restore {
    fn server(&self) -> io::Result<&Embedded> {
        self.lab.server().ok_or_else(|| io::Error::other("no embedded server"))
    }
}

fn backups(lab: &Lab) -> io::Result<BTreeSet<String>> {
    let entries = fs::read_dir(lab.path("/var/lib/vz/dump"))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

impl Ground for Restore {
    fn start() -> io::Result<Option<Self>> {
        if !is_installed()? {
            return Ok(None);
        }
        let lab = LabBuilder::new().small().monitoring(Options::default()).start()?;
        let whole = lab.disk_sha256(CONFIG, DISK)?;
        let stopped = lab.on_node(&["qm", "stop", &MONITORING.to_string()])?;
        if !stopped.status.success() {
            return Err(io::Error::other(format!("{stopped:?}")));
        }
        lab.break_disk(MONITORING)?;
        let (broken, backups) = (lab.disk_sha256(CONFIG, DISK)?, backups(&lab)?);
        Ok(Some(Self { checkpoint: lab.checkpoint()?, lab, whole, broken, backups }))
    }

    fn reset(&mut self) -> io::Result<()> {
        self.lab.go_back(&self.checkpoint)
    }

    fn run(&self, words: &[&str], case: Option<&Case>) -> io::Result<Ran> {
        let mut command = self.lab.command("rebuild-monitoring");
        command.args(["--wait", "60"]).args(words);
        let target = Arc::new((Mutex::new(None), Condvar::new()));
        if let Some(case) = case {
            let (at, hit, done, aimed) = (case.at, case.hit, AtomicBool::new(false), Arc::clone(&target));
            self.server()?.watch(move |moment| {
                if moment != Moment::Before(at) || done.swap(true, Ordering::SeqCst) {
                    return Act::GoOn;
                }
                match hit {
                    Hit::Fail => Act::Fail,
                    Hit::Kill => {
                        kill(&aimed);
                        Act::Cut
                    }
                }
            });
        }
        run_within(command, LIMIT, |pid| {
            *target.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
            target.1.notify_all();
        })
    }

    fn moments(&self) -> io::Result<usize> {
        Ok(self.server()?.executions())
    }

    fn wrong_after(&self, code: i32) -> io::Result<Option<String>> {
        let now = backups(&self.lab)?;
        if !now.is_superset(&self.backups) {
            return Ok(Some(format!("backups are lost: {now:?} of {:?}", self.backups)));
        }
        let disk = self.lab.disk_sha256(CONFIG, DISK)?;
        let wanted = match code {
            0 | 4 => &self.whole,
            1 | 2 | 130 => &self.broken,
            _ => return Ok(Some("that is no code it may end with".to_owned())),
        };
        Ok((disk != *wanted).then(|| "the disk is another one".to_owned()))
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
