//! `qmrestore`: checks, the task, and what each failure leaves behind.
//!
//! The order of everything here is the real one. Above all the old disks are destroyed when only the header of the
//! archive has been read, so a damaged archive costs the VM.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::backup_server::Snapshot;
use super::node::{GuestConfig, Task, Volume};
use super::vma::{Disk, Header, Reader, Target};
use super::{Failure, GuestKind, Io, Node, Outcome, Parsed, qm, rescan};

mod config;
mod plan;
mod server;
mod source;

use plan::{DiskPlan, Plan};
use source::Source;

const VM: GuestKind = GuestKind::Vm;
const BEFORE: &str = "error before or during data restore, some or all disks were not completely restored.";
const AFTER: &str = "error after data was restored, VM disks should be OK but config may require adaptions.";
/// How often a wait looks whether it is to end.
const TICK: Duration = Duration::from_millis(10);

pub(super) fn main(node: &Node, call: &Parsed, io: &mut Io<'_>) -> i32 {
    let backup = match checks(node, call, io) {
        Ok(backup) => backup,
        Err(failure) => {
            io.complain(&failure.text);
            return failure.status;
        }
    };
    let vmid = call.vmid();
    let Io { stdin, stdout, stderr } = io;
    let mut io = Io { stdin: &mut std::io::empty(), stdout: *stdout, stderr: *stderr };
    node.worker(&mut io, "qmrestore", &vmid.to_string(), |task| {
        let mut restore = Restore { node, call, vmid, task, stage: Stage::Before };
        let outcome = restore.run(&backup, *stdin);
        restore.conclude(&outcome)?;
        outcome
    })
}

/// What is checked before there is a task. Nothing is changed but the lock, which comes last.
fn checks(node: &Node, call: &Parsed, io: &mut Io<'_>) -> Outcome<Backup> {
    if !node.settings().quorum {
        return Err(Failure::new("cluster not ready - no quorum?"));
    }
    if let Some(pool) = call.get("pool").filter(|pool| !node.has_pool(pool)) {
        return Err(Failure::new(format!("403 Permission check failed (pool '{pool}' does not exist)")));
    }
    let backup = Backup::find(node, call.get("archive").unwrap_or_default())?;
    if call.is_on("live-restore") && matches!(backup, Backup::Archive(_)) {
        return Err(Failure::new(
            "live-restore is only compatible with backup images from a Proxmox Backup Server",
        ));
    }
    let vmid = call.vmid();
    lock(node, vmid, call.is_on("force"), io)
        .map_err(|failure| failure.prefixed(&format!("unable to restore VM {vmid} - ")))?;
    Ok(backup)
}

/// Where a VM comes from.
enum Backup {
    /// A VMA archive.
    Archive(Source),
    /// A snapshot on a Proxmox Backup Server.
    Snapshot(Box<Snapshot>),
}

impl Backup {
    fn find(node: &Node, archive: &str) -> Outcome<Self> {
        match node.snapshot(archive) {
            Ok(Some(snapshot)) => Ok(Self::Snapshot(Box::new(snapshot))),
            Ok(None) => Source::find(node, archive).map(Self::Archive),
            Err(failure) => Err(failure),
        }
    }
}

/// Checks the number and marks it as being restored.
fn lock(node: &Node, vmid: u32, force: bool, io: &mut Io<'_>) -> Outcome {
    let found = node.find_guest(vmid);
    if let Some((kind, on)) = found.as_ref().filter(|_| !force) {
        return Err(Failure::new(format!("{} {vmid} already exists on node '{on}'", kind.label())));
    }
    let _lock = node.lock_guest(VM, vmid, 5, &mut |text| drop(write!(io.stderr, "{text}")))?;
    let mut config = match found {
        Some((VM, on)) if on == node.name() => node.config(VM, vmid)?,
        _ => GuestConfig::default(),
    };
    if let Some(lock) = config.lock() {
        return Err(Failure::new(format!("VM is locked ({lock})")));
    }
    config.main.set("lock", "create");
    node.write_config(VM, vmid, &config)
}

/// How far a restore has come; decides what a failure leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The old VM is untouched.
    Before,
    /// The old configuration is gone, and disks with it.
    Destroyed,
    /// The new disks are complete.
    Restored,
}

struct Restore<'r, 'a> {
    node: &'r Node,
    call: &'r Parsed,
    vmid: u32,
    task: &'r mut Task<'a>,
    stage: Stage,
}

impl Restore<'_, '_> {
    fn run(&mut self, backup: &Backup, stdin: &mut dyn std::io::Read) -> Outcome {
        let (node, vmid) = (self.node, self.vmid);
        let old = node.config(VM, vmid)?;
        let unable = format!("unable to restore VM {vmid} - ");
        if old.main.is_on("protection") {
            return Err(Failure::new(format!("{unable}- protection mode enabled")));
        }
        if node.running(VM, vmid).is_some() {
            return Err(Failure::new(format!("{unable}vm is running")));
        }
        let mut waiting = String::new();
        let lock = node.lock_guest(VM, vmid, 1, &mut |text| waiting.push_str(text));
        self.task.text(&waiting)?;
        let _lock = lock.map_err(|failure| failure.prefixed(&unable))?;

        let template = match backup {
            Backup::Archive(source) => {
                source.try_config(node, self.task)?;
                source.require_vma()?;
                self.data(source, &old, stdin)?
            }
            Backup::Snapshot(snapshot) => self.fetch(snapshot, &old)?,
        };
        self.settle(template)
    }

    /// Reads the archive; gives whether it is one of a template.
    fn data(&mut self, source: &Source, old: &GuestConfig, stdin: &mut dyn std::io::Read) -> Outcome<bool> {
        let limit = self.call.number("bwlimit").filter(|limit| *limit > 0);
        let work = format!("/var/tmp/vzdumptmp{}", std::process::id());
        let pipeline = source.pipeline(&work, limit);
        if let Some(limit) = limit {
            self.task.line(&format!("applying read rate limit: {limit}"))?;
        }
        self.task.line(&format!("restore vma archive: {pipeline}"))?;
        fs::create_dir_all(self.node.path(&work))?;
        self.node.write(&format!("{work}.fifo"), "")?;
        let outcome = self.stream(source, old, limit, stdin);
        if !self.task.is_killed() {
            drop(fs::remove_dir_all(self.node.path(&work)));
            self.node.remove(&format!("{work}.fifo"))?;
        }
        outcome.map_err(|failure| {
            let prefix = format!("command 'set -o pipefail && {pipeline}' failed: ");
            failure.prefixed(&prefix)
        })
    }

    fn stream(
        &mut self,
        source: &Source,
        old: &GuestConfig,
        limit: Option<u64>,
        stdin: &mut dyn std::io::Read,
    ) -> Outcome<bool> {
        let node = self.node;
        let stop = source::Stop::default();
        let mut pipe = source.open(node, stdin, limit, &stop)?;
        let reader = match Reader::open(&mut pipe) {
            Ok(reader) => reader,
            Err(error) => {
                let line = pipe.failure().map(source::tool_line);
                for line in line.into_iter().chain(error.line("restore")) {
                    self.task.line(&line)?;
                }
                return Err(self.wait_for_header());
            }
        };
        for line in reader.header().listing() {
            self.task.line(&line)?;
        }
        let plan = self.plan(reader.header(), limit)?;

        self.stage = Stage::Destroyed;
        node.write_config(VM, self.vmid, &GuestConfig::parse("memory: 128\n"))?;
        self.free_old(old, &plan)?;
        let mut made = BTreeMap::new();
        let outcome = self.allocate(&plan, &mut made).and_then(|()| {
            let piped = source.is_piped(self.call);
            self.write(reader, &plan, &made, &stop, piped)
        });
        if outcome.is_ok() {
            // Only now the decompressor gets to the end of its input, and may object to it.
            drop(std::io::copy(&mut pipe, &mut std::io::sink()));
        }
        let tool =
            pipe.failure().filter(|_| !node.is_interrupted() && !node.is_killed() && !self.task.is_killed());
        if let Some(failure) = tool {
            self.task.line(&source::tool_line(failure))?;
        }
        let outcome = match (outcome, tool) {
            (Ok(()), Some(failure)) => {
                Err(Failure::new(format!("exit code {}", source::tool_status(failure))))
            }
            (outcome, _) => outcome,
        };
        let outcome =
            outcome.and_then(|()| config::write(node, self.vmid, &plan, &made, self.call.is_on("unique")));
        if let Err(failure) = outcome {
            return Err(self.clean_up(failure, &made));
        }
        self.stage = Stage::Restored;
        Ok(plan.template)
    }

    /// No header has come: the real program waits for one until its patience ends.
    fn wait_for_header(&mut self) -> Failure {
        let patience = Duration::from_millis(self.node.settings().header_timeout_ms);
        let start = Instant::now();
        while start.elapsed() < patience {
            if self.node.is_interrupted() {
                return Failure::new("interrupted by signal");
            }
            thread::sleep(TICK);
        }
        Failure::new("got timeout reading VMA header - corrupted?")
    }

    /// What can be refused with the old VM still intact. Only the firewall file is overwritten.
    fn plan(&mut self, header: &Header, limit: Option<u64>) -> Outcome<Plan> {
        if let Some(firewall) = header.config("qemu-server.fw") {
            let text = String::from_utf8_lossy(firewall);
            self.node.write(&Node::firewall_path(self.vmid), &text)?;
        }
        let plan = Plan::new(self.node, header, self.call.get("storage"))?;
        for storage in plan.storages().iter().filter(|_| limit.is_some()) {
            let limit = limit.unwrap_or_default();
            self.task.line(&format!("rate limit for storage {storage}: {limit} KiB/s"))?;
        }
        Ok(plan)
    }

    /// Frees the old disks whose keys the archive has, too, and what belongs to snapshots.
    fn free_old(&mut self, old: &GuestConfig, plan: &Plan) -> Outcome {
        let node = self.node;
        let mut doomed = Vec::new();
        let mut outcome = Ok(());
        for (key, disk) in qm::disks(&old.main) {
            if disk.is_cdrom() && !disk.is_cloudinit() {
                continue;
            }
            let Some(volid) = disk.volume().filter(|volid| !volid.starts_with('/') && *volid != "none")
            else {
                continue;
            };
            // A storage that is gone ends the restore here, whichever key the disk has.
            match node.place(volid) {
                Err(failure) => {
                    outcome = Err(failure);
                    break;
                }
                Ok(place) if place.owner == Some(self.vmid) && plan.disks.contains_key(&key) => {
                    doomed.push(volid.to_owned());
                }
                Ok(_) => {}
            }
        }
        if outcome.is_ok() {
            doomed.extend(
                old.snapshots().filter_map(|(_, snapshot)| snapshot.get("vmstate").map(str::to_owned)),
            );
        }
        for volid in doomed {
            if let Err(failure) = node.free_volume(&volid) {
                self.task.line(&failure.text)?;
            }
            for warning in node.take_warnings() {
                self.task.line(&warning)?;
            }
        }
        outcome
    }

    fn allocate(&mut self, plan: &Plan, made: &mut BTreeMap<String, Volume>) -> Outcome {
        for (key, disk) in &plan.disks {
            let DiskPlan { storage, format, size, cloudinit, .. } = disk;
            let name = cloudinit.then(|| format!("vm-{}-cloudinit", self.vmid));
            let (volume, lines) =
                self.node.alloc_image(storage, self.vmid, format, name.as_deref(), *size)?;
            let volid = volume.volid.clone();
            made.insert(key.clone(), volume);
            for line in lines {
                self.task.line(&line)?;
            }
            self.task.line(&format!("new volume ID is '{volid}'"))?;
        }
        Ok(())
    }

    fn write<R: std::io::Read>(
        &mut self,
        reader: Reader<R>,
        plan: &Plan,
        made: &BTreeMap<String, Volume>,
        stop: &source::Stop,
        piped: bool,
    ) -> Outcome {
        let node = self.node;
        let mut rooms = BTreeMap::new();
        let mut targets = BTreeMap::new();
        for (key, disk) in &plan.disks {
            let (Some(device), Some(volume)) = (&disk.device, made.get(key)) else { continue };
            self.task.line(&format!("map '{}' to '{}' (write zeros = 0)", device.name, volume.path))?;
            if !rooms.contains_key(&disk.storage) {
                rooms.insert(&disk.storage, node.room(&node.storage(&disk.storage)?));
            }
            let disk: Box<dyn Disk> = Box::new(node.write_volume(volume, rooms[&disk.storage].clone())?);
            targets.insert(device.id, Target::Write { disk, zeros: false });
        }
        let task = &mut *self.task;
        let mut show = |progress: super::vma::Progress| {
            if task.line(&progress.to_string()).is_err() {
                stop.set();
            }
        };
        let result = reader.restore(targets, Some(&mut show));
        if node.is_killed() {
            return Err(self.task.kill(Failure::killed("killed", 137)));
        }
        if self.task.is_killed() {
            return Err(Failure::killed("broken pipe", 255));
        }
        if node.is_interrupted() {
            return Err(Failure::new("interrupted by signal"));
        }
        match result {
            Ok(totals) => self.task.line(&totals.to_string()),
            Err(error) => {
                if let Some(line) = error.line("restore") {
                    self.task.line(&line)?;
                }
                let status = error.status();
                let last = if piped {
                    format!("exit code {status}")
                } else {
                    format!("got signal {}", status - 128)
                };
                Err(Failure::new(last))
            }
        }
    }

    /// Removes the new volumes after a failure, unless the worker is gone.
    fn clean_up(&mut self, failure: Failure, made: &BTreeMap<String, Volume>) -> Failure {
        if failure.killed || self.task.is_killed() {
            return failure;
        }
        for volume in made.values() {
            let volid = &volume.volid;
            let line = match self.node.free_volume(volid) {
                Ok(()) => format!("temporary volume '{volid}' successfully removed"),
                Err(error) => format!("unable to cleanup '{volid}' - {error}"),
            };
            drop(self.task.line(&line));
        }
        failure
    }

    /// What follows the data: volumes that no disk names, the pool, the template, the start.
    fn settle(&mut self, template: bool) -> Outcome {
        let (node, vmid) = (self.node, self.vmid);
        self.task.line("rescan volumes...")?;
        rescan::guest(node, vmid, &mut |line| self.task.line(line))?;
        if let Some(pool) = self.call.get("pool") {
            node.join_pool(pool, vmid)?;
        }
        if template {
            self.task.line("Convert to template.")?;
            config::make_template(node, vmid)?;
        }
        let start = self.call.is_on("start");
        if self.call.is_on("ha-managed") {
            node.set_ha_state(VM, vmid, if start { "started" } else { "stopped" })?;
        }
        if start {
            self.task.line("Execute autostart")?;
            let mut output = Vec::new();
            let (_, outcome) = node.subtask(&mut output, "qmstart", &vmid.to_string(), |task| {
                qm::start_vm(node, vmid, false, task)
            });
            self.task.text(&String::from_utf8_lossy(&output))?;
            if let Err(failure) = outcome {
                self.task.line(&failure.text)?;
            }
        }
        Ok(())
    }

    /// After a failure: the lock is taken away, and the general line says what it always says.
    fn conclude(&mut self, outcome: &Outcome) -> Outcome {
        let Err(failure) = outcome else { return Ok(()) };
        if failure.killed || self.task.is_killed() {
            return Err(failure.clone());
        }
        if self.stage != Stage::Restored {
            let mut config = self.node.config(VM, self.vmid)?;
            if config.main.remove("lock").is_some() {
                self.node.write_config(VM, self.vmid, &config)?;
            } else {
                self.task.line("no lock found trying to remove 'create'  lock")?;
            }
        }
        let words = if self.stage == Stage::Restored { AFTER } else { BEFORE };
        self.task.line(&format!("{words} VM {} state is NOT cleaned up.", self.vmid))
    }
}
