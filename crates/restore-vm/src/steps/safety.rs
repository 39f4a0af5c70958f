//! What is kept of the guest before it is overwritten.

use std::time::Duration;

use restore_common::{
    probe::{Wait, Waited},
    procedure::{Failure, Interrupted, Problem, Run},
    pve::{Archive, ArchiveName, NodeFacts, StorageId, Vmid, VolumeId, archive_begun, archive_written},
    remote::Command,
    ui,
};

use super::archive::{Readable, read_to_end};
use crate::{
    assignment::{Restore, SafetyCopy},
    look::firewall_path,
};

/// What the notes of every safety backup begin and end with; the guest's name stands between.
const NOTE_START: &str = "safety backup of ";
const NOTE_END: &str = " before a restore";

/// Whether a run of this program made it, told by its notes.
pub fn is_safety_backup(archive: &Archive) -> bool {
    archive.notes.as_ref().is_some_and(|notes| notes.starts_with(NOTE_START) && notes.ends_with(NOTE_END))
}

/// How long `vzdump` waits for another backup job of the node, in minutes; by itself it waits three hours.
const LOCK_WAIT: &str = "30";

/// The safety backup.
///
/// `--remove 0` alone is refused once the storage's limit is reached, and the default prunes and could delete the very
/// archive that is to be restored; with `--protected 1` neither happens. Options without values would take the next
/// word, so all have one. Source: vzdump of pve-manager.
pub fn backup_command(vmid: Vmid, storage: &StorageId, bwlimit: Option<u32>) -> Command {
    let options = ["--mode", "snapshot", "--compress", "zstd", "--remove", "0", "--protected", "1"];
    let wait = ["--lockwait", LOCK_WAIT];
    let note = ["--notes-template", &format!("{NOTE_START}{{{{guestname}}}}{NOTE_END}")];
    let limit = bwlimit.into_iter().flat_map(|limit| ["--bwlimit".to_owned(), limit.to_string()]);
    Command::write("vzdump")
        .arg(vmid.to_string())
        .args(["--storage", storage.as_str()])
        .args(options)
        .args(wait)
        .args(note)
        .args(limit)
}

/// Step: a protected backup of the guest as it is.
pub fn back_up(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let what = &restore.what;
    let Some(storage) = &what.safety else { return Ok(None) };
    wait_for_a_free_name(restore, run)?;
    let command = backup_command(what.target, storage, what.bwlimit);
    let mut said = String::new();
    let ended = run.job(restore.host, &command, what.data_size(), &mut |line| {
        if line.contains("trying to get global lock") {
            let node = restore.host.name();
            run.say(&format!("waiting for another backup job on {node}, for {LOCK_WAIT} minutes at most"));
        }
        // Nothing but these two lines tells which file was written and that it was finished.
        if line.contains("creating vzdump archive") || line.contains("Finished Backup") {
            said.push_str(line);
            said.push('\n');
        }
    });
    // One that was finished when it was to be stopped is there, and is named like any other.
    restore.found.safety = written(&said, storage, what.target)?;
    if restore.found.safety.is_none() {
        restore.found.log = archive_begun(&said).map(|path| log_of(&path));
    }
    ended?;
    // A guest of another node is skipped without a word, so success alone means nothing.
    let copy = restore.found.safety.as_ref().ok_or_else(|| {
        Failure::new(format!("`vzdump` ended well but wrote no backup of guest {}", what.target))
            .hint("look at its task log on the node; `--safety none` does without a safety backup")
    })?;
    Ok(Some(copy.volid.to_string()))
}

/// How long the clock may take to pass the time in the backup's name.
const CLOCK_PATIENCE: Duration = Duration::from_secs(60);

/// The time between two looks at the clock; each starts a program on the node.
const CLOCK_PAUSE: Duration = Duration::from_millis(250);

/// How far a backup is ahead of the node's clock, in seconds, if a safety backup could get its name.
///
/// A backup's name is the guest's number and the second in which it began: one that begins in the same second would be
/// written over it. No source says that `vzdump` looks for such a file. It may begin as late as `LOCK_WAIT` minutes on; a backup that is
/// hours ahead is out of reach.
pub fn may_share_its_name(archive: &Archive, now: i64) -> Option<Duration> {
    let ahead = u64::try_from(archive.ctime - now).ok()?;
    (ahead < 3600).then(|| Duration::from_secs(ahead))
}

/// Why there can be no safety backup while the clock is so far behind that waiting for it makes no sense.
pub fn clock_behind(archive: &Archive, facts: &NodeFacts) -> Option<Problem> {
    let ahead = may_share_its_name(archive, facts.time).filter(|ahead| *ahead > CLOCK_PATIENCE)?;
    let problem = Problem::new(format!(
        "`{}` is {} ahead of the clock of {}: the safety backup could get its name and be written over it",
        archive.volid,
        ui::format::duration(ahead),
        facts.name
    ));
    Some(problem.hint("set the node's clock, or do without a safety backup: `--safety none`"))
}

/// Waits until no safety backup can get the name of the backup that is to be restored.
fn wait_for_a_free_name(restore: &Restore<'_>, run: &Run<'_>) -> anyhow::Result<()> {
    let archive = &restore.what.archive;
    if may_share_its_name(archive, restore.what.looked_at).is_none() {
        return Ok(());
    }
    let (question, interrupted) = (NodeFacts::ask_time(), || run.stop_requested());
    let what = format!("the clock of {} to pass the second of the backup's name", restore.host.name());
    let wait = Wait { what: &what, limit: CLOCK_PATIENCE, interval: CLOCK_PAUSE, interrupted: &interrupted };
    let waited = wait.until(|| {
        let now = NodeFacts::read_time(restore.host, &question, &restore.host.run(&question)?)?;
        Ok::<_, anyhow::Error>((now > archive.ctime).then_some(()))
    })?;
    match waited {
        Waited::Ready { .. } => Ok(()),
        Waited::Interrupted => Err(Interrupted.into()),
        Waited::TimedOut => {
            let limit = ui::format::duration(CLOCK_PATIENCE);
            let failure = Failure::new(format!("waited {limit} for {what}; it has not"));
            Err(failure.hint("set the node's clock, or do without a safety backup: `--safety none`").into())
        }
    }
}

/// The archive that `vzdump` says it finished.
fn written(said: &str, storage: &StorageId, vmid: Vmid) -> anyhow::Result<Option<SafetyCopy>> {
    let Some(path) = archive_written(said, vmid) else { return Ok(None) };
    let file = path.rsplit('/').next().unwrap_or(&path);
    let volid: VolumeId = format!("{storage}:backup/{file}").parse()?;
    Ok(Some(SafetyCopy { volid, path }))
}

/// Beside the archive, with `.log` in place of `.vma.zst`.
fn log_of(archive: &str) -> String {
    let (folder, file) = archive.rsplit_once('/').unwrap_or_default();
    format!("{folder}/{}.log", file.split('.').next().unwrap_or(file))
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
    let dir = run.folder(restore.host, "before");
    restore.found.copies = Some(dir.clone());
    run.command(restore.host, &copy_command(&restore.what, &dir))?;
    Ok(Some(dir))
}
