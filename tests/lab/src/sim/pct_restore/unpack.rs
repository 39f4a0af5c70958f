//! Unpacking a container, as GNU tar does it for `pct restore`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tar::EntryType;

use super::archive::{Archive, is_tgz, words};
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
    if is_tgz(&archive.path) || !is_tar(&archive.path) {
        return Err(Failure::new(format!("file does not look like a template archive: {}", archive.path)));
    }
    task.line(&format!("extracting archive '{}'", archive.path))?;
    let mut pipe = archive.open(node)?;
    let mut counted = Counted { input: &mut pipe, bytes: 0 };
    let mut tree = Tree::new(node, targets, options.unprivileged)?;
    let outcome = tree.fill(&mut counted);
    let read = counted.bytes.next_multiple_of(RECORD);
    tree.keep_owners()?;
    if node.is_killed() {
        return Err(task.kill(Failure::killed("killed", 137)));
    }
    if node.is_interrupted() {
        return Err(Failure::new("interrupted by signal"));
    }
    let decompressor = pipe.failure().map(words);
    let lines = complaints(outcome, decompressor.as_deref());
    for line in &lines {
        task.line(line)?;
    }
    if lines.is_empty() || options.ignore {
        task.line(&format!("Total bytes read: {read} ({}, {})", human(read), "100MiB/s"))?;
    }
    if lines.is_empty() || options.ignore {
        return Ok(());
    }
    Err(Failure::new(format!("command '{}' failed: exit code 2", command(archive, options))))
}

fn is_tar(path: &str) -> bool {
    [".tar", ".tar.gz", ".tar.lzo", ".tar.zst", ".tar.bz2", ".tar.xz"].iter().any(|end| path.ends_with(end))
}

/// How unpacking ended, in the words of tar.
enum Trouble {
    /// The input ended within a member.
    Short,
    /// A file could not be written.
    Write(String),
}

fn complaints(outcome: Result<(), Trouble>, decompressor: Option<&str>) -> Vec<String> {
    let mut lines: Vec<String> = decompressor.map(str::to_owned).into_iter().collect();
    match outcome {
        Ok(()) if decompressor.is_some() => {
            lines.push("tar: Child returned status 1".into());
            lines.push("tar: Error is not recoverable: exiting now".into());
        }
        Ok(()) => {}
        Err(Trouble::Short) => {
            lines.push("tar: Unexpected EOF in archive".into());
            lines.push("tar: Unexpected EOF in archive".into());
            lines.push("tar: Error is not recoverable: exiting now".into());
        }
        Err(Trouble::Write(line)) => {
            lines.push(line);
            lines.push("tar: Exiting with failure status due to previous errors".into());
        }
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

/// The volumes being filled.
struct Tree<'n> {
    node: &'n Node,
    /// Longest mount path first, so that the first that fits is the right one.
    targets: Vec<(String, Volume, Room)>,
    owners: BTreeMap<String, BTreeMap<String, (u32, u32)>>,
    raised: u32,
}

impl<'n> Tree<'n> {
    fn new(node: &'n Node, targets: &[(String, Volume)], unprivileged: bool) -> Outcome<Self> {
        let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
        let mut sorted = Vec::new();
        for (path, volume) in targets {
            let storage = node.place(&volume.volid)?.storage;
            let room = rooms.entry(storage.id.clone()).or_insert_with(|| node.room(&storage)).clone();
            sorted.push((path.trim_end_matches('/').to_owned(), volume.clone(), room));
        }
        sorted.sort_by_key(|(path, _, _)| std::cmp::Reverse(path.len()));
        let raised = if unprivileged { MAPPED } else { 0 };
        Ok(Self { node, targets: sorted, owners: BTreeMap::new(), raised })
    }

    fn fill(&mut self, input: &mut impl Read) -> Result<(), Trouble> {
        let short = |_| Trouble::Short;
        let mut tar = tar::Archive::new(&mut *input);
        for entry in tar.entries().map_err(short)? {
            let mut entry = entry.map_err(short)?;
            if self.node.is_interrupted() {
                return Ok(());
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(path) = name.strip_prefix('.').map(|p| p.trim_end_matches('/').to_owned()) else {
                continue;
            };
            // The description of the container does not stay in it.
            if path.starts_with("/dev/") || path == "/etc/vzdump/pct.conf" {
                continue;
            }
            self.member(&mut entry, &path)?;
        }
        // The rest of the last record, where a decompressor may still find something wrong.
        io::copy(input, &mut io::sink()).map(drop).map_err(short)
    }

    fn member<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, path: &str) -> Result<(), Trouble> {
        let Some((volume, below, room)) = self.place(path) else { return Ok(()) };
        let real = self.node.path(&volume).join(below.trim_start_matches('/'));
        let cannot = |error: &io::Error| {
            Trouble::Write(format!("tar: .{path}: Cannot write: {}", crate::sim::tool::strerror(error)))
        };
        let made = match entry.header().entry_type() {
            EntryType::Directory => fs::create_dir_all(&real),
            EntryType::Symlink => link(entry, &real),
            EntryType::Regular | EntryType::Continuous => match self.file(entry, &real, &room) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Trouble::Short),
                made => made,
            },
            _ => Ok(()),
        };
        made.map_err(|error| cannot(&error))?;
        let number =
            |id: io::Result<u64>| u32::try_from(id.unwrap_or_default()).unwrap_or_default() + self.raised;
        let owner = (number(entry.header().uid()), number(entry.header().gid()));
        if owner != (0, 0) && !below.is_empty() {
            self.owners.entry(volume).or_default().insert(below, owner);
        }
        Ok(())
    }

    /// The volume that a path lies on: its path on the node, the path below its root, its storage's room.
    fn place(&self, path: &str) -> Option<(String, String, Room)> {
        self.targets.iter().find_map(|(mount, volume, room)| {
            let below = path.strip_prefix(mount.as_str())?;
            let fits = below.is_empty() || below.starts_with('/');
            fits.then(|| (volume.path.clone(), below.to_owned(), room.clone()))
        })
    }

    fn file<R: Read>(&self, entry: &mut tar::Entry<'_, R>, real: &PathBuf, room: &Room) -> io::Result<()> {
        if let Some(parent) = real.parent() {
            fs::create_dir_all(parent)?;
        }
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
            room.take(count as u64)?;
            if let Some(file) = &mut file {
                file.write_all(&buffer[..count])?;
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

fn link<R: Read>(entry: &tar::Entry<'_, R>, real: &Path) -> io::Result<()> {
    let target = entry.link_name()?.unwrap_or_default();
    if let Some(parent) = real.parent() {
        fs::create_dir_all(parent)?;
    }
    if fs::symlink_metadata(real).is_ok() {
        return Ok(());
    }
    std::os::unix::fs::symlink(target, real)
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
