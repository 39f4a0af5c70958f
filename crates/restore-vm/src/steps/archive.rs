//! Proving that an archive can be read to its end.
//!
//! A real node frees the old disks before it reads the payload, and a compressor gives its verdict at the very end, so
//! this comes first. `vma verify` accepts an archive that was cut between two extents and sees no flipped payload bit:
//! its total is compared with the sizes of the devices, and the compressor's checksum covers the payload. Of a backup that
//! was found good before, the bytes are compared instead: that sees every change.

use std::time::Duration;

use jiff::tz::TimeZone;
use restore_common::{
    cli::state_folder,
    procedure::{Failure, Interrupted, Run},
    pve::{
        Archive, ArchiveName, Compression, GuestKind, Verification, VerifySummary, Vmid, VolumeId,
        archives_in, list_archives, verify_summary,
    },
    remote::{Command, Host, HostError},
    ui::format,
};

use crate::{
    assignment::{Assignment, Restore},
    look, record,
};

/// How long reading an older archive may take.
const READING: Duration = Duration::from_secs(4 * 3600);

/// An archive on the node, as far as reading it needs.
pub struct Readable<'a> {
    /// What its name says.
    pub name: &'a ArchiveName,
    /// Its absolute path.
    pub path: &'a str,
    /// Bytes of guest data it should hold, for the progress.
    pub size: Option<u64>,
}

/// The command that reads an archive to its end and fails when it is damaged.
pub fn check_command(name: &ArchiveName, path: &str) -> Command {
    let consumer = |input: &str| match name.kind {
        GuestKind::Qemu => Command::read("vma").args(["verify", "-v", input]),
        GuestKind::Lxc => Command::read("tar").args(["-tf", input, "./etc/vzdump/pct.conf"]),
    };
    match name.compression.decompressor(path) {
        Some(decompressor) => decompressor.pipe(consumer("-")),
        None => consumer(path),
    }
}

/// The last bytes of a plain tar, without zeros: a whole one ends in 1024 of them. GNU tar takes an archive that was
/// cut between two members for a whole one.
fn end_of_tar(path: &str) -> Command {
    let last = Command::read("tail").args(["-c", "1024", path]);
    last.pipe(Command::read("tr").args(["-d", r"\000"])).pipe(Command::read("wc").arg("-c"))
}

/// Reads an archive to its end. For a VM it gives what was found.
pub fn read_to_end(
    run: &Run<'_>,
    host: &dyn Host,
    archive: &Readable<'_>,
) -> anyhow::Result<Option<VerifySummary>> {
    let command = check_command(archive.name, archive.path);
    let mut said = String::new();
    // Thousands of progress lines say nothing about the archive; what is left is its header and its totals.
    run.job(host, &command, archive.size, &mut |line| {
        if !line.starts_with("progress ") && said.len() < 1 << 20 {
            said.push_str(line);
            said.push('\n');
        }
    })?;
    match archive.name.kind {
        GuestKind::Qemu => complete(&said).map(Some),
        GuestKind::Lxc if archive.name.compression == Compression::None => {
            let command = end_of_tar(archive.path);
            let left = run.command(host, &command)?.stdout;
            if left.trim() == "0" {
                Ok(None)
            } else {
                Err(Failure::new("the archive has no end: it was cut off").into())
            }
        }
        GuestKind::Lxc => Ok(None),
    }
}

fn complete(said: &str) -> anyhow::Result<VerifySummary> {
    let summary = verify_summary(said);
    if summary.is_complete() {
        return Ok(summary);
    }
    let (found, expected) = (summary.described, summary.expected);
    Err(Failure::new(format!("the archive holds {found} of {expected} bytes of its disks: it was cut off"))
        .into())
}

/// The commands of [`check`].
pub fn check_commands(what: &Assignment) -> Vec<Command> {
    let path = &what.inside.path;
    let compares = what.verified().map(|_| record::sum_command(path));
    let reads = what.is_read().then(|| check_command(&what.archive.name, path));
    compares.into_iter().chain(reads).collect()
}

/// What [`check`] does, in words.
pub fn check_title(what: &Assignment) -> String {
    let size = format::bytes(what.archive.size);
    match what.verified() {
        Some((_, day)) if what.is_read() => {
            format!("Compare the backup with what was verified on {day}, and read it to its end: {size}")
        }
        Some((_, day)) => format!("Compare the backup with what was verified on {day}: {size}"),
        None => format!("Read the backup to its end: {size}"),
    }
}

/// Step: the chosen archive has the bytes that were verified, or is readable to its end. When it is not, the newest older
/// one that is gets named.
pub fn check(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let what = &restore.what;
    match prove(what, restore.host, run) {
        Ok(summary) => fits(restore, summary),
        Err(error) if is_about_the_archive(&error) => {
            let say = |volid: &VolumeId| run.say(&format!("looking for an intact one: {volid}"));
            let hint = newest_intact(what.source, restore.host, &what.older, &say)?;
            let message = format!("the backup `{}` is damaged; it was not used", what.archive.volid);
            Err(Failure::new(message).hint(hint).because(error).into())
        }
        Err(error) => Err(error),
    }
}

fn prove(what: &Assignment, host: &dyn Host, run: &Run<'_>) -> anyhow::Result<Option<VerifySummary>> {
    let path = &what.inside.path;
    if let Some((known, day)) = what.verified() {
        compare(run, host, path, known, &day)?;
    }
    let archive = Readable { name: &what.archive.name, path, size: what.data_size() };
    if what.is_read() { read_to_end(run, host, &archive) } else { Ok(None) }
}

fn compare(run: &Run<'_>, host: &dyn Host, path: &str, known: &str, day: &str) -> anyhow::Result<()> {
    let mut answer = String::new();
    run.job(host, &record::sum_command(path), None, &mut |line| answer.push_str(line))?;
    let sum = record::sum_in(&answer);
    if sum == known {
        return Ok(());
    }
    let short = |sum: &str| sum.chars().take(12).collect::<String>();
    let (was, is) = (short(known), short(sum));
    let message = format!("its SHA-256 is not the one recorded on {day} (was {was}…, is {is}…)");
    Err(Failure::new(message).into())
}

/// The command that asks a backup server again what it knows of its backups.
pub fn ask_command(archive: &Archive) -> Option<Command> {
    Some(list_archives(&archive.volid.storage().parse().ok()?))
}

/// Step: the backup is still on its server, which has not found it damaged. Its content cannot be read on the node: to
/// verify it is the server's work.
pub fn ask_server(restore: &mut Restore<'_>, run: &Run<'_>) -> anyhow::Result<Option<String>> {
    let volid = &restore.what.archive.volid;
    let Some(command) = ask_command(&restore.what.archive) else { return Ok(None) };
    let output = run.command(restore.host, &command)?;
    let archives = archives_in(restore.host, &command, &output, &TimeZone::UTC)?;
    let archive = archives
        .iter()
        .find(|archive| archive.volid == *volid)
        .ok_or_else(|| Failure::new(format!("the backup `{volid}` is not on its server any more")))?;
    match archive.unusable() {
        Some(reason) => Err(Failure::new(format!("`{volid}` was not used: {reason}")).into()),
        None => Ok(archive.server.as_ref().map(|server| server.verification.word().to_owned())),
    }
}

/// A lost connection or Ctrl-C says nothing about an archive.
fn is_about_the_archive(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Interrupted>().is_none() && error.downcast_ref::<HostError>().is_none()
}

/// Now that the archive was read, it is known how much will be written.
fn fits(restore: &Restore<'_>, summary: Option<VerifySummary>) -> anyhow::Result<Option<String>> {
    let Some(summary) = summary else {
        let compared = |(_, day)| format!("the same bytes as verified on {day}");
        return Ok(Some(restore.what.verified().map_or("readable to its end".to_owned(), compared)));
    };
    if let Some(room) = restore.what.room
        && summary.data() > room
    {
        let needed = format::bytes(summary.data());
        let free = format::bytes(room);
        let failure =
            Failure::new(format!("the backup holds {needed} of data and the storage has room for {free}"));
        return Err(failure.hint("`--target-storage` puts the disks elsewhere").into());
    }
    Ok(Some(format!("readable to its end, {} of data", format::bytes(summary.data()))))
}

/// Reads older backups to their end, or compares them with what is on record, newest first, until one is intact: the
/// advice that follows from it. `on_archive` hears which one is read.
pub fn newest_intact(
    vmid: Vmid,
    host: &dyn Host,
    older: &[Archive],
    on_archive: &dyn Fn(&VolumeId),
) -> Result<String, HostError> {
    for archive in older {
        on_archive(&archive.volid);
        if is_intact(host, archive)? {
            return Ok(format!(
                "`restore-vm {vmid} --archive {}` restores the newest intact one",
                archive.volid
            ));
        }
    }
    Ok(match older.len() {
        0 => "there is no older backup of this guest".to_owned(),
        1 => "the only older backup of this guest is damaged as well".to_owned(),
        n => format!("none of the {n} older backups of this guest is intact either"),
    })
}

/// Reads one archive to its end without leaving anything on the node.
fn is_intact(host: &dyn Host, archive: &Archive) -> Result<bool, HostError> {
    if let Some(server) = &archive.server {
        return Ok(server.finished && server.verification == Verification::Ok);
    }
    if archive.size == 0 {
        return Ok(false);
    }
    let question = look::path_of(&archive.volid);
    let answer = host.run(&question)?;
    let Ok(path) = look::path_in(host, &question, &answer) else { return Ok(false) };
    if let Some(known) = record::of(&state_folder(), host, archive, &path).and_then(|entry| entry.sha256) {
        let output = host.run(&record::sum_command(&path).limit(READING))?;
        return Ok(output.success() && record::sum_in(&output.stdout) == known);
    }
    let output = host.run(&check_command(&archive.name, &path).limit(READING))?;
    if !output.success() {
        return Ok(false);
    }
    match archive.name.kind {
        GuestKind::Qemu => Ok(verify_summary(&output.stdout).is_complete()),
        GuestKind::Lxc if archive.name.compression == Compression::None => {
            Ok(host.run(&end_of_tar(&path))?.stdout.trim() == "0")
        }
        GuestKind::Lxc => Ok(true),
    }
}
