//! The backup of a VM.

use std::fs;
use std::io::{self, Read};

use super::archive::{Source, write_vm};
use super::contents;
use super::guest::{Volume, write_error};
use super::job::{Backup, Job};
use super::options::Mode;
use crate::sim::compress::Compression;
use crate::sim::node::{Failure, GuestKind, Outcome};
use crate::sim::vma::{Config, random_uuid};

impl Job<'_, '_> {
    pub(super) fn write_vm(&mut self, backup: &Backup) -> Outcome {
        // A backup in mode snapshot looks at the disks before it commits itself to that mode.
        let disks = if backup.mode == Mode::Snapshot {
            let disks = self.prepare_disks(backup)?;
            self.say_mode(backup.mode)?;
            disks
        } else {
            self.say_mode(backup.mode)?;
            self.prepare_disks(backup)?
        };
        match backup.mode {
            Mode::Stop if backup.takes_down() => self.log.info("stopping virtual guest")?,
            Mode::Suspend => self.log.info("suspending guest")?,
            _ => {}
        }
        let configs = self.configs(backup, &disks)?;
        let uuid = random_uuid()?;
        if disks.is_empty() {
            self.say_diskless(backup, configs.len() > 1)?;
        } else {
            self.say_started(backup, &uuid)?;
        }
        let sources = disks.iter().map(|(disk, volume)| {
            let input: Box<dyn Read> = Box::new(volume.open()?);
            Ok(Source { device: disk.device(), size: volume.size, input })
        });
        let sources = sources.collect::<io::Result<Vec<_>>>()?;
        let output = self.create(backup)?;
        let (log, compression) = (&mut self.log, self.options.compression);
        let mut told = Ok(());
        let mut say = |line: String| {
            if told.is_ok() {
                told = log.info(&line);
            }
        };
        let written = write_vm(output, compression, (uuid, backup.start), configs, sources, &mut say);
        told?;
        if let Err(error) = written {
            self.check_alive()?;
            return Err(self.say_aborted(&error)?);
        }
        if backup.guest.is_running || disks.is_empty() {
            return Ok(());
        }
        self.log.info("stopping kvm after backup task")
    }

    /// Says which disks are in the backup, and finds them.
    fn prepare_disks(&mut self, backup: &Backup) -> Outcome<Vec<(contents::Disk, Volume)>> {
        self.log.info(&format!("VM Name: {}", backup.guest.name()))?;
        let mut found = Vec::new();
        for disk in contents::disks(&backup.guest.config.main) {
            if disk.excluded {
                self.log.info(&format!("exclude disk '{}' '{}' (backup=no)", disk.key, disk.volume))?;
                continue;
            }
            let size = disk.size.as_ref().map_or(String::new(), |size| format!(" {size}"));
            self.log.info(&format!("include disk '{}' '{}'{size}", disk.key, disk.volume))?;
            let volume = Volume::find(self.node, &disk.volume)?;
            found.push((disk, volume));
        }
        Ok(found)
    }

    /// What goes into the archive besides the disks.
    fn configs(&mut self, backup: &Backup, disks: &[(contents::Disk, Volume)]) -> Outcome<Vec<Config>> {
        let map: Vec<String> = disks
            .iter()
            .map(|(disk, volume)| {
                let (key, device) = (&disk.key, disk.device());
                format!("#qmdump#map:{key}:{device}:{}:{}:\n", volume.storage.id, volume.format)
            })
            .collect();
        let (config, said) = contents::vm_config(&backup.guest.text, &map.concat());
        for line in said {
            self.log.info(&line)?;
        }
        self.log.info(&format!("creating vzdump archive '{}'", self.shown(&backup.archive)))?;
        let files = [("qemu-server.conf", Some(config)), ("qemu-server.fw", backup.guest.firewall.clone())];
        let mut configs = Vec::new();
        for (name, text) in files {
            let Some(text) = text else { continue };
            fs::write(self.shelf.dir.join(backup.work()).join(name), &text)?;
            configs.push(Config { name: name.into(), data: text.into_bytes() });
        }
        Ok(configs)
    }

    /// A VM without disks needs no QEMU: the archive is made by `vma` itself.
    fn say_diskless(&mut self, backup: &Backup, firewall: bool) -> Outcome {
        let (work, unfinished) = (self.shown(&backup.work()), self.shown(&backup.unfinished));
        let firewall = if firewall { format!(" -c {work}/qemu-server.fw") } else { String::new() };
        let target = match self.options.compressor() {
            Some(compressor) => format!("exec:{compressor} > {unfinished}"),
            None => unfinished,
        };
        self.log.info("backup contains no disks")?;
        self.log.info("starting diskless backup")?;
        self.log.info(&format!("/usr/bin/vma create -v -c {work}/qemu-server.conf{firewall} {target}"))
    }

    /// The lines from the freeze of the guest's file systems to the point where it runs on.
    fn say_started(&mut self, backup: &Backup, uuid: &[u8; 16]) -> Outcome {
        let is_pve9 = self.node.version() >= 9;
        let agent = backup
            .guest
            .config
            .main
            .get("agent")
            .is_some_and(|agent| agent.split(',').any(|part| ["1", "enabled=1"].contains(&part)));
        let freeze = agent && backup.mode == Mode::Snapshot;
        let answers = self.node.has_booted(GuestKind::Vm, backup.guest.vmid);
        if backup.mode == Mode::Stop {
            self.log.info("starting kvm to execute backup task")?;
        }
        if freeze && answers {
            self.log.info("issuing guest-agent 'fs-freeze' command")?;
        } else if freeze {
            self.log.info(if is_pve9 {
                "skipping guest filesystem freeze - agent configured but not running?"
            } else {
                "skipping guest-agent 'fs-freeze', agent configured but not running?"
            })?;
        }
        if is_pve9 {
            self.log.info("starting backup via QMP command")?;
        }
        if freeze && answers {
            self.log.info("issuing guest-agent 'fs-thaw' command")?;
        }
        self.log.info(&format!("started backup task '{}'", uuid_text(uuid)))?;
        match backup.mode {
            Mode::Snapshot => self.log.info("resuming VM again"),
            _ if backup.guest.is_running => self.log.info("resuming VM again after 0 seconds"),
            _ => Ok(()),
        }
    }

    /// QEMU sees a full disk itself, or only that the compressor behind it has gone.
    fn say_aborted(&mut self, error: &io::Error) -> Outcome<Failure> {
        let reason = write_error(error);
        if self.options.compression == Compression::Zstd {
            let line = format!("zstd: error 70 : Write error : cannot write block : {reason} ");
            self.log.info(&line)?;
        }
        let seen = if self.options.compressor().is_some() { "Broken pipe" } else { &reason };
        let text = format!("vma_queue_write: write error - {seen}");
        self.log.error(&text)?;
        self.log.info("aborting backup job")?;
        Ok(Failure::new(text))
    }
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex = uuid.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
