//! Reads an archive as the real program does: the same checks, in the same order, with the same words.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use super::header::Header;
use super::parsed::{Entry, Parsed};
use super::totals::{Progress, Totals};
use super::{BLOCK, CLUSTER, CLUSTER_BYTES, EXTENT_HEADER, Error, SECTOR, SLOTS, be16, be32, md5_without};
use crate::sim::tool::strerror;

const LARGEST_EXTENT: usize = EXTENT_HEADER + SLOTS * CLUSTER;
const EXTENT_MD5: usize = 24;
const SLOT_TABLE: usize = 40;
const FULL: u16 = 0xffff;

const NO_BITMAP: Error =
    Error::Assertion("../vma-reader.c:68: vma_reader_get_bitmap: Assertion `rstate->bitmap'");
const BITMAP_TOO_SMALL: Error =
    Error::Assertion("../vma-reader.c:74: vma_reader_get_bitmap: Assertion `rstate->bitmap_size > idx'");
const NO_BITMAP_AT_END: Error =
    Error::Assertion("../vma-reader.c:811: vma_reader_restore_full: Assertion `rstate->bitmap'");
/// The clusters of a device are remembered in words of this many.
const WORD: u64 = 64;
/// What a node has no memory for.
const TOO_MUCH_MEMORY: u64 = 16 << 30;

/// Where the data of a device goes.
pub trait Disk {
    /// Writes all of `data` at `offset`.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
}

impl Disk for File {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_all_at(data, offset)
    }
}

/// What to do with a device of the archive.
pub enum Target<'a> {
    /// Leave its data out, and do not ask whether it is complete.
    Skip,
    /// Write its data.
    Write {
        /// The disk, at least as large as the device.
        disk: Box<dyn Disk + 'a>,
        /// Whether blocks of zeros are written too; a new disk is zero already.
        zeros: bool,
    },
}

/// An open archive whose header is good.
pub struct Reader<R> {
    input: R,
    parsed: Parsed,
    header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads and checks the header, and nothing after it.
    pub fn open(mut input: R) -> Result<Self, Error> {
        let parsed = Parsed::read(&mut input)?;
        let header = Header::from(&parsed);
        Ok(Self { input, parsed, header })
    }

    /// Configurations and devices, their names as text.
    pub fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn parsed(&self) -> &Parsed {
        &self.parsed
    }

    /// What `vma verify` checks: everything but the payload and whether clusters are missing.
    ///
    /// With `progress` a small archive ends in [`Error::DivisionByZero`], as with `-v` on a node.
    pub fn verify(self, progress: Option<&mut dyn FnMut(Progress)>) -> Result<Totals, Error> {
        let check = |device: &Entry| Some((device.clone(), None));
        let devices = self.parsed.devices.iter().filter_map(check).collect();
        Walk::new(self, devices, progress)?.run()
    }

    /// What `vma extract` and a restore do: as [`Reader::verify`], and the data goes to `targets` (by device
    /// ID), each of which must get all of its clusters. That of a RAM image goes nowhere.
    pub fn restore(
        self,
        targets: BTreeMap<u8, Target<'_>>,
        progress: Option<&mut dyn FnMut(Progress)>,
    ) -> Result<Totals, Error> {
        self.restore_with_vmstate(targets, None, progress)
    }

    /// The same, and the data of a RAM image is added to a file.
    pub(super) fn restore_with_vmstate(
        self,
        mut targets: BTreeMap<u8, Target<'_>>,
        vmstate: Option<File>,
        progress: Option<&mut dyn FnMut(Progress)>,
    ) -> Result<Totals, Error> {
        let disks = self.parsed.devices.iter().filter(|device| !device.is_vmstate());
        let devices = disks
            .filter_map(|device| targets.remove(&device.id).map(|target| (device.clone(), Some(target))))
            .collect();
        let mut walk = Walk::new(self, devices, progress)?;
        walk.restores = true;
        walk.vmstate_file = vmstate;
        walk.run()
    }
}

/// The state of one pass over the extents.
struct Walk<'a, 't, R> {
    input: R,
    parsed: Parsed,
    restores: bool,
    devices: BTreeMap<u8, Registered<'t>>,
    vmstate_file: Option<File>,
    progress: Option<&'a mut dyn FnMut(Progress)>,
    vmstate_clusters: u32,
    totals: Totals,
    percent: u64,
    /// What 100 % is: the whole clusters of all devices.
    whole_clusters: u64,
    start: Instant,
}

/// A device whose clusters are remembered.
struct Registered<'t> {
    entry: Entry,
    /// None where nothing is written because nothing is restored.
    target: Option<Target<'t>>,
    seen: Bitmap,
}

struct Slot {
    mask: u16,
    device: u8,
    cluster: u32,
}

impl<'a, 't, R: Read> Walk<'a, 't, R> {
    fn new(
        reader: Reader<R>,
        devices: Vec<(Entry, Option<Target<'t>>)>,
        progress: Option<&'a mut dyn FnMut(Progress)>,
    ) -> Result<Self, Error> {
        let whole_clusters = devices.iter().map(|(entry, _)| entry.size / CLUSTER_BYTES).sum();
        let registered = |(entry, target): (Entry, _)| {
            let seen = Bitmap::new(entry.size)?;
            Ok((entry.id, Registered { entry, target, seen }))
        };
        Ok(Self {
            input: reader.input,
            parsed: reader.parsed,
            restores: false,
            devices: devices.into_iter().map(registered).collect::<Result<_, Error>>()?,
            vmstate_file: None,
            progress,
            vmstate_clusters: 0,
            totals: Totals::default(),
            percent: 0,
            whole_clusters,
            start: Instant::now(),
        })
    }

    fn run(mut self) -> Result<Totals, Error> {
        let mut extent = vec![0; LARGEST_EXTENT];
        while let Some(length) = self.read_extent(&mut extent)? {
            self.extent(&extent[..length])?;
        }
        self.check_complete()?;
        Ok(self.totals)
    }

    /// Reads one extent and checks its header; gives its length, or nothing at the end of the archive.
    fn read_extent(&mut self, extent: &mut [u8]) -> Result<Option<usize>, Error> {
        let data = |text: String| Err(Error::Data(text.into()));
        let header = self.fill(&mut extent[..EXTENT_HEADER])?;
        match header {
            0 => return Ok(None),
            EXTENT_HEADER => {}
            short => return data(format!("read short extent ({short} bytes)")),
        }
        let header = &extent[..EXTENT_HEADER];
        if header[EXTENT_MD5..EXTENT_MD5 + 16] != md5_without(header, EXTENT_MD5) {
            return data("wrong vma extent header chechsum".into());
        }
        if header[8..24] != self.parsed.uuid {
            return data("wrong vma extent uuid".into());
        }
        if &header[..4] != b"VMAE" || be16(header, 4) != 0 {
            return data("wrong vma extent header magic".into());
        }
        let need = EXTENT_HEADER + usize::from(be16(header, 6)) * BLOCK;
        let end = need.min(LARGEST_EXTENT);
        let have = EXTENT_HEADER + self.fill(&mut extent[EXTENT_HEADER..end])?;
        if have < need {
            return data(format!("short vma extent ({have} < {need})"));
        }
        Ok(Some(need))
    }

    /// Reads until `buffer` is full or the input ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut have = 0;
        while have < buffer.len() {
            match self.input.read(&mut buffer[have..]) {
                Ok(0) => break,
                Ok(length) => have += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::Data(format!("read failed - {}", strerror(&error)).into()));
                }
            }
        }
        Ok(have)
    }

    fn extent(&mut self, extent: &[u8]) -> Result<(), Error> {
        let mut data = EXTENT_HEADER;
        for i in 0..SLOTS {
            let at = SLOT_TABLE + 8 * i;
            let slot = Slot { mask: be16(extent, at), device: extent[at + 3], cluster: be32(extent, at + 4) };
            if slot.device != 0 {
                self.slot(&slot, extent, &mut data)?;
            }
        }
        if data != extent.len() {
            return Err(Error::Data("vma extent error - missing blocks".into()));
        }
        Ok(())
    }

    fn slot(&mut self, slot: &Slot, extent: &[u8], data: &mut usize) -> Result<(), Error> {
        let sectors = if self.is_vmstate(slot) {
            self.next_vmstate_cluster(slot.cluster)?;
            u64::MAX / SECTOR
        } else {
            self.mark_seen(slot)?
        };
        self.totals.clusters += 1;
        self.report_progress()?;

        let usable = sectors * SECTOR;
        if slot.mask == FULL {
            return self.stored(slot, 0, take(extent, data, CLUSTER)?, usable);
        }
        for block in 0..16 {
            let offset = block * BLOCK;
            if slot.mask & (1 << block) == 0 {
                self.zeros(slot, offset, usable)?;
            } else {
                self.stored(slot, offset, take(extent, data, BLOCK)?, usable)?;
            }
        }
        Ok(())
    }

    fn is_vmstate(&self, slot: &Slot) -> bool {
        self.parsed.vmstate == Some(slot.device)
    }

    fn next_vmstate_cluster(&mut self, cluster: u32) -> Result<(), Error> {
        if cluster != self.vmstate_clusters {
            return Err(Error::Data("found out of order vmstate data".into()));
        }
        self.vmstate_clusters = self.vmstate_clusters.wrapping_add(1);
        Ok(())
    }

    /// Gives the sectors of the device.
    fn mark_seen(&mut self, slot: &Slot) -> Result<u64, Error> {
        let Some(device) = self.devices.get_mut(&slot.device) else {
            let wrong = format!("got wrong dev id {}", slot.device);
            return Err(if self.restores { Error::Data(wrong.into()) } else { NO_BITMAP });
        };
        let skipped = matches!(device.target, Some(Target::Skip));
        if !skipped && !device.seen.insert(slot.cluster)? {
            let text = format!("found duplicated cluster {} for stream ", slot.cluster);
            return Err(Error::Data([text.as_bytes(), &device.entry.name].concat()));
        }
        Ok(device.entry.size / SECTOR)
    }

    fn report_progress(&mut self) -> Result<(), Error> {
        let Some(report) = &mut self.progress else { return Ok(()) };
        let percent =
            (self.totals.clusters * 100).checked_div(self.whole_clusters).ok_or(Error::DivisionByZero)?;
        if percent != self.percent {
            self.percent = percent;
            report(Progress {
                percent,
                bytes: self.totals.clusters * CLUSTER_BYTES,
                seconds: self.start.elapsed().as_secs(),
            });
        }
        Ok(())
    }

    /// A stored piece of a cluster: what lies beyond the end of the device is cut, but not all of it may.
    fn stored(&mut self, slot: &Slot, offset: usize, data: &[u8], usable: u64) -> Result<(), Error> {
        let at = u64::from(slot.cluster) * CLUSTER_BYTES + offset as u64;
        let length = usable.saturating_sub(at).min(data.len() as u64);
        if length == 0 {
            return Err(Error::Data("got wrong block address - write beyond end".into()));
        }
        let length = usize::try_from(length).unwrap_or(data.len());
        if self.is_vmstate(slot) {
            return self.append_vmstate(data);
        }
        match self.target(slot.device) {
            Some(Target::Write { disk, .. }) => {
                disk.write_at(at, &data[..length]).map_err(|e| pwrite_failed(&e))
            }
            _ => Ok(()),
        }
    }

    /// Blocks follow each other without the zeros between them.
    fn append_vmstate(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.vmstate_file else { return Ok(()) };
        file.write_all(data).map_err(|_| Error::Data("write vmstate failed -1".into()))
    }

    fn zeros(&mut self, slot: &Slot, offset: usize, usable: u64) -> Result<(), Error> {
        let at = u64::from(slot.cluster) * CLUSTER_BYTES + offset as u64;
        let length = usable.saturating_sub(at).min(BLOCK as u64);
        self.totals.zero_bytes += length;
        if slot.mask != 0 {
            self.totals.partial_zero_bytes += length;
        }
        let length = usize::try_from(length).unwrap_or(BLOCK);
        match self.target(slot.device) {
            Some(Target::Write { disk, zeros: true }) if length > 0 => {
                disk.write_at(at, &[0; BLOCK][..length]).map_err(|e| pwrite_failed(&e))
            }
            _ => Ok(()),
        }
    }

    fn target(&mut self, device: u8) -> Option<&mut Target<'t>> {
        self.devices.get_mut(&device)?.target.as_mut()
    }

    /// Only a restore asks whether anything is missing.
    fn check_complete(&self) -> Result<(), Error> {
        let written = |device: &&Registered<'_>| matches!(device.target, Some(Target::Write { .. }));
        for Registered { entry, seen, .. } in self.devices.values().filter(written) {
            if seen.words == 0 {
                return Err(NO_BITMAP_AT_END);
            }
            if let Some(missing) = seen.first_missing(entry.size.div_ceil(CLUSTER_BYTES))? {
                let text = format!("detected missing cluster {missing} for stream ");
                return Err(Error::Data([text.as_bytes(), &entry.name].concat()));
            }
        }
        Ok(())
    }
}

/// The next `length` bytes of the extent's data.
fn take<'e>(extent: &'e [u8], at: &mut usize, length: usize) -> Result<&'e [u8], Error> {
    let piece = extent.get(*at..*at + length);
    *at += length;
    piece.ok_or_else(|| Error::Data("short vma extent - too many blocks".into()))
}

/// The real program asks for the name of a device that has none: two blanks.
fn pwrite_failed(error: &io::Error) -> Error {
    let errno = match error.kind() {
        io::ErrorKind::StorageFull => 28,
        _ => error.raw_os_error().unwrap_or(5),
    };
    Error::Data(format!("blk_pwrite to  failed (-{errno})").into())
}

/// How many words the real program takes for the clusters of a device. It counts whole sectors: a device that ends in a part
/// of one can have a cluster that no word is for, and one below 512 bytes has no word at all. The description of the format
/// says otherwise; the program decides.
pub(super) fn bitmap_words(size: u64) -> Result<u64, Error> {
    let words = (size / SECTOR).div_ceil(WORD * CLUSTER_BYTES / SECTOR);
    let bytes = words * 8;
    if bytes >= TOO_MUCH_MEMORY {
        let text = format!("../../../glib/gmem.c:169: failed to allocate {bytes} bytes");
        return Err(Error::Refused(text.into()));
    }
    Ok(words)
}

/// The clusters of a device that were seen, 64 to a word; a lying header costs no memory.
struct Bitmap {
    words: u64,
    set: HashMap<u64, u64>,
}

impl Bitmap {
    fn new(size: u64) -> Result<Self, Error> {
        Ok(Self { words: bitmap_words(size)?, set: HashMap::new() })
    }

    /// Whether the cluster was new.
    fn insert(&mut self, cluster: u32) -> Result<bool, Error> {
        let cluster = u64::from(cluster);
        let new = !self.contains(cluster)?;
        *self.set.entry(cluster / WORD).or_default() |= 1 << (cluster % WORD);
        Ok(new)
    }

    fn contains(&self, cluster: u64) -> Result<bool, Error> {
        let (word, bit) = (cluster / WORD, 1 << (cluster % WORD));
        match self.words {
            0 => Err(NO_BITMAP),
            words if words <= word => Err(BITMAP_TOO_SMALL),
            _ => Ok(self.set.get(&word).is_some_and(|word| word & bit != 0)),
        }
    }

    fn first_missing(&self, clusters: u64) -> Result<Option<u64>, Error> {
        for cluster in 0..clusters {
            if !self.contains(cluster)? {
                return Ok(Some(cluster));
            }
        }
        Ok(None)
    }
}
