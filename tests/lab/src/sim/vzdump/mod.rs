//! `vzdump`: backs up guests of the node.
//!
//! Archives are real: a VMA with the VM's disks, or a tar of the container's volumes, compressed as asked.

mod archive;
mod contents;
mod guest;
mod job;
mod log;
mod lxc;
mod notes;
mod options;
mod qemu;
mod retention;
mod shelf;
mod text;
mod tree;

use job::Job;
use log::Log;
use options::Options;
pub(super) use retention::Retention;
use shelf::Shelf;

use super::node::cluster::USER_CFG;
use super::node::{Failure, FileLock, GuestKind, Node, Outcome, Task};
use super::{Io, Parsed};

/// What an administrator wants unless a job says otherwise.
const DEFAULTS: &str = "/etc/vzdump.conf";
/// Only one job runs on a node at a time.
const LOCK: &str = "/var/run/vzdump.lock";

/// Runs `vzdump`; gives its exit status.
pub fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    match Request::new(node, call) {
        Some(request) => node.worker(io, "vzdump", &request.task_id(), |task| request.run(node, task)),
        None => 0,
    }
}

/// A job that has something to do on this node.
#[derive(Debug)]
pub struct Request {
    options: Options,
    vmids: Vec<u32>,
    skipped: Vec<u32>,
}

impl Request {
    /// Works out which guests a checked command line means. Nothing when none of them is on this node: then
    /// `vzdump` ends well without a word.
    pub fn new(node: &Node, call: &Parsed) -> Option<Self> {
        if call.get("node").is_some_and(|name| name != node.name()) {
            return None;
        }
        let everything = call.is_on("all") || call.get("exclude").is_some();
        let mut wanted = match (options::guest_numbers(call), call.get("pool")) {
            (Some(list), _) => numbers(&list),
            (None, Some(pool)) => pool_members(node, pool),
            (None, None) => {
                [GuestKind::Vm, GuestKind::Ct].iter().flat_map(|&kind| node.guests(kind)).collect()
            }
        };
        let excluded = call.get("exclude").map(numbers).unwrap_or_default();
        wanted.retain(|vmid| !excluded.contains(vmid));
        wanted.sort_unstable();
        wanted.dedup();
        let elsewhere = |vmid: &u32| node.find_guest(*vmid).is_some_and(|(_, place)| place != node.name());
        let (skipped, vmids): (Vec<u32>, Vec<u32>) = wanted.into_iter().partition(elsewhere);
        if vmids.is_empty() && !everything {
            return None;
        }
        let defaults = node.read(DEFAULTS).unwrap_or_default();
        Some(Self { options: Options::new(call, &defaults), vmids, skipped })
    }

    /// The ID of the worker task: the number of a single guest.
    pub fn task_id(&self) -> String {
        match self.vmids[..] {
            [vmid] => vmid.to_string(),
            _ => String::new(),
        }
    }

    /// Does the work, in a task of type `vzdump`.
    pub fn run(&self, node: &Node, task: &mut Task<'_>) -> Outcome {
        let target = self.open_shelf(node)?;
        let of_storage = target.storage.as_ref().and_then(|storage| storage.get("prune-backups"));
        let retention =
            self.options.retention.clone().or(of_storage.map(Retention::parse)).unwrap_or_default();
        let mut log = Log::new(task, self.options.quiet);
        let _only_one = self.global_lock(node, &mut log)?;
        Job { node, options: &self.options, shelf: target, retention, log }.run(&self.vmids, &self.skipped)
    }

    fn global_lock(&self, node: &Node, log: &mut Log<'_, '_>) -> Outcome<FileLock> {
        let words = |word: &str| match word {
            "OK" => "got global lock",
            _ => "trying to get global lock - waiting...",
        };
        let lock = node.lock_file(LOCK, self.options.lockwait * 60, &mut log.announcer(words));
        lock.map_err(|_| Failure::new(format!("can't acquire lock '{LOCK}' - got timeout")))
    }

    fn open_shelf(&self, node: &Node) -> Outcome<Shelf> {
        if let Some(dir) = &self.options.dumpdir {
            let real = node.path(dir);
            if !real.is_dir() {
                return Err(Failure::new(format!("dumpdir '{dir}' does not exist")));
            }
            return Ok(Shelf { storage: None, shown: dir.clone(), dir: real });
        }
        let id = self.options.storage.as_deref().unwrap_or("local");
        let unusable = |reason: &Failure| format!("could not activate storage '{id}': {reason}");
        // Both are asked, and both answer: a storage that is disabled is still known.
        let storage = node.storage(id).map_err(|failure| {
            let activation = unusable(&failure);
            Failure::new(format!("{activation} could not get storage information for '{id}': {failure}"))
        })?;
        node.usable_storage(id).map_err(|failure| Failure::new(unusable(&failure)))?;
        if !storage.allows("backup") {
            return Err(Failure::new(format!(
                "could not get storage information for '{id}': can't use storage '{id}' for backups - wrong \
                 content type"
            )));
        }
        if storage.kind == "pbs" {
            return Err(Failure::new(format!("the lab makes no backups on the backup server '{id}'")));
        }
        let shown = storage.content_folder("backup");
        let dir = node.path(&shown);
        std::fs::create_dir_all(&dir)?;
        Ok(Shelf { storage: Some(storage), shown, dir })
    }
}

fn numbers(list: &str) -> Vec<u32> {
    list.split([',', ';', ' ', '\0']).filter_map(|number| number.parse().ok()).collect()
}

fn pool_members(node: &Node, pool: &str) -> Vec<u32> {
    let users = node.read(USER_CFG).unwrap_or_default();
    let line = users.lines().find_map(|line| line.strip_prefix(&format!("pool:{pool}:")));
    line.and_then(|line| line.split(':').nth(1)).map(numbers).unwrap_or_default()
}
