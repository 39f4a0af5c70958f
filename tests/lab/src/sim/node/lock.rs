//! The short-lived file locks of guests.

use std::fs::{self, File};
use std::thread;
use std::time::{Duration, Instant};

use super::{Failure, GuestKind, Node, Outcome};

/// How often a held lock is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A lock that is held until it is dropped.
pub struct FileLock {
    _file: File,
}

impl Node {
    /// The lock file of a guest.
    pub fn lock_path(kind: GuestKind, vmid: u32) -> String {
        match kind {
            GuestKind::Vm => format!("/var/lock/qemu-server/lock-{vmid}.conf"),
            GuestKind::Ct => format!("/run/lock/lxc/pve-config-{vmid}.lock"),
        }
    }

    /// Takes a guest's file lock, waiting at most `seconds`.
    ///
    /// A wait is announced through `announce`, which gets `trying to acquire lock...` and, after success, ` OK`.
    pub fn lock_guest(
        &self,
        kind: GuestKind,
        vmid: u32,
        seconds: u64,
        announce: &mut dyn FnMut(&str),
    ) -> Outcome<FileLock> {
        self.lock_file(&Self::lock_path(kind, vmid), seconds, announce)
    }

    /// Takes any lock file of the node.
    pub fn lock_file(&self, path: &str, seconds: u64, announce: &mut dyn FnMut(&str)) -> Outcome<FileLock> {
        let real = self.path(path);
        if let Some(parent) = real.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::options().create(true).append(true).open(real)?;
        let foreign = self.settings().held_locks.iter().any(|held| held == path);
        let wait = Duration::from_millis(self.settings().lock_wait_ms.unwrap_or(seconds * 1000));
        let (start, mut waited) = (Instant::now(), false);
        loop {
            if !foreign && file.try_lock().is_ok() {
                if waited {
                    announce(" OK\n");
                }
                return Ok(FileLock { _file: file });
            }
            if !waited {
                announce("trying to acquire lock...");
                waited = true;
            }
            if start.elapsed() >= wait {
                announce("\n");
                return Err(Failure::with_status(format!("can't lock file '{path}' - got timeout"), 4));
            }
            thread::sleep(RETRY);
        }
    }
}
