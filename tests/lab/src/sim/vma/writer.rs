//! Writes archives as the real program does.

use std::fs::File;
use std::io::{self, Read, Write};

use super::header::Header;
use super::{BLOCK, CLUSTER, CLUSTER_BYTES, EXTENT_HEADER, md5_without};

const ZEROS: [u8; BLOCK] = [0; BLOCK];
/// The real writer leaves the last slot of an extent empty.
const SLOTS_USED: usize = 58;

/// An archive that is being written.
pub struct Writer<W: Write> {
    output: W,
    uuid: [u8; 16],
    slots: Vec<[u8; 8]>,
    blocks: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(mut output: W, header: &Header) -> io::Result<Self> {
        header.write(&mut output)?;
        Ok(Self { output, uuid: header.uuid, slots: Vec::new(), blocks: Vec::new() })
    }

    /// Adds one cluster of a device; `data` is shorter than a cluster only at the end of the device. Gives the
    /// number of its bytes that are not stored because they are zero.
    pub fn cluster(&mut self, device: u8, cluster: u32, data: &[u8]) -> io::Result<u64> {
        let mut mask = 0u16;
        let mut zeros = 0;
        for (i, block) in data.chunks(BLOCK).enumerate() {
            if block == &ZEROS[..block.len()] {
                zeros += block.len() as u64;
                continue;
            }
            mask |= 1 << i;
            self.blocks.extend_from_slice(block);
            self.blocks.resize(self.blocks.len().next_multiple_of(BLOCK), 0);
        }
        let [m1, m0] = mask.to_be_bytes();
        let [c3, c2, c1, c0] = cluster.to_be_bytes();
        self.slots.push([m1, m0, 0, device, c3, c2, c1, c0]);
        if self.slots.len() == SLOTS_USED {
            self.flush_extent()?;
        }
        Ok(zeros)
    }

    /// Writes the last extent. It may be one without any slot.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_extent()?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn flush_extent(&mut self) -> io::Result<()> {
        let count = u16::try_from(self.blocks.len() / BLOCK).map_err(io::Error::other)?;
        let mut header = [0; EXTENT_HEADER];
        header[..4].copy_from_slice(b"VMAE");
        header[6..8].copy_from_slice(&count.to_be_bytes());
        header[8..24].copy_from_slice(&self.uuid);
        for (entry, slot) in header[40..].chunks_exact_mut(8).zip(&self.slots) {
            entry.copy_from_slice(slot);
        }
        let md5 = md5_without(&header, 24);
        header[24..40].copy_from_slice(&md5);
        self.output.write_all(&header)?;
        self.output.write_all(&self.blocks)?;
        self.slots.clear();
        self.blocks.clear();
        Ok(())
    }
}

/// Writes a whole archive: each device of `header` with the data of `disks` at the same index, padded with
/// zeros where that is shorter. `progress` is told the bytes done so far and how many of them were not stored
/// because they are zero. Gives those zeros for each device.
pub fn write_disks<W: Write>(
    output: W,
    header: &Header,
    disks: &mut [Box<dyn Read + '_>],
    progress: &mut dyn FnMut(u64, u64),
) -> io::Result<(W, Vec<u64>)> {
    let mut writer = Writer::new(output, header)?;
    let mut zeros = vec![0; header.devices.len()];
    let mut buffer = vec![0; CLUSTER];
    let (mut done, mut all_zeros) = (0, 0);
    for ((device, disk), zeros) in header.devices.iter().zip(disks).zip(&mut zeros) {
        for cluster in 0..device.size.div_ceil(CLUSTER_BYTES) {
            let length = (device.size - cluster * CLUSTER_BYTES).min(CLUSTER_BYTES);
            let data = &mut buffer[..usize::try_from(length).map_err(io::Error::other)?];
            read_padded(disk, data)?;
            let cluster = u32::try_from(cluster).map_err(io::Error::other)?;
            let skipped = writer.cluster(device.id, cluster, data)?;
            *zeros += skipped;
            all_zeros += skipped;
            done += length;
            progress(done, all_zeros);
        }
    }
    Ok((writer.finish()?, zeros))
}

fn read_padded(disk: &mut impl Read, data: &mut [u8]) -> io::Result<()> {
    let mut have = 0;
    while have < data.len() {
        match disk.read(&mut data[have..]) {
            Ok(0) => break,
            Ok(length) => have += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data[have..].fill(0);
    Ok(())
}

/// A fresh identity for an archive.
pub fn random_uuid() -> io::Result<[u8; 16]> {
    let mut uuid = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut uuid)?;
    Ok(uuid)
}
