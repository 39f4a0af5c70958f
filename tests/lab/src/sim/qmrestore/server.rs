//! Restoring a VM from a Proxmox Backup Server, disk by disk, or while it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::time::Instant;

use super::plan::Plan;
use super::{Restore, Stage, VM, config};
use crate::sim::backup_server::Snapshot;
use crate::sim::node::storage::Room;
use crate::sim::node::{GuestConfig, Volume};
use crate::sim::vma::{Device, Disk as _};
use crate::sim::{Failure, Outcome, qm};

/// How much is read at once. A real server's chunks are 4 MiB; the lab's disks are small.
const CHUNK: usize = 64 << 10;

/// A disk to be filled: where its data comes from, where it goes, and the room on that storage.
struct Job<'p> {
    key: &'p str,
    device: &'p Device,
    volume: &'p Volume,
    room: Room,
}

impl Job<'_> {
    /// These are there before a live restore starts the VM.
    fn is_special(&self) -> bool {
        self.key.starts_with("efidisk") || self.key.starts_with("tpmstate")
    }
}

impl Restore<'_, '_> {
    /// Restores all disks; gives whether the backup is one of a template.
    ///
    /// The facts say nothing of `--bwlimit` here, so nothing is limited.
    pub(super) fn fetch(&mut self, snapshot: &Snapshot, old: &GuestConfig) -> Outcome<bool> {
        let (node, vmid) = (self.node, self.vmid);
        // A trial of which nothing depends …
        if let Err(failure) = snapshot.config(node) {
            let warning = format!("Could not extract backed up config: {failure}\n\nSkipping early checks!");
            self.task.line(&warning)?;
        }
        // … and the index and the configuration that are used.
        let header = snapshot.header(node)?;
        let plan = self.plan(&header, None)?;

        self.stage = Stage::Destroyed;
        node.write_config(VM, vmid, &GuestConfig::parse("lock: create\nmemory: 128\n"))?;
        self.free_old(old, &plan)?;
        let mut made = BTreeMap::new();
        let live = self.call.is_on("live-restore");
        let filled = self.allocate(&plan, &mut made).and_then(|()| {
            let jobs = self.jobs(&plan, &made)?;
            // Those of a live restore that are needed at once, or all.
            jobs.iter().filter(|job| !live || job.is_special()).try_for_each(|job| self.image(snapshot, job))
        });
        let unique = self.call.is_on("unique");
        if let Err(failure) = filled.and_then(|()| config::write(node, vmid, &plan, &made, unique)) {
            return Err(self.clean_up(failure, &made));
        }
        if live {
            self.live(snapshot, &plan, &made)?;
        }
        self.stage = Stage::Restored;
        Ok(plan.template)
    }

    fn jobs<'p>(&self, plan: &'p Plan, made: &'p BTreeMap<String, Volume>) -> Outcome<Vec<Job<'p>>> {
        let mut rooms: BTreeMap<&str, Room> = BTreeMap::new();
        let mut jobs = Vec::new();
        for (key, disk) in &plan.disks {
            let (Some(device), Some(volume)) = (&disk.device, made.get(key)) else { continue };
            let storage = self.node.storage(&disk.storage)?;
            let room = rooms.entry(&disk.storage).or_insert_with(|| self.node.room(&storage)).clone();
            jobs.push(Job { key, device, volume, room });
        }
        Ok(jobs)
    }

    /// Restores one disk by the server's own program.
    fn image(&mut self, snapshot: &Snapshot, job: &Job<'_>) -> Outcome {
        let (node, path) = (self.node, &job.volume.path);
        let file = Snapshot::image(&job.device.name);
        let mut command = format!(
            "/usr/bin/pbs-restore {} {file} {path} --verbose --format {}",
            snapshot.words(),
            job.volume.format
        );
        if let Some(key) = snapshot.key(node) {
            let _ = write!(command, " --keyfile {key}");
        }
        command.push_str(" --skip-zero");
        for line in [
            format!("restore proxmox backup image: {command}"),
            format!("connecting to repository '{}'", snapshot.repository()),
            "using up to 4 threads".to_owned(),
            format!("open block backend for target '{path}'"),
            format!("starting to restore snapshot '{}'", snapshot.name()),
            "download and verify backup index".to_owned(),
            "fetching up to 16 chunks in parallel".to_owned(),
        ] {
            self.task.line(&line)?;
        }
        let start = Instant::now();
        let size = job.device.size;
        let mut shown = 0;
        self.copy(snapshot, job, &mut |restore, done, zeros| {
            let percent = done * 100 / size.max(1);
            if percent == shown {
                return Ok(());
            }
            shown = percent;
            let seconds = start.elapsed().as_secs();
            restore.task.line(&format!(
                "progress {percent}% (read {done} bytes, zeroes = {}% ({zeros} bytes), duration {seconds} sec)",
                zeros * 100 / done.max(1)
            ))
        })
        .map_err(|failure| failure.prefixed(&format!("command '{command}' failed: ")))?;
        let seconds = start.elapsed().as_secs_f64().max(0.01);
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let speed = size as f64 / seconds / f64::from(1 << 20);
        let end =
            format!("restore image complete (bytes={size}, duration={seconds:.2}s, speed={speed:.2}MB/s)");
        self.task.line(&end)
    }

    /// Copies the data of one disk, all but zeros; `show` is told how many bytes were read, and how many were zeros.
    fn copy(
        &mut self,
        snapshot: &Snapshot,
        job: &Job<'_>,
        show: &mut dyn FnMut(&mut Self, u64, u64) -> Outcome,
    ) -> Outcome {
        let node = self.node;
        let mut input = snapshot.open(node, &Snapshot::image(&job.device.name))?;
        let mut disk = node.write_volume(job.volume, job.room.clone())?;
        let (mut done, mut zeros) = (0, 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match input.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) => return self.lost(&error),
            };
            if chunk[..read].iter().all(|byte| *byte == 0) {
                zeros += read as u64;
            } else if let Err(error) = disk.write_at(done, &chunk[..read]) {
                return self.lost(&error);
            }
            if node.is_interrupted() {
                return Err(Failure::new("interrupted by signal"));
            }
            done += read as u64;
            show(self, done, zeros)?;
        }
    }

    /// The end of the server's program when data could not be read or written.
    fn lost(&mut self, error: &io::Error) -> Outcome {
        if self.node.is_killed() {
            return Err(self.task.kill(Failure::killed("killed", 137)));
        }
        if self.node.is_interrupted() {
            return Err(Failure::new("interrupted by signal"));
        }
        // The words and the status are not among the facts.
        self.task.line(&format!("restore failed: {error}"))?;
        Err(Failure::new("exit code 255"))
    }

    /// Starts the VM, and copies its disks while it runs. The lock stays in its configuration until all data is there.
    ///
    /// Whether the new disks are removed after a failure, and whether the lock goes, is not among the facts. The cruel
    /// way: they stay half filled, under a configuration that looks whole and has no lock.
    fn live(&mut self, snapshot: &Snapshot, plan: &Plan, made: &BTreeMap<String, Volume>) -> Outcome {
        let (node, vmid) = (self.node, self.vmid);
        // Neither is the moment of this: the old VM may be gone by then.
        if plan.template {
            return Err(Failure::new("cannot do live-restore for template"));
        }
        let mut config = node.config(VM, vmid)?;
        config.main.set("lock", "create");
        node.write_config(VM, vmid, &config)?;
        let copied = qm::start_vm(node, vmid, true, self.task).and_then(|()| {
            let jobs = self.jobs(plan, made)?;
            // What is printed meanwhile is not among the facts: nothing.
            let mut rest = jobs.iter().filter(|job| !job.is_special());
            rest.try_for_each(|job| self.copy(snapshot, job, &mut |_, _, _| Ok(())))
        });
        match copied {
            Err(failure) if failure.killed => Err(failure),
            Err(failure) => {
                self.task.line(&failure.text)?;
                node.power_off(VM, vmid)?;
                Err(Failure::new("live-restore failed"))
            }
            Ok(()) => {
                let mut config = node.config(VM, vmid)?;
                config.main.remove("lock");
                node.write_config(VM, vmid, &config)
            }
        }
    }
}
