//! The backup of a container.

use super::archive::write_container;
use super::contents::{self, MountKind, MountPoint};
use super::guest::{Volume, write_error};
use super::job::{Backup, Job};
use super::options::{Mode, quoted};
use super::text;
use super::tree::{Mount, exclusion};
use crate::sim::node::{Failure, Outcome};

impl Job<'_, '_> {
    pub(super) fn write_container(&mut self, backup: &mut Backup) -> Outcome {
        let points = contents::mount_points(&backup.guest.config.main);
        if backup.mode == Mode::Snapshot {
            self.say_mount_points(backup, &points)?;
            if !self.can_snapshot(&points)? {
                self.log.info("mode failure - some volumes do not support snapshots")?;
                self.log.info("trying 'suspend' mode instead")?;
                backup.mode = Mode::Suspend;
            }
        }
        self.say_mode(backup.mode)?;
        if backup.mode != Mode::Snapshot {
            self.say_mount_points(backup, &points)?;
        }
        match backup.mode {
            Mode::Snapshot => self.log.info("create storage snapshot 'vzdump'")?,
            Mode::Suspend => self.say_suspended(backup)?,
            Mode::Stop if backup.takes_down() => self.log.info("stopping virtual guest")?,
            Mode::Stop => {}
        }
        self.log.info(&format!("creating vzdump archive '{}'", self.shown(&backup.archive)))?;
        let bytes = self.write_tree(backup, &points)?;
        let size = text::tar_size(bytes);
        self.log.info(&format!("Total bytes written: {bytes} ({size}, {size}/s)"))?;
        if backup.takes_down() {
            self.log.info("restarting vm")?;
            self.log.info("guest is online again after 0 seconds")?;
        }
        Ok(())
    }

    fn say_mount_points(&mut self, backup: &Backup, points: &[MountPoint]) -> Outcome {
        self.log.info(&format!("CT Name: {}", backup.guest.name()))?;
        for MountPoint { key, path, kind, .. } in points {
            self.log.info(&match kind {
                MountKind::Included => format!("including mount point {key} ('{path}') in backup"),
                MountKind::Disabled => {
                    format!("excluding volume mount point {key} ('{path}') from backup (disabled)")
                }
                MountKind::Bind => {
                    format!("excluding bind mount point {key} ('{path}') from backup (not a volume)")
                }
                MountKind::Device => {
                    format!("excluding device mount point {key} ('{path}') from backup (not a volume)")
                }
            })?;
        }
        Ok(())
    }

    fn can_snapshot(&self, points: &[MountPoint]) -> Outcome<bool> {
        for point in points.iter().filter(|point| point.kind == MountKind::Included) {
            if !Volume::find(self.node, &point.volume)?.can_snapshot() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The tree is copied twice, the second time while the container stands still.
    fn say_suspended(&mut self, backup: &Backup) -> Outcome {
        let copy = format!("sync /proc/1/root/ to {}", self.shown(&backup.work()));
        self.log.info(&format!("starting first {copy}"))?;
        self.log.info("first sync finished - transferred 0 bytes in 0s")?;
        self.log.info("suspending guest")?;
        self.log.info(&format!("starting final {copy}"))?;
        self.log.info("final sync finished - transferred 0 bytes in 0s")?;
        self.log.info("resuming guest")?;
        self.log.info("guest is online again after 0 seconds")
    }

    fn write_tree(&mut self, backup: &Backup, points: &[MountPoint]) -> Outcome<u64> {
        let mut mounts = Vec::new();
        for point in points.iter().filter(|point| point.kind == MountKind::Included) {
            let volume = Volume::find(self.node, &point.volume)?;
            let (folder, owners) = (volume.real, volume.sidecar.owners);
            mounts.push(Mount { path: point.path.clone(), folder, owners });
        }
        let globs = self.options.excluded_paths.iter().map(|glob| exclusion(glob));
        let excluded =
            globs.collect::<Result<Vec<_>, _>>().map_err(|error| Failure::new(error.to_string()))?;
        let config = contents::container_config(&backup.guest.config);
        let firewall = backup.guest.firewall.clone().unwrap_or_default();
        let output = self.create(backup)?;
        let texts = (config.as_str(), firewall.as_str());
        match write_container(output, self.options.compression, texts, &mounts, excluded) {
            Ok(bytes) => Ok(bytes),
            Err(error) => {
                self.check_alive()?;
                self.log.info(&format!("tar: -: Cannot write: {}", write_error(&error)))?;
                self.log.info("tar: Error is not recoverable: exiting now")?;
                let command = self.tar_command(backup, &mounts);
                Err(Failure::new(format!("command 'set -o pipefail && {command}' failed: exit code 2")))
            }
        }
    }

    /// The command that makes the archive on a real node, for the message about its failure.
    fn tar_command(&self, backup: &Backup, mounts: &[Mount]) -> String {
        let mut words = vec![
            "tar cpf - --totals --one-file-system -p --sparse --numeric-owner --acls --xattrs \
             '--xattrs-include=user.*' '--xattrs-include=security.capability' '--warning=no-file-ignored' \
             '--warning=no-xattr-write' --one-file-system '--warning=no-file-ignored'"
                .to_owned(),
            quoted(&format!("--directory={}", self.shown(&backup.work()))),
            "./etc/vzdump/pct.conf ./etc/vzdump/pct.fw '--directory=/mnt/vzsnap0' --no-anchored \
             '--exclude=lost+found' --anchored"
                .to_owned(),
        ];
        words.extend(self.options.excluded_paths.iter().map(|glob| format!("'--exclude=.{glob}'")));
        words.extend(mounts.iter().map(|mount| quoted(&format!(".{}", mount.path))));
        if let Some(compressor) = self.options.compressor() {
            words.push(format!("| {compressor}"));
        }
        words.push(format!(">{}", self.shown(&backup.unfinished)));
        words.join(" ")
    }
}
