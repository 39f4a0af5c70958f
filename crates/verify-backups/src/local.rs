//! `--local DIR`: archives in a folder of this machine, read natively: an NFS mount, a copy on a USB disk.
//!
//! The folder itself and its `dump` are looked at, as a storage has them. A symlink to an archive is read like the archive.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    num::NonZero,
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use restore_common::{
    archive::{self, Damage, Defect, ReadError},
    ledger::{LOCAL, Ledger, hex},
    pve::{ArchiveName, GuestKind, Vmid},
};

use crate::{
    app::Frame,
    codes::{
        archive::{EMPTY, FOREIGN, HEADER, LOG, NO_CONFIG, UNREADABLE, WRONG_TYPE},
        deep::{DAMAGED, INCOMPLETE, NOT_CHECKED, TRUNCATED},
    },
    deep::{self, Meter, Outcome, Recalled, Run, Stamp, Total, Work},
    finding::Finding,
    report::{ArchivePart, GuestPart, NodePart},
};

/// Most that is read of a log. Those of `vzdump` have some kilobytes.
const LOG_READ: u64 = 16 * 1024 * 1024;

/// Looks at the archives in a folder, and reads them to their end unless only a quick look is wanted.
pub fn look(frame: &Frame<'_>, dir: &Path, ledger: &Ledger) -> anyhow::Result<NodePart> {
    let dir = dir.canonicalize().with_context(|| format!("cannot look into `{}`", dir.display()))?;
    let mut part = NodePart { label: dir.display().to_string(), reached: true, ..NodePart::default() };
    let mut guests: BTreeMap<(Vmid, GuestKind), GuestPart> = BTreeMap::new();
    let vmids = &frame.cli.vmid;
    for path in files(&dir)? {
        // Of certain guests only, without what belongs to none: as on a node.
        if !vmids.is_empty() && guest_of(&path).is_none_or(|vmid| !vmids.contains(&vmid)) {
            continue;
        }
        let archive = described(&path);
        match archive.name.clone() {
            Some(name) => {
                let guest = guests.entry((name.vmid, name.kind)).or_insert_with(|| guest(&name));
                guest.archives.push(archive);
            }
            None => part.others.push(archive),
        }
    }
    part.guests = guests.into_values().collect();
    nothing_missed(&dir, vmids, &part)?;
    for guest in &mut part.guests {
        guest.archives.sort_by_key(|archive| std::cmp::Reverse(archive.ctime));
    }
    if frame.cli.reads_all() {
        read(frame, &mut part, ledger)?;
    } else {
        recall(&mut part, ledger);
    }
    Ok(part)
}

/// Refuses a folder without any backup, and a guest without one in it: a disk that is not mounted, or a slip of the finger,
/// must not look like good news.
fn nothing_missed(dir: &Path, vmids: &[Vmid], part: &NodePart) -> anyhow::Result<()> {
    let place = format!("`{}` or its folder `dump`", dir.display());
    let is_there = |vmid: &Vmid| part.guests.iter().any(|guest| guest.vmid == *vmid);
    if let Some(vmid) = vmids.iter().find(|vmid| !is_there(vmid)) {
        anyhow::bail!("there is no backup of guest {vmid} in {place}");
    }
    if part.guests.is_empty() && part.others.is_empty() {
        anyhow::bail!("there is no backup in {place}; is the disk that should be there mounted?");
    }
    Ok(())
}

/// The guest that a file is a backup of.
fn guest_of(path: &Path) -> Option<Vmid> {
    ArchiveName::parse(path.file_name()?.to_str()?).map(|name| name.vmid)
}

fn guest(name: &ArchiveName) -> GuestPart {
    GuestPart {
        vmid: name.vmid,
        name: None,
        kind: name.kind,
        present: false,
        findings: Vec::new(),
        archives: Vec::new(),
        drill: None,
    }
}

/// The files that are to be looked at, by name: sidecar files of archives are looked at with them.
fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in [dir.to_owned(), dir.join("dump")] {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != dir => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot list `{}`", folder.display())),
        };
        for entry in entries {
            let path = entry.with_context(|| format!("cannot list `{}`", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_sidecar = [".log", ".notes", ".protected"].iter().any(|end| name.ends_with(end));
            if !is_sidecar
                && !path.is_dir()
                && (folder != dir || name.starts_with("vzdump-") || is_packed(&name))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What looks like a backup by its ending. A disk may hold anything else, which is no business of ours.
fn is_packed(name: &str) -> bool {
    [".vma", ".tar", ".vma.", ".tar.", ".tgz"]
        .iter()
        .any(|end| if end.ends_with('.') { name.contains(end) } else { name.ends_with(end) })
}

/// An archive as far as its name, its head and the log beside it tell.
fn described(path: &Path) -> ArchivePart {
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = ArchiveName::parse(&file_name);
    let ctime = name.as_ref().and_then(|name| TimeZone::system().to_timestamp(name.time.0).ok());
    let mut part = ArchivePart {
        id: path.display().to_string(),
        path: Some(path.display().to_string()),
        name: name.clone(),
        mtime: None,
        ctime: ctime.map_or(0, jiff::Timestamp::as_second),
        size: 0,
        also_on: Vec::new(),
        verified: None,
        findings: Vec::new(),
    };
    match (fs::metadata(path), name) {
        (Err(error), _) => part.findings.push(Finding::new(&NOT_CHECKED, error.to_string())),
        (Ok(_), None) => {
            part.findings.push(Finding::new(&FOREIGN, format!("`{file_name}` is no name of a backup")));
        }
        (Ok(about), Some(_)) if about.len() == 0 => {
            part.findings.push(Finding::new(&EMPTY, "it has no bytes"));
        }
        (Ok(about), Some(name)) => {
            part.size = about.len();
            part.findings.extend(head(path, &name));
        }
    }
    part.findings.extend(log(path, &file_name));
    part
}

/// What is wrong with the header or the configuration.
fn head(path: &Path, name: &ArchiveName) -> Option<Finding> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Some(Finding::new(&NOT_CHECKED, error.to_string())),
    };
    match archive::read_head(file, name.kind, name.compression) {
        Ok(contents) if contents.config.is_none() => Some(no_configuration()),
        Ok(_) | Err(ReadError::Stopped) => None,
        Err(ReadError::Defect(defect)) if matches!(defect.damage, Damage::Truncated | Damage::Damaged) => {
            Some(Finding::new(&HEADER, defect.to_string()))
        }
        Err(error) => Some(told(&error)),
    }
}

fn no_configuration() -> Finding {
    Finding::new(&NO_CONFIG, "it holds no configuration of its guest")
}

/// Errors in the log that `vzdump` wrote beside the archive.
fn log(path: &Path, file_name: &str) -> Option<Finding> {
    let base = file_name.split_once('.')?.0;
    let log = File::open(path.with_file_name(format!("{base}.log"))).ok()?;
    // The names of files and guests in it may be of any encoding.
    let lines = BufReader::new(log.take(LOG_READ)).split(b'\n').map_while(Result::ok);
    let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    Some(Finding::new(&LOG, lines.find(|line| line.contains("ERROR: "))?))
}

fn told(error: &ReadError) -> Finding {
    match error {
        ReadError::Defect(defect) => Finding::new(code_of(defect), defect.to_string()),
        ReadError::Medium(error) => Finding::new(&UNREADABLE, error.to_string()),
        ReadError::Stopped | ReadError::TooWide | ReadError::Unsupported(_) => {
            Finding::new(&NOT_CHECKED, error.to_string())
        }
    }
}

fn code_of(defect: &Defect) -> &'static crate::finding::Code {
    match defect.damage {
        Damage::Empty => &EMPTY,
        Damage::Foreign => &WRONG_TYPE,
        Damage::Truncated => &TRUNCATED,
        Damage::Damaged => &DAMAGED,
        Damage::Incomplete => &INCOMPLETE,
    }
}

/// Without a reading, what the ledger has of the files.
fn recall(part: &mut NodePart, ledger: &Ledger) {
    for archive in deep::archives(part) {
        let Some(path) = &archive.path else { continue };
        let Some((entry, stamp)) = ledger.archive(LOCAL, path).zip(stamp(path)) else { continue };
        let is_same = entry.is_about(stamp.size, &stamp.mtime);
        Recalled::of(&entry, stamp.size, is_same).tell(archive);
    }
}

fn stamp(path: &str) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some(Stamp { size: about.len(), mtime: format!("{}.{:09}", about.mtime(), about.mtime_nsec()) })
}

fn read(frame: &Frame<'_>, part: &mut NodePart, ledger: &Ledger) -> anyhow::Result<()> {
    let total = Total::new(frame.mode, "all archives");
    let run = Run { frame, ledger, total: &total, until: deep::deadline(frame) };
    let queue = queue_of(&run, part);
    if frame.cli.common.dry_run {
        part.findings.push(deep::say_only(&queue));
        recall(part, ledger);
        return Ok(());
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let workers = frame.cli.jobs.map_or(cores, usize::from);
    let done = run.work_off(LOCAL, queue, workers, &|work, attempt| one(&run, work, attempt))?;
    deep::put(part, done);
    Ok(())
}

/// What is to be read.
fn queue_of(run: &Run<'_>, part: &mut NodePart) -> Vec<Work> {
    let mut queue = Vec::new();
    for (index, archive) in deep::archives(part).enumerate() {
        let (Some(path), Some(name), true) = (&archive.path, &archive.name, archive.size > 0) else {
            continue;
        };
        let Some(stamp) = stamp(path) else { continue };
        let before = run.ledger.archive(LOCAL, path);
        if run.wanted(&stamp, before.as_ref()) {
            let (name, path, ctime) = (name.clone(), path.clone(), archive.ctime);
            queue.push(Work { index, name, path, stamp, ctime, before });
        } else {
            archive.verified = before.as_ref().and_then(deep::verified_before);
        }
    }
    queue
}

fn one(run: &Run<'_>, work: &Work, attempt: u8) -> Outcome {
    let file = match File::open(&work.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Outcome::Gone,
        Err(error) => return Outcome::Unknown(error.to_string()),
    };
    let input = deep::Limited::new(file, run.frame.cli.bwlimit);
    let mut meter = Meter::start(run, work, attempt);
    let interrupt = run.frame.interrupt.clone();
    let mut progress = |read| {
        meter.set(read);
        if interrupt.requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    match archive::read_to_end(input, work.name.kind, work.name.compression, &mut progress) {
        Ok(whole) => {
            let sha256 = hex(&whole.sha256);
            let wrong = whole.contents.config.is_none().then(no_configuration);
            match wrong.or_else(|| deep::changed(work.before.as_ref(), &sha256)) {
                Some(finding) => Outcome::Bad { finding, sha256: Some(sha256) },
                None => Outcome::Good { sha256 },
            }
        }
        Err(error @ (ReadError::Stopped | ReadError::TooWide | ReadError::Unsupported(_))) => {
            Outcome::Unknown(error.to_string())
        }
        Err(error) => Outcome::Bad { finding: told(&error), sha256: None },
    }
}
