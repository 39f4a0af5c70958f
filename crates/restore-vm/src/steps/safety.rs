//! What is kept of the guest before it is overwritten.

use restore_common::{
    procedure::{Failure, Run},
    pve::{ArchiveName, StorageId, Vmid, VolumeId, archive_written},
    remote::Command,
};

use super::archive::{Readable, read_to_end};
use crate::{
    assignment::{Restore, SafetyCopy},
    look::firewall_path,
};

/// The safety backup.
///
/// `--remove 0` alone is refused once the storage's limit is reached, and the default prunes and could delete the very
/// archive that is to be restored; with `--protected 1` neither happens. Options without values would take the next
/// word, so all have one. Source: vzdump of pve-manager.
pub fn backup_command(vmid: Vmid, storage: &StorageId) -> Command {
    let options = ["--mode", "snapshot", "--compress", "zstd", "--remove", "0", "--protected", "1"];
    let note = ["--notes-template", "safety backup of {{guestname}} before a restore"];
    Command::write("vzdump")
        .arg(vmid.to_string())
        .args(["--storage", storage.as_str()])
        .args(options)
        .args(note)
}

/// Step: a protected backup of the guest as it is.
pub fn back_up(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let what = &restore.what;
    let Some(storage) = &what.safety else { return Ok(None) };
    let command = backup_command(what.target, storage);
    let mut said = String::new();
    run.job(restore.host, &command, what.data_size(), &mut |line| {
        // Nothing but these two lines tells which file was written and that it was finished.
        if line.contains("creating vzdump archive") || line.contains("Finished Backup") {
            said.push_str(line);
            said.push('\n');
        }
    })?;
    // A guest of another node is skipped without a word, so success alone means nothing.
    let path = archive_written(&said, what.target).ok_or_else(|| {
        Failure::new(format!("`vzdump` ended well but wrote no backup of guest {}", what.target))
            .hint("look at its task log on the node; `--safety none` does without a safety backup")
    })?;
    let file = path.rsplit('/').next().unwrap_or(&path);
    let volid: VolumeId = format!("{storage}:backup/{file}").parse()?;
    restore.found.safety = Some(SafetyCopy { volid: volid.clone(), path });
    Ok(Some(volid.to_string()))
}

/// Step: the safety backup is readable to its end.
pub fn check(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let copy =
        restore.found.safety.as_ref().ok_or_else(|| Failure::new("there is no safety backup to check"))?;
    let file = copy.volid.file_name();
    let name = ArchiveName::parse(file)
        .ok_or_else(|| Failure::new(format!("the safety backup has an unknown name: `{file}`")))?;
    let readable = Readable { name: &name, path: &copy.path, size: None };
    read_to_end(run, restore.host, &readable).map_err(|error| {
        Failure::new(format!("the safety backup `{}` is not readable", copy.volid)).because(error)
    })?;
    Ok(Some("readable to its end".to_owned()))
}

/// The command that copies the configuration (and the firewall file) to `dir`. Readable by root only.
pub fn copy_command(restore: &crate::assignment::Assignment, dir: &str) -> Command {
    let files = restore.present.iter().flat_map(|guest| {
        let firewall = guest.firewall.is_some().then(|| firewall_path(restore.target));
        std::iter::once(guest.kind.config_path(restore.target)).chain(firewall)
    });
    Command::write("install").args(["-D", "-m", "600", "-t", dir]).args(files)
}

/// Step: copies of the guest's files on the node, and a list of its volumes.
pub fn copy_files(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    restore.found.volumes_before = super::replace::volumes_now(restore)?;
    let dir = run.folder("before");
    restore.found.copies = Some(dir.clone());
    run.command(restore.host, &copy_command(&restore.what, &dir))?;
    Ok(Some(dir))
}
