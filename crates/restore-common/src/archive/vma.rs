//! VMA, version 1: the archives of VMs.
//!
//! Every check of the real reader is made here, and two more: each cluster of each disk has to be there (`vma verify` does
//! not look), and what the real program answers with an assertion is an error like any other.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    ops::{Range, RangeInclusive},
};

use md5::{Digest as _, Md5};

use super::{Contents, Damage, Defect, Extent, clusters::Clusters, stream::Stream};

/// Up to here every header is the same size.
const FIXED: usize = 12_288;
/// A header that is larger holds no configuration of a guest: 256 blobs of 64 KiB and their names.
const LARGEST_HEADER: usize = 34 << 20;
/// Of a header, this much has to be there before more room is taken for it.
const STEP: usize = 512 << 10;
const EXTENT_HEADER: usize = 512;
const SLOTS: usize = 59;
const BLOCK: usize = 4096;
const CLUSTER: u64 = 65_536;
const SECTOR: u64 = 512;
/// Device ids are one byte; 0 is "no slot" and the last one is reserved.
const IDS: Range<usize> = 1..255;
/// The real reader looks for the memory of a guest at the reserved one, too.
const NAMED: RangeInclusive<usize> = 1..=255;
/// How clusters are remembered by the real reader: in words of so many.
const WORD: u64 = 64;
/// The memory of a guest has rules of its own.
const VMSTATE: &str = "vmstate";
/// The file that it becomes when it is extracted.
const VMSTATE_FILE: &[u8] = b"vmstate.bin";
const CONFIG: &[u8] = b"qemu-server.conf";
/// The longest names: a configuration is written as `NAME.XXXXXX` first, and a disk as `tmp-disk-NAME.raw`. No file's name
/// has more than 255 bytes.
const LONGEST_CONFIG: usize = 248;
const LONGEST_DISK: usize = 242;
/// Where the positions of names and texts stand, and how many there are of each.
const CONFIG_NAMES: usize = 2044;
const CONFIG_TEXTS: usize = 3068;
const DEVICES: usize = 4096;
const ENTRIES: usize = 256;
/// More pages of clusters than this are begun by no backup at the same time: it would be 15 TiB of disks, written everywhere
/// ahead of the reading of them. It keeps a hostile archive from taking memory.
const MOST_PAGES: usize = 60_000;

/// A disk in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its name: `drive-scsi0`.
    pub name: String,
    /// Bytes.
    pub size: u64,
}

/// A disk, and which of its clusters were seen.
struct Disk {
    device: Device,
    seen: Clusters,
}

/// The memory of a guest: one stream, whose clusters come in order.
struct Memory {
    id: usize,
    /// The cluster that has to come next.
    next: u64,
}

struct Header {
    uuid: [u8; 16],
    config: Option<String>,
    disks: Vec<Option<Disk>>,
    memory: Option<Memory>,
}

/// The files that configurations become, and where each is named.
type Files<'a> = BTreeMap<&'a [u8], usize>;

/// Reads an archive.
pub(super) fn read<R: Read>(stream: &mut Stream<R>, extent: Extent) -> Result<Contents, Defect> {
    let mut header = read_header(stream)?;
    let mut data = 0;
    if extent == Extent::All {
        while let Some(bytes) = read_extent(stream, &mut header)? {
            data += bytes;
        }
        for disk in header.disks.iter().flatten() {
            disk.complete(stream.at())?;
        }
    }
    let devices = header.disks.into_iter().flatten().map(|disk| disk.device).collect();
    Ok(Contents { config: header.config, devices, members: 0, data })
}

fn read_header<R: Read>(stream: &mut Stream<R>) -> Result<Header, Defect> {
    let mut bytes = vec![0; FIXED];
    let there = stream.fill(&mut bytes)?;
    if there < FIXED {
        if there >= 4 && !bytes.starts_with(b"VMA\0") {
            return Err(Defect::new(Damage::Foreign, 0, "not a vma file - wrong magic number"));
        }
        return Err(Defect::new(Damage::Truncated, stream.at(), "can't read vma header - got EOF"));
    }
    let wrong = |offset: u64, reason: String| Err(Defect::new(Damage::Damaged, offset, reason));
    if !bytes.starts_with(b"VMA\0") {
        return Err(Defect::new(Damage::Foreign, 0, "not a vma file - wrong magic number"));
    }
    let size = u32_at(&bytes, 56) as usize;
    if size <= FIXED || size > LARGEST_HEADER {
        return wrong(56, format!("wrong vma header size {size}"));
    }
    while bytes.len() < size {
        let from = bytes.len();
        bytes.resize(size.min(from + STEP), 0);
        if stream.fill(&mut bytes[from..])? < bytes.len() - from {
            return Err(Defect::new(Damage::Truncated, stream.at(), "can't read vma header data - got EOF"));
        }
    }
    if md5_without(&bytes, 32) != bytes[32..48] {
        return wrong(32, "wrong vma header checksum".to_owned());
    }
    let version = u32_at(&bytes, 4);
    if version != 1 {
        return wrong(4, format!("wrong vma version {version}"));
    }
    let blobs = Blobs::read(blob_buffer(&bytes)?, &positions(&bytes));
    let (config, files) = configurations(&bytes, &blobs)?;
    let names = names(&bytes, &blobs)?;
    let disks = disks(&bytes, &names)?;
    check_files(&files, &disks, &names)?;
    let memory = names.iter().rposition(|name| is_memory(*name)).map(|id| Memory { id, next: 0 });
    Ok(Header { uuid: array(&bytes, 8), config, disks, memory })
}

/// Where names and texts are. The real reader adds in 32 bits: an end that wraps around lies in front of everything, and the
/// buffer is empty.
fn blob_buffer(bytes: &[u8]) -> Result<&[u8], Defect> {
    let (offset, length) = (u32_at(bytes, 48), u32_at(bytes, 52));
    let (begin, end) = (offset.wrapping_add(1), offset.wrapping_add(length));
    if begin as usize <= FIXED {
        return Err(Defect::new(Damage::Damaged, 48, format!("wrong vma blob buffer offset {offset}")));
    }
    // What begins in the last bytes of all wraps around behind its first length: the real reader looks outside.
    if end as usize > bytes.len() || (begin > end && begin.wrapping_add(2) <= end) {
        let reason = format!("wrong vma blob buffer size {offset}/{length}");
        return Err(Defect::new(Damage::Damaged, 52, reason));
    }
    Ok(bytes.get(offset as usize..end as usize).unwrap_or_default())
}

/// All positions in the blob buffer that the header names.
fn positions(bytes: &[u8]) -> BTreeSet<usize> {
    let entry = |index| {
        [CONFIG_NAMES + 4 * index, CONFIG_TEXTS + 4 * index, DEVICES + 32 * index]
            .map(|at| u32_at(bytes, at) as usize)
    };
    (0..ENTRIES).flat_map(entry).collect()
}

/// The configuration of the guest, and the files that all of them become. Every one has to be readable.
fn configurations<'a>(bytes: &[u8], blobs: &Blobs<'a>) -> Result<(Option<String>, Files<'a>), Defect> {
    let (mut found, mut files) = (None, BTreeMap::new());
    for index in 0..ENTRIES {
        let at = CONFIG_NAMES + 4 * index;
        let (name, data) = (u32_at(bytes, at), u32_at(bytes, CONFIG_TEXTS + 4 * index));
        if name == 0 || data == 0 {
            continue;
        }
        let (Some(name), Some(data)) = (blobs.name(name, at)?, blobs.get(data)) else {
            return Err(Defect::new(Damage::Damaged, at as u64, "vma contains invalid data pointers"));
        };
        let file = config_file(name).ok_or_else(|| no_file(at, name))?;
        files.insert(file, at);
        if file == CONFIG {
            found = Some(String::from_utf8_lossy(data).into_owned());
        }
    }
    Ok((found, files))
}

/// The file in the target directory that a configuration of this name becomes. Slashes and dots in front lead nowhere else.
///
/// The real program follows `..` out of its directory. That is no backup's name, and nobody wants it extracted: it is refused
/// here although the real program takes it.
fn config_file(name: &[u8]) -> Option<&[u8]> {
    let mut file = name;
    while let Some(rest) = file.strip_prefix(b"/").or_else(|| file.strip_prefix(b"./")) {
        file = rest;
    }
    let is_file = !matches!(file, b"" | b"." | b"..") && !file.contains(&b'/');
    (is_file && file.len() <= LONGEST_CONFIG).then_some(file)
}

/// The names of the devices that have a size, by their ids.
fn names<'a>(bytes: &[u8], blobs: &Blobs<'a>) -> Result<Vec<Option<&'a [u8]>>, Defect> {
    let name = |id: usize| {
        let at = DEVICES + 32 * id;
        // The real reader looks at each name, also where no size makes a device of it.
        let name = if NAMED.contains(&id) { blobs.name(u32_at(bytes, at), at)? } else { None };
        Ok(name.filter(|_| size_at(bytes, id) > 0))
    };
    (0..ENTRIES).map(name).collect()
}

fn is_memory(name: Option<&[u8]>) -> bool {
    name.is_some_and(|name| name == VMSTATE.as_bytes())
}

fn disks(bytes: &[u8], names: &[Option<&[u8]>]) -> Result<Vec<Option<Disk>>, Defect> {
    let disk = |(id, name): (usize, Option<&[u8]>)| {
        let Some(name) = name.filter(|_| IDS.contains(&id)) else { return Ok(None) };
        let at = DEVICES + 32 * id;
        if name.contains(&b'/') || name.len() > LONGEST_DISK {
            return Err(no_file(at, name));
        }
        let device = Device { name: String::from_utf8_lossy(name).into_owned(), size: size_at(bytes, id) };
        if device.name != VMSTATE && device.size.div_ceil(CLUSTER) > clusters_remembered(device.size) {
            // Its last sector is not a whole one, and the only one of its word.
            let reason = format!("the last cluster of {} cannot be restored", device.name);
            return Err(Defect::new(Damage::Damaged, at as u64 + 8, reason));
        }
        Ok(Some(Disk { device, seen: Clusters::default() }))
    };
    names.iter().copied().enumerate().map(disk).collect()
}

/// How many clusters of a disk the real reader can remember. It counts whole sectors, so that a disk that ends in a part of
/// one can lose its last cluster. By the description of the format the words cover every size; in the program they do not.
fn clusters_remembered(size: u64) -> u64 {
    (size / SECTOR).div_ceil(WORD * CLUSTER / SECTOR) * WORD
}

/// No two things become the same file, where the real program does not write over the first.
fn check_files(configs: &Files<'_>, disks: &[Option<Disk>], names: &[Option<&[u8]>]) -> Result<(), Defect> {
    let mut taken = BTreeSet::new();
    for (id, name) in names.iter().enumerate().filter(|(id, _)| disks[*id].is_some()) {
        let at = (DEVICES + 32 * id) as u64;
        if !taken.insert(name) {
            let name = String::from_utf8_lossy(name.unwrap_or_default());
            return Err(Defect::new(Damage::Damaged, at, format!("two devices have the name `{name}`")));
        }
        if is_memory(*name) && configs.contains_key(VMSTATE_FILE) {
            let reason = "a configuration takes the place of the guest's memory, `vmstate.bin`";
            return Err(Defect::new(Damage::Damaged, at, reason));
        }
    }
    Ok(())
}

/// Everything in an archive becomes a file of that name when it is extracted.
fn no_file(at: usize, name: &[u8]) -> Defect {
    let name = String::from_utf8_lossy(name);
    Defect::new(Damage::Damaged, at as u64, format!("no file can have the name `{name}`"))
}

/// The pieces of the blob buffer that are wanted, by their positions. Others are not kept: there may be millions.
struct Blobs<'a>(BTreeMap<usize, &'a [u8]>);

impl<'a> Blobs<'a> {
    /// One that crosses the end is dropped.
    fn read(buffer: &'a [u8], wanted: &BTreeSet<usize>) -> Self {
        let mut found = BTreeMap::new();
        let mut at = 1;
        while let Some(length) = buffer.get(at..at + 2) {
            let start = at + 2;
            let end = start + usize::from(u16::from_le_bytes([length[0], length[1]]));
            let Some(blob) = buffer.get(start..end) else { break };
            if wanted.contains(&at) {
                found.insert(at, blob);
            }
            at = end;
        }
        Self(found)
    }

    fn get(&self, position: u32) -> Option<&'a [u8]> {
        self.0.get(&(position as usize)).copied()
    }

    /// A name ends with a NUL, and so does what is shown of it. In an empty one the real reader looks for that NUL outside of
    /// its memory and dies.
    fn name(&self, position: u32, named_at: usize) -> Result<Option<&'a [u8]>, Defect> {
        let Some(blob) = self.get(position) else { return Ok(None) };
        if blob.is_empty() {
            return Err(Defect::new(Damage::Damaged, named_at as u64, "a name has no end"));
        }
        let text = blob.strip_suffix(b"\0");
        Ok(text.and_then(|text| text.split(|byte| *byte == 0).next()))
    }
}

/// Reads one extent: bytes of guest data in it, or `None` at the end of the archive.
fn read_extent<R: Read>(stream: &mut Stream<R>, header: &mut Header) -> Result<Option<u64>, Defect> {
    let begin = stream.at();
    let mut head = [0; EXTENT_HEADER];
    match stream.fill(&mut head)? {
        0 => return Ok(None),
        EXTENT_HEADER => {}
        short => {
            let reason = format!("read short extent ({short} bytes)");
            return Err(Defect::new(Damage::Truncated, begin, reason));
        }
    }
    let wrong = |reason: &str| Err(Defect::new(Damage::Damaged, begin, reason));
    if md5_without(&head, 24) != head[24..40] {
        return wrong("wrong vma extent header checksum");
    }
    if head[8..24] != header.uuid {
        return wrong("wrong vma extent uuid");
    }
    if !head.starts_with(b"VMAE\0\0") {
        return wrong("wrong vma extent header magic");
    }
    let stored = usize::from(u16::from_be_bytes([head[6], head[7]]));
    let masks =
        (0..SLOTS).filter_map(|slot| Slot::read(&head, slot)).map(|slot| slot.mask.count_ones() as usize);
    let described: usize = masks.sum();
    let length = (stored * BLOCK) as u64;
    let passed = stream.skip(length)?;
    if passed < length {
        let [have, need] = [passed, length].map(|bytes| EXTENT_HEADER as u64 + bytes);
        let reason = format!("short vma extent ({have} < {need})");
        return Err(Defect::new(Damage::Truncated, begin, reason));
    }
    for slot in (0..SLOTS).filter_map(|slot| Slot::read(&head, slot)) {
        slot.check(header).map_err(|reason| Defect::new(Damage::Damaged, begin, reason))?;
    }
    if header.disks.iter().flatten().map(|disk| disk.seen.pages()).sum::<usize>() > MOST_PAGES {
        return wrong("the clusters are more scattered than a backup's");
    }
    match described.cmp(&stored) {
        std::cmp::Ordering::Less => wrong("vma extent error - missing blocks"),
        std::cmp::Ordering::Greater => wrong("short vma extent - too many blocks"),
        std::cmp::Ordering::Equal => Ok(Some(length)),
    }
}

/// One cluster in an extent.
struct Slot {
    mask: u16,
    id: usize,
    cluster: u64,
}

impl Slot {
    /// `None` for an empty one, whatever the rest of it says.
    fn read(head: &[u8; EXTENT_HEADER], slot: usize) -> Option<Self> {
        let at = 40 + 8 * slot;
        let id = usize::from(head[at + 3]);
        (id != 0).then(|| Self {
            mask: u16::from_be_bytes([head[at], head[at + 1]]),
            id,
            cluster: u64::from(u32_at(head, at + 4)),
        })
    }

    fn check(&self, header: &mut Header) -> Result<(), String> {
        if let Some(memory) = header.memory.as_mut().filter(|memory| memory.id == self.id) {
            // Memory has no size to exceed; its clusters come in order.
            if self.cluster != memory.next {
                return Err("found out of order vmstate data".to_owned());
            }
            memory.next += 1;
            return Ok(());
        }
        let disk = header.disks.get_mut(self.id).and_then(Option::as_mut);
        let disk = disk.filter(|disk| disk.device.name != VMSTATE);
        let disk = disk.ok_or_else(|| format!("got wrong dev id {}", self.id))?;
        let name = &disk.device.name;
        if self.cluster >= clusters_remembered(disk.device.size) {
            return Err(format!("cluster {} lies far beyond the end of {name}", self.cluster));
        }
        if self.stores_beyond(disk.device.size) {
            return Err("got wrong block address - write beyond end".to_owned());
        }
        if !disk.seen.add(self.cluster) {
            return Err(format!("found duplicated cluster {} for stream {name}", self.cluster));
        }
        Ok(())
    }

    /// Whether a piece of it that is stored begins behind the last sector of the disk. A full cluster is one piece.
    fn stores_beyond(&self, size: u64) -> bool {
        let last = match self.mask {
            u16::MAX => 0,
            mask => u64::from(15 - mask.leading_zeros().min(15)),
        };
        self.mask != 0 && self.cluster * CLUSTER + last * BLOCK as u64 >= size / SECTOR * SECTOR
    }
}

impl Disk {
    /// A guest's memory has no size to fill: its clusters only have to come in order.
    fn complete(&self, at: u64) -> Result<(), Defect> {
        if self.device.name == VMSTATE {
            return Ok(());
        }
        let clusters = self.device.size.div_ceil(CLUSTER);
        match self.seen.first_missing(clusters) {
            None => Ok(()),
            Some(missing) => {
                let reason = format!("detected missing cluster {missing} for stream {}", self.device.name);
                Err(Defect::new(Damage::Incomplete, at, reason))
            }
        }
    }
}

/// MD5 of some bytes, those of the sum itself taken as zero.
fn md5_without(bytes: &[u8], at: usize) -> [u8; 16] {
    let sum = Md5::new().chain_update(&bytes[..at]).chain_update([0; 16]).chain_update(&bytes[at + 16..]);
    sum.finalize().into()
}

/// The size of a device.
fn size_at(bytes: &[u8], id: usize) -> u64 {
    u64::from_be_bytes(array(bytes, DEVICES + 32 * id + 8))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

/// Bytes from a place that is known to be there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
