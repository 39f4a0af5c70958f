//! From what was seen of archives and files to findings.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
};

use restore_common::{
    pve::{Archive, ArchiveName, GuestKind, Verification, Vmid},
    ui::format,
};

use super::{Ended, FileSeen, FolderLook, LogSeen, Look, Verdict};
use crate::{
    codes::archive as codes,
    finding::{Code, Finding},
    report::ArchivePart,
};

/// Seconds that a backup may take.
const A_LONG_BACKUP: i64 = 24 * 3600;
/// Seconds that may pass before more of it is written.
const A_PAUSE: i64 = 3600;

/// The backups of each guest, newest first. A number may have been a VM's before it became a container's.
pub type Backups = BTreeMap<(Vmid, GuestKind), Vec<ArchivePart>>;

/// All that lies in the storages: the backups, and what is none: half-written and foreign files, and traces of backups that
/// are gone. These count for no guest's age.
pub fn judge(look: &Look) -> (Backups, Vec<ArchivePart>) {
    let mut guests = Backups::new();
    let mut others = Vec::new();
    let shelves: Vec<Shelf<'_>> = look.folders.iter().map(|folder| Shelf::new(look, folder)).collect();
    for archive in &look.archives {
        let guest = (archive.name.vmid, archive.name.kind);
        guests.entry(guest).or_default().push(listed(look, &shelves, archive));
    }
    for shelf in &shelves {
        others.extend(shelf.folder.files.iter().filter_map(|file| unlisted(look, shelf, file)));
        others.extend(shelf.folder.logs.iter().filter_map(|log| vanished(look, shelf, log)));
    }
    for parts in guests.values_mut() {
        parts.sort_by(|a, b| (b.ctime, &b.id).cmp(&(a.ctime, &a.id)));
    }
    (guests, others)
}

/// A folder with its names at hand: there may be tens of thousands.
struct Shelf<'a> {
    folder: &'a FolderLook,
    files: HashMap<&'a str, &'a FileSeen>,
    logs: HashMap<&'a str, &'a LogSeen>,
    stems: HashSet<&'a str>,
    listed: HashSet<&'a str>,
}

impl<'a> Shelf<'a> {
    fn new(look: &'a Look, folder: &'a FolderLook) -> Self {
        let listed = look.archives.iter().filter(|archive| holds(look, folder, archive));
        Self {
            folder,
            files: folder.files.iter().map(|file| (file.name.as_str(), file)).collect(),
            logs: folder.logs.iter().map(|log| (log.name.as_str(), log)).collect(),
            stems: folder.files.iter().map(|file| stem(&file.name)).collect(),
            listed: listed.map(|archive| archive.volid.file_name()).collect(),
        }
    }
}

fn listed(look: &Look, shelves: &[Shelf<'_>], archive: &Archive) -> ArchivePart {
    let file_name = archive.volid.file_name();
    let shelf = shelves.iter().find(|shelf| holds(look, shelf.folder, archive));
    let path = shelf.map(|shelf| format!("{}/{file_name}", shelf.folder.path));
    let mut findings = on_server(look, archive);
    let file = shelf.and_then(|shelf| shelf.files.get(file_name));
    if let Some(shelf) = shelf.filter(|shelf| shelf.folder.unreadable.is_none()) {
        match file {
            Some(file) => findings.extend(in_folder(archive, shelf, file)),
            // A backup of the guest that ends just now removes older ones.
            None if look.is_backing_up(archive.name.vmid) => {}
            None => findings.push(Finding::new(&codes::MISSING, "it is listed, and its file is not there")),
        }
    }
    if archive.is_refused_by_pct() {
        findings.push(Finding::new(&codes::REFUSED, "its name ends in .tgz"));
    }
    ArchivePart {
        id: archive.volid.to_string(),
        path,
        name: Some(archive.name.clone()),
        ctime: archive.ctime,
        mtime: file.map(|file| file.mtime),
        size: archive.size,
        also_on: Vec::new(),
        verified: None,
        findings,
    }
}

/// Two storages may share a folder, which was looked at once.
fn holds(look: &Look, folder: &FolderLook, archive: &Archive) -> bool {
    let path = look.facts.backup_folders.iter().find(|(id, _)| id.as_str() == archive.volid.storage());
    path.is_some_and(|(_, path)| *path == folder.path)
}

fn in_folder(archive: &Archive, shelf: &Shelf<'_>, file: &FileSeen) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.size != archive.size {
        let words = format!("{} on disk, {} listed", format::bytes(file.size), format::bytes(archive.size));
        findings.push(Finding::new(&codes::SIZE, words));
    }
    findings.extend(file.verdict.as_ref().and_then(in_beginning));
    let log = format!("{}.log", stem(&file.name));
    if let Some(LogSeen { ended: Ended::Failed(words), .. }) = shelf.logs.get(log.as_str()) {
        findings.push(Finding::new(&codes::LOG, words));
    }
    findings
}

fn in_beginning(verdict: &Verdict) -> Option<Finding> {
    let (code, words): (&'static Code, &str) = match verdict {
        Verdict::Good => return None,
        Verdict::Empty => (&codes::EMPTY, "0 bytes"),
        Verdict::Unreadable(words) => (&codes::UNREADABLE, words),
        Verdict::WrongType(kind) => {
            return Some(Finding::new(&codes::WRONG_TYPE, format!("its content is {kind}")));
        }
        Verdict::Header(words) => (&codes::HEADER, words),
        Verdict::NoConfig(words) => (&codes::NO_CONFIG, words),
    };
    Some(Finding::new(code, words.trim()))
}

fn on_server(look: &Look, archive: &Archive) -> Vec<Finding> {
    let Some(server) = &archive.server else { return Vec::new() };
    let storage = archive.volid.storage();
    let verified = match server.verification {
        _ if !server.finished
            && look.may_be_writing(archive.name.vmid, storage, archive.ctime, A_LONG_BACKUP) =>
        {
            None
        }
        _ if !server.finished => {
            Some(Finding::new(&codes::SNAPSHOT_UNFINISHED, "the server has no size for it"))
        }
        Verification::Failed => Some(Finding::new(&codes::SNAPSHOT_BAD, "its last verification failed")),
        Verification::Never => Some(Finding::new(&codes::SNAPSHOT_UNVERIFIED, "the server says so")),
        Verification::Ok => None,
    };
    verified.into_iter().collect()
}

/// A file that the storage does not list as a backup: what a broken backup left, or something foreign.
fn unlisted(look: &Look, shelf: &Shelf<'_>, file: &FileSeen) -> Option<ArchivePart> {
    if shelf.listed.contains(file.name.as_str()) || is_companion(shelf, file) {
        return None;
    }
    let name = leftover_of(file);
    let finding = match &name {
        Some(name) if look.may_be_writing(name.vmid, shelf.folder.storage.as_str(), file.mtime, A_PAUSE) => {
            return None;
        }
        Some(_) => Finding::new(&codes::UNFINISHED, format!("{} left of a backup", format::bytes(file.size))),
        None if ArchiveName::parse(&file.name).is_some() => return None,
        None => Finding::new(&codes::FOREIGN, format!("{}, {}", file.kind, format::bytes(file.size))),
    };
    let path = format!("{}/{}", shelf.folder.path, file.name);
    Some(ArchivePart {
        id: path.clone(),
        path: Some(path),
        name,
        ctime: file.mtime,
        mtime: Some(file.mtime),
        size: file.size,
        also_on: Vec::new(),
        verified: None,
        findings: vec![finding],
    })
}

/// Notes and the mark of a protected backup, and of an archive that is gone: its log tells about that.
fn is_companion(shelf: &Shelf<'_>, file: &FileSeen) -> bool {
    let archive = file.name.strip_suffix(".notes").or_else(|| file.name.strip_suffix(".protected"));
    archive.is_some_and(|archive| ArchiveName::parse(archive).is_some() || shelf.files.contains_key(archive))
}

/// Which backup a half-written file or a work folder is of: `x.vma.dat`, `x.tar.dat`, `x.dat`, `x.tmp`.
fn leftover_of(file: &FileSeen) -> Option<ArchiveName> {
    let stem = file.name.strip_suffix(".dat").or_else(|| file.name.strip_suffix(".tmp"))?;
    let stem = stem.strip_suffix(".vma").or_else(|| stem.strip_suffix(".tar")).unwrap_or(stem);
    name_of(stem)
}

/// What `vzdump-qemu-101-2026_01_30-01_00_04` says, whatever the archive's ending is.
pub fn name_of(stem: &str) -> Option<ArchiveName> {
    ArchiveName::parse(&format!("{stem}.vma")).or_else(|| ArchiveName::parse(&format!("{stem}.tar")))
}

/// A backup that its log says was finished, and that is not there: whoever removes one properly removes its log.
fn vanished(look: &Look, shelf: &Shelf<'_>, log: &LogSeen) -> Option<ArchivePart> {
    if log.ended != Ended::Finished {
        return None;
    }
    let own = log.name.strip_suffix(".log")?;
    let name = name_of(own)?;
    if shelf.stems.contains(own) || look.is_backing_up(name.vmid) {
        return None;
    }
    let path = format!("{}/{}", shelf.folder.path, log.name);
    Some(ArchivePart {
        id: format!("{}:backup/{own}", shelf.folder.storage),
        path: None,
        name: Some(name),
        ctime: log.mtime,
        mtime: None,
        size: 0,
        also_on: Vec::new(),
        verified: None,
        findings: vec![Finding::new(&codes::MISSING, format!("{path} says that it was finished"))],
    })
}

/// A file name without the endings that vzdump gives.
fn stem(name: &str) -> &str {
    let known = |ending: &str| matches!(ending, "zst" | "gz" | "lzo" | "bz2" | "tgz" | "vma" | "tar");
    let mut rest = name;
    while Path::new(rest).extension().and_then(|e| e.to_str()).is_some_and(known) {
        rest = rest.rsplit_once('.').map_or(rest, |(front, _)| front);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.vma.dat", true)]
    #[case("vzdump-lxc-102-2026_01_30-01_00_04.tar.dat", true)]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.dat", true)]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.tmp", true)]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.vma", false)]
    #[case("notes.tmp", false)]
    fn what_a_broken_backup_leaves_is_known_by_its_name(#[case] name: &str, #[case] leftover: bool) {
        let file =
            FileSeen { name: name.to_owned(), size: 1, mtime: 1, kind: "file".to_owned(), verdict: None };
        assert_eq!(leftover_of(&file).is_some(), leftover, "{name}");
    }

    #[test]
    fn a_stem_is_what_the_log_is_named_after() {
        assert_eq!(stem("vzdump-lxc-1-x.tar.zst"), "vzdump-lxc-1-x");
        assert_eq!(stem("vzdump-lxc-1-x.tgz"), "vzdump-lxc-1-x");
        assert_eq!(stem("vzdump-qemu-1-x.vma"), "vzdump-qemu-1-x");
    }
}
