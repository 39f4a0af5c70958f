//! A backup job: one guest after the other.

use std::fs::{self, File};

use super::guest::{ArchiveFile, Guest, set_lock};
use super::log::Log;
use super::notes::{self, Variables};
use super::options::{Mode, Options};
use super::retention::Retention;
use super::shelf::{Shelf, remove_if_there};
use super::text;
use crate::sim::clock;
use crate::sim::node::{Failure, GuestKind, Node, Outcome};

const INTERRUPTED: &str = "interrupted by signal";

/// What a job works with.
pub(super) struct Job<'a, 't> {
    pub(super) node: &'a Node,
    pub(super) options: &'a Options,
    pub(super) shelf: Shelf,
    /// What is pruned after each backup; without pruning it limits how many there may be.
    pub(super) retention: Retention,
    pub(super) log: Log<'a, 't>,
}

/// One backup while it is made.
pub(super) struct Backup {
    pub(super) guest: Guest,
    /// `vzdump-qemu-100-2026_01_30-12_00_00`.
    pub(super) stem: String,
    pub(super) start: i64,
    pub(super) mode: Mode,
    /// The name of the archive when it is done.
    pub(super) archive: String,
    /// Its name until then.
    pub(super) unfinished: String,
}

impl Backup {
    fn new(guest: Guest, options: &Options, ahead: i64) -> Self {
        let start = clock::now();
        let stem = format!("vzdump-{}-{}-{}", guest.word(), guest.vmid, clock::stamp(start + ahead));
        let kind = match guest.kind {
            GuestKind::Vm => "vma",
            GuestKind::Ct => "tar",
        };
        Self {
            mode: if guest.is_running { options.mode } else { Mode::Stop },
            archive: format!("{stem}.{kind}{}", options.compression.suffix()),
            unfinished: match options.compressor() {
                Some(_) => format!("{stem}.{kind}.dat"),
                None => format!("{stem}.dat"),
            },
            guest,
            stem,
            start,
        }
    }

    /// The folder for what goes into the archive besides data.
    pub(super) fn work(&self) -> String {
        format!("{}.tmp", self.stem)
    }

    /// Whether the guest is taken down for its backup.
    pub(super) fn takes_down(&self) -> bool {
        self.mode == Mode::Stop && self.guest.is_running
    }
}

impl<'a> Job<'a, '_> {
    /// Backs up `vmids` in order.
    pub(super) fn run(&mut self, vmids: &[u32], skipped: &[u32]) -> Outcome {
        self.log.info(&format!("starting new backup job: {}", self.options.line))?;
        if !skipped.is_empty() {
            let list: Vec<String> = skipped.iter().map(ToString::to_string).collect();
            self.log.info(&format!("skip external VMs: {}", list.join(", ")))?;
        }
        let mut all_well = true;
        for &vmid in vmids {
            match self.guest(vmid) {
                Ok(()) => {}
                Err(failure) if failure.killed => return Err(failure),
                Err(failure) => {
                    all_well = false;
                    self.log.error(&format!("Backup of VM {vmid} failed - {failure}"))?;
                    self.log.info(&format!("Failed at {}", clock::date_time(clock::now())))?;
                }
            }
            if let Some((path, text)) = self.log.end_guest() {
                fs::write(path, text)?;
            }
            if self.node.is_interrupted() {
                self.log.error(&format!("Backup job failed - {INTERRUPTED}"))?;
                return Err(Failure::new(INTERRUPTED));
            }
        }
        if !all_well {
            self.log.info("Backup job finished with errors")?;
            return Err(Failure::new("job errors"));
        }
        self.log.info("Backup job finished successfully")
    }

    fn guest(&mut self, vmid: u32) -> Outcome {
        let guest = Guest::read(self.node, vmid)?;
        self.check_limits(&guest)?;
        let mut backup = Backup::new(guest, self.options, self.node.settings().seconds_ahead());
        let guest = &backup.guest;
        self.log.begin_guest(self.shelf.dir.join(format!("{}.log", backup.stem)));
        self.log.info(&format!("Starting Backup of VM {vmid} ({})", guest.word()))?;
        self.log.info(&format!("Backup started at {}", clock::date_time(backup.start)))?;
        self.log.info(&format!("status = {}", if guest.is_running { "running" } else { "stopped" }))?;
        if backup.takes_down() && self.node.is_ha_managed(guest.kind, vmid) {
            return Err(Failure::new(
                "Cannot execute a backup with stop mode on a HA managed and enabled Service. \
                 Use snapshot mode or disable the Service.",
            ));
        }
        set_lock(self.node, guest, true, &mut self.log.announcer(|word| word))?;
        match self.locked(&mut backup) {
            // Who is killed unlocks nothing.
            Err(failure) if failure.killed => return Err(failure),
            done => {
                set_lock(self.node, &backup.guest, false, &mut self.log.announcer(|word| word))?;
                done?;
            }
        }
        let seconds = u64::try_from(clock::now() - backup.start).unwrap_or_default();
        self.log.info(&format!("Finished Backup of VM {vmid} ({})", text::duration(seconds)))?;
        self.log.info(&format!("Backup finished at {}", clock::date_time(clock::now())))
    }

    /// Without pruning, or with protection, a job must not exceed what the storage allows.
    fn check_limits(&self, guest: &Guest) -> Outcome {
        let (kind, vmid) = (guest.word(), guest.vmid);
        if self.options.protected {
            return match &self.shelf.storage {
                Some(storage)
                    if self
                        .shelf
                        .most_protected()
                        .is_some_and(|most| self.shelf.protected(kind, vmid) >= most) =>
                {
                    let most = self.shelf.most_protected().unwrap_or_default();
                    Err(Failure::new(format!(
                        "The number of protected backups per guest is limited to {most} on storage '{}'",
                        storage.id
                    )))
                }
                _ => Ok(()),
            };
        }
        let limit = self.retention.limit();
        let is_reached = self.shelf.unprotected(kind, vmid) >= limit as usize;
        if self.options.remove || self.retention.keeps_all() || !is_reached {
            return Ok(());
        }
        Err(Failure::new(format!(
            "There is a max backup limit of {limit} enforced by the target storage or the vzdump parameters. \
             Either increase the limit or delete old backups."
        )))
    }

    /// The part of a backup that the configuration lock covers.
    fn locked(&mut self, backup: &mut Backup) -> Outcome {
        let work = self.shelf.dir.join(backup.work());
        fs::create_dir(&work)?;
        let written = match backup.guest.kind {
            GuestKind::Vm => self.write_vm(backup),
            GuestKind::Ct => self.write_container(backup),
        };
        if written.as_ref().is_err_and(|failure| failure.killed) {
            return written;
        }
        // What is left of a failed backup is its log alone.
        fs::remove_dir_all(&work)?;
        if written.is_err() {
            remove_if_there(&self.shelf.dir.join(&backup.unfinished))?;
            return written;
        }
        self.finish(backup)?;
        if self.options.remove && !self.retention.keeps_all() {
            for line in self.shelf.prune(backup.guest.word(), backup.guest.vmid, &self.retention)? {
                self.log.info(&line)?;
            }
        }
        if backup.guest.kind == GuestKind::Ct && backup.mode == Mode::Snapshot {
            self.log.info("cleanup temporary 'vzdump' snapshot")?;
        }
        Ok(())
    }

    /// The lines about the mode, once it is certain.
    pub(super) fn say_mode(&mut self, mode: Mode) -> Outcome {
        self.log.info(&format!("backup mode: {}", mode.word()))?;
        if let Some(limit) = &self.options.bwlimit {
            self.log.info(&format!("bandwidth limit: {limit} KiB/s"))?;
        }
        self.log.info(&format!("ionice priority: {}", self.options.ionice))
    }

    /// A path in the directory of the backups, as the node names it.
    pub(super) fn shown(&self, file: &str) -> String {
        format!("{}/{file}", self.shelf.shown)
    }

    /// Creates the archive under its temporary name.
    pub(super) fn create(&self, backup: &Backup) -> Outcome<ArchiveFile<'a>> {
        let file = File::create(self.shelf.dir.join(&backup.unfinished))?;
        let room = self.shelf.storage.as_ref().map(|storage| self.node.room(storage));
        Ok(ArchiveFile { node: self.node, file, room })
    }

    /// Tells apart why an archive could not be written: nobody is left to say it, a signal has come, or there
    /// is something to be said about the error itself.
    pub(super) fn check_alive(&mut self) -> Outcome {
        if self.node.is_killed() {
            return Err(Failure::killed("killed", 137));
        }
        if self.node.is_interrupted() {
            self.log.error(INTERRUPTED)?;
            self.log.info("aborting backup job")?;
            return Err(Failure::new(INTERRUPTED));
        }
        Ok(())
    }

    /// Gives the archive its name, its notes and its protection.
    fn finish(&mut self, backup: &Backup) -> Outcome {
        let path = self.shelf.dir.join(&backup.archive);
        fs::rename(self.shelf.dir.join(&backup.unfinished), &path)?;
        let size = text::archive_size(fs::metadata(&path)?.len());
        self.log.info(&format!("archive file size: {size}"))?;
        if let Some(template) = &self.options.notes {
            self.log.info("adding notes to backup")?;
            let variables = Variables {
                cluster: cluster_name(self.node),
                guestname: backup.guest.name(),
                node: self.node.name(),
                vmid: backup.guest.vmid,
            };
            let file = format!("{}.notes", backup.archive);
            fs::write(self.shelf.dir.join(file), notes::fill(template, &variables))?;
        }
        if self.options.protected {
            self.log.info("marking backup as protected")?;
            fs::write(self.shelf.dir.join(format!("{}.protected", backup.archive)), "")?;
        }
        Ok(())
    }
}

/// The name of the cluster; a single node has none.
fn cluster_name(node: &Node) -> Option<String> {
    let corosync = node.read("/etc/pve/corosync.conf")?;
    let mut names = corosync.lines().filter_map(|line| line.trim().strip_prefix("cluster_name:"));
    names.next().map(|name| name.trim().to_owned())
}
