//! Unpacking a container, as GNU tar does it for `pct restore`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use tar::EntryType;

use super::archive::{Archive, words};
use crate::sim::backup_server::Snapshot;
use crate::sim::node::storage::Room;
use crate::sim::node::volume::Sidecar;
use crate::sim::node::{Task, Volume};
use crate::sim::{Failure, Node, Outcome};

/// tar reads records of 20 blocks.
const RECORD: u64 = 20 * 512;
/// What user and group numbers of an unprivileged container are raised by.
const MAPPED: u32 = 100_000;

/// How a container is unpacked.
pub(super) struct Options {
    pub(super) vmid: u32,
    pub(super) unprivileged: bool,
    pub(super) ignore: bool,
}

/// Unpacks the whole archive into the volumes, each given with the path it is mounted on.
pub(super) fn all(
    node: &Node,
    task: &mut Task<'_>,
    archive: &Archive,
    targets: &[(String, Volume)],
    options: &Options,
) -> Outcome {
    // What the client of a backup server prints is not among the facts: nothing.
    if archive.snapshot.is_none() {
        if !is_tar(&archive.path) {
            return Err(Failure::new(format!(
                "file does not look like a template archive: {}",
                archive.path
            )));
        }
        task.line(&format!("extracting archive '{}'", archive.path))?;
    }
    let mut pipe = archive.open(node)?;
    let mut counted = Counted { input: &mut pipe, bytes: 0 };
    let mut tree = Tree::new(node, targets, options.unprivileged)?;
    let outcome = tree.fill(&mut counted);
    let read = counted.bytes.next_multiple_of(RECORD);
    tree.unmount()?;
    tree.keep_owners()?;
    if node.is_killed() {
        return Err(task.kill(Failure::killed("killed", 137)));
    }
    if node.is_interrupted() {
        return Err(Failure::new("interrupted by signal"));
    }
    let decompressor = pipe.failure().map(words);
    if let Some(snapshot) = &archive.snapshot {
        return by_client(task, snapshot, decompressor.iter().chain(&tree.unwritten), options);
    }
    let total = outcome.is_ok() && decompressor.is_none();
    let lines = complaints(outcome.err(), decompressor.as_deref(), &tree.unwritten);
    for line in &lines {
        task.line(line)?;
    }
    // An input that breaks off ends tar before it counts.
    if total {
        task.line(&format!("Total bytes read: {read} ({}, {})", human(read), "100MiB/s"))?;
    }
    if lines.is_empty() || options.ignore {
        return Ok(());
    }
    Err(Failure::new(format!("command '{}' failed: exit code 2", command(archive, options))))
}

/// The end of the client of a backup server. Its words and its status are not among the facts, and neither is whether
/// `--ignore-unpack-errors` hides them: it does, as with tar.
fn by_client<'w>(
    task: &mut Task<'_>,
    snapshot: &Snapshot,
    wrong: impl Iterator<Item = &'w String>,
    options: &Options,
) -> Outcome {
    let wrong: Vec<_> = wrong.collect();
    for line in &wrong {
        task.line(&format!("Error: {line}"))?;
    }
    if wrong.is_empty() || options.ignore {
        return Ok(());
    }
    let (words, vmid) = (snapshot.words(), options.vmid);
    let command = format!(
        "/usr/bin/proxmox-backup-client restore {words} root.pxar /var/lib/lxc/{vmid}/rootfs --allow-existing-dirs"
    );
    Err(Failure::new(format!("command '{command}' failed: exit code 255")))
}

fn is_tar(path: &str) -> bool {
    [".tar", ".tar.gz", ".tar.lzo", ".tar.zst", ".tar.bz2", ".tar.xz"].iter().any(|end| path.ends_with(end))
}

/// The input ended within a member, or the restore was ended.
#[derive(Clone, Copy)]
struct Broken;

/// What tar says about the end of its input and about files that it could not write.
fn complaints(outcome: Option<Broken>, decompressor: Option<&str>, unwritten: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = unwritten.to_vec();
    let mut say = |words: &[&str]| lines.extend(words.iter().map(|&line| line.to_owned()));
    let fatal = "tar: Error is not recoverable: exiting now";
    let damaged = decompressor.is_some();
    say(decompressor.as_slice());
    match outcome {
        Some(Broken) => say(&["tar: Unexpected EOF in archive", "tar: Unexpected EOF in archive", fatal]),
        None if damaged => say(&["tar: Child returned status 1", fatal]),
        None if !unwritten.is_empty() => say(&["tar: Exiting with failure status due to previous errors"]),
        None => {}
    }
    lines
}

fn command(archive: &Archive, options: &Options) -> String {
    let mut words = Vec::new();
    if options.unprivileged {
        words.push("lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 --".to_owned());
    }
    words.push("tar xpf -".to_owned());
    words.extend(archive.tar_option().map(str::to_owned));
    words.push(
        "--totals --one-file-system -p --sparse --numeric-owner --acls --xattrs '--xattrs-include=user.*' \
         '--xattrs-include=security.capability' '--warning=no-file-ignored' '--warning=no-xattr-write'"
            .to_owned(),
    );
    words.push(format!(
        "-C /var/lib/lxc/{}/rootfs --skip-old-files --anchored --exclude './dev/*'",
        options.vmid
    ));
    words.join(" ")
}

/// What the tables of a volume's file system take of its storage. The share fits what small volumes were seen to take.
pub(super) fn table_size(volume: &Volume) -> u64 {
    // A subvolume shares those of its pool.
    if volume.format == "subvol" { 0 } else { (volume.size / 140).min(64 << 20) }
}

/// A volume being filled.
struct Target {
    /// Where it is mounted; the root file system at the empty path.
    mount: String,
    volume: Volume,
    /// What is left on its storage.
    room: Room,
    /// Bytes that were written and may not have reached the storage yet.
    cached: Cell<u64>,
}

/// The volumes being filled.
struct Tree<'n> {
    node: &'n Node,
    /// Longest mount path first, so that the first that fits is the right one.
    targets: Vec<Target>,
    owners: BTreeMap<String, BTreeMap<String, (u32, u32)>>,
    raised: u32,
    /// What tar says about files that it could not write.
    unwritten: Vec<String>,
}

impl<'n> Tree<'n> {
    fn new(node: &'n Node, volumes: &[(String, Volume)], unprivileged: bool) -> Outcome<Self> {
        let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
        let mut targets = Vec::new();
        for (path, volume) in volumes {
            let storage = node.place(&volume.volid)?.storage;
            let room = rooms.entry(storage.id.clone()).or_insert_with(|| node.room(&storage)).clone();
            // What the file systems themselves took does not show in folders.
            room.take_up_to(table_size(volume));
            targets.push(Target {
                mount: path.trim_end_matches('/').to_owned(),
                volume: volume.clone(),
                room,
                cached: Cell::new(0),
            });
        }
        targets.sort_by_key(|target| std::cmp::Reverse(target.mount.len()));
        let raised = if unprivileged { MAPPED } else { 0 };
        Ok(Self { node, targets, owners: BTreeMap::new(), raised, unwritten: Vec::new() })
    }

    fn fill(&mut self, input: &mut impl Read) -> Result<(), Broken> {
        let broken = |_| Broken;
        let mut tar = tar::Archive::new(&mut *input);
        for entry in tar.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(path) = name.strip_prefix('.').map(|p| p.trim_end_matches('/').to_owned()) else {
                continue;
            };
            // The description of the container does not stay in it, and tar takes no member that climbs out.
            let climbs = path.split('/').any(|part| part == "..");
            if climbs || path.starts_with("/dev/") || path == "/etc/vzdump/pct.conf" {
                continue;
            }
            self.member(&mut entry, &path)?;
            if self.node.is_interrupted() {
                return Err(Broken);
            }
        }
        // The rest of the last record, where a decompressor may still find something wrong.
        io::copy(input, &mut io::sink()).map(drop).map_err(broken)
    }

    fn member<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &str) -> Result<(), Broken> {
        let Some((target, below)) = self.place(path) else { return Ok(()) };
        let volume = target.volume.path.clone();
        let real = self.node.path(&volume).join(below.trim_start_matches('/'));
        match self.write(entry, target, &real) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Broken),
            Err(_) if self.node.is_killed() || self.node.is_interrupted() => return Err(Broken),
            Err(error) => {
                let reason = crate::sim::tool::strerror(&error);
                self.unwritten.push(format!("tar: .{path}: Cannot write: {reason}"));
                return Ok(());
            }
        }
        let number =
            |id: io::Result<u64>| u32::try_from(id.unwrap_or_default()).unwrap_or_default() + self.raised;
        let owner = (number(entry.header().uid()), number(entry.header().gid()));
        if owner != (0, 0) && !below.is_empty() && fs::symlink_metadata(&real).is_ok() {
            self.owners.entry(volume).or_default().insert(below, owner);
        }
        Ok(())
    }

    /// The volume that a path lies on, and the path below its root.
    fn place(&self, path: &str) -> Option<(&Target, String)> {
        self.targets.iter().find_map(|target| {
            let below = path.strip_prefix(target.mount.as_str())?;
            let fits = below.is_empty() || below.starts_with('/');
            fits.then(|| (target, below.to_owned()))
        })
    }

    fn write<R: Read>(&self, entry: &mut tar::Entry<'_, R>, target: &Target, real: &Path) -> io::Result<()> {
        let kind = entry.header().entry_type();
        if kind != EntryType::Directory
            && let Some(parent) = real.parent()
        {
            fs::create_dir_all(parent)?;
            // A link within the container must not lead to files of the machine that plays the node.
            if !parent.canonicalize()?.starts_with(self.node.root().canonicalize()?) {
                return Err(io::ErrorKind::NotFound.into());
            }
        }
        let exists = fs::symlink_metadata(real).is_ok();
        match kind {
            EntryType::Directory => fs::create_dir_all(real),
            EntryType::Regular | EntryType::Continuous => self.file(entry, target, real),
            // `--skip-old-files`
            _ if exists => Ok(()),
            EntryType::Symlink => std::os::unix::fs::symlink(entry.link_name()?.unwrap_or_default(), real),
            EntryType::Link => {
                let name = entry.link_name()?.unwrap_or_default().to_string_lossy().into_owned();
                let named = self.place(name.trim_start_matches('.'));
                let (target, below) = named.ok_or(io::ErrorKind::NotFound)?;
                let linked = self.node.path(&target.volume.path).join(below.trim_start_matches('/'));
                fs::hard_link(linked, real)
            }
            _ => Ok(()),
        }
    }

    /// Writes a file. An image takes it into memory first; only a subvolume tells at once that there is no room.
    fn file<R: Read>(&self, entry: &mut tar::Entry<'_, R>, target: &Target, real: &Path) -> io::Result<()> {
        // `--skip-old-files`
        let mut file = if real.exists() { None } else { Some(File::create(real)?) };
        let mut left = entry.size();
        let mut buffer = vec![0; 65_536];
        while left > 0 {
            let count = entry.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count as u64;
            self.node.spend(count as u64)?;
            if target.volume.format == "subvol" {
                target.room.take(count as u64)?;
            } else {
                target.cached.set(target.cached.get() + count as u64);
            }
            if let Some(file) = &mut file {
                file.write_all(&buffer[..count])?;
            }
        }
        Ok(())
    }

    /// What was held in memory goes to the storage, the innermost mount first. An image that finds no room loses its files
    /// after tar has left, so that nobody notices.
    fn unmount(&self) -> io::Result<()> {
        for target in &self.targets {
            if target.room.take(target.cached.get()).is_err() {
                let folder = self.node.path(&target.volume.path);
                fs::remove_dir_all(&folder)?;
                fs::create_dir(folder)?;
            }
        }
        Ok(())
    }

    /// Owners cannot be set without root; they stand in the volume's sidecar.
    fn keep_owners(&self) -> io::Result<()> {
        for (path, owners) in &self.owners {
            let known = self.node.sidecar(path);
            self.node.write_sidecar(path, &Sidecar { owners: owners.clone(), ..known })?;
        }
        Ok(())
    }
}

/// Counts what passes.
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// A size as tar shows it.
fn human(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{}KiB", bytes.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{}MiB", bytes.div_ceil(1_048_576)),
        _ => format!("{}GiB", bytes.div_ceil(1_073_741_824)),
    }
}
