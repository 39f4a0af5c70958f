//! New qcow2 images with preallocated metadata: guest data lies in one piece behind the tables.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const CLUSTER: u64 = 65536;
const L2_ENTRIES: u64 = CLUSTER / 8;
const REFCOUNTS: u64 = CLUSTER / 2;
const COPIED: u64 = 1 << 63;

/// Writes the metadata of an empty image; gives where its data begins.
pub fn create(file: &File, size: u64) -> io::Result<u64> {
    let data_clusters = size.div_ceil(CLUSTER);
    let l2_tables = data_clusters.div_ceil(L2_ENTRIES).max(1);
    let fixed = 3 + l2_tables; // header, refcount table, L1 table, L2 tables
    let blocks = (fixed + data_clusters).div_ceil(REFCOUNTS - 1);
    let (l1, l2) = (2 + blocks, 3 + blocks);
    let data = l2 + l2_tables;
    let total = data + data_clusters;

    let mut header = Vec::with_capacity(104);
    header.extend(b"QFI\xfb");
    let mut put32 = |value: u64| header.extend(u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes());
    [3, 0, 0, 0, 16].into_iter().for_each(&mut put32); // version, no backing file, 64 KiB clusters
    [size >> 32, size & 0xffff_ffff, 0, l2_tables].into_iter().for_each(&mut put32);
    for offset in [l1 * CLUSTER, CLUSTER] {
        put32(offset >> 32);
        put32(offset & 0xffff_ffff);
    }
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 104].into_iter().for_each(&mut put32); // 16-bit refcounts, header length
    file.set_len(total * CLUSTER)?;
    file.write_all_at(&header, 0)?;
    write_table(file, CLUSTER, (0..blocks).map(|n| (2 + n) * CLUSTER))?;
    write_table(file, l1 * CLUSTER, (0..l2_tables).map(|n| ((l2 + n) * CLUSTER) | COPIED))?;
    write_table(file, l2 * CLUSTER, (0..data_clusters).map(|n| ((data + n) * CLUSTER) | COPIED))?;
    let counts: Vec<u8> = (0..total).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.write_all_at(&counts, 2 * CLUSTER)?;
    Ok(data * CLUSTER)
}

/// The virtual size and the place of the data of an image made by [`create`].
pub fn layout(file: &File) -> io::Result<(u64, u64)> {
    let mut header = [0; 104];
    file.read_exact_at(&mut header, 0)?;
    let at = |offset: usize| -> u64 {
        header[offset..offset + 8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    if &header[..4] != b"QFI\xfb" {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a qcow2 image"));
    }
    let size = at(24);
    let l2_tables = size.div_ceil(CLUSTER).div_ceil(L2_ENTRIES).max(1);
    Ok((size, at(40) + (1 + l2_tables) * CLUSTER))
}

fn write_table(file: &File, at: u64, entries: impl Iterator<Item = u64>) -> io::Result<()> {
    let bytes: Vec<u8> = entries.flat_map(u64::to_be_bytes).collect();
    file.write_all_at(&bytes, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_size_that_the_real_tool_gives_it() {
        let file = tempfile::tempfile().unwrap();
        let data = create(&file, 1 << 20).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1_376_256);
        assert_eq!(layout(&file).unwrap(), (1 << 20, data));
    }
}
