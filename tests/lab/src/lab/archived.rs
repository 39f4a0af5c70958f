//! What a backup holds, to compare it with what a guest's disks hold.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
};

use super::{
    Lab,
    inventory::{LEFT_BY_RESTORE, hex, of_tree},
};
use crate::sim::{
    compress::Compression,
    vma::{Disk, Reader, Target},
};
use sha2::{Digest as _, Sha256};

impl Lab {
    /// SHA-256 of each disk in an archive, as [`Lab::disk_sha256`] has it for the disk itself. An error when the archive
    /// is not complete.
    pub fn archive_sha256(&self, file: &str) -> io::Result<BTreeMap<String, String>> {
        let archive = File::open(self.archive(file))?;
        let input = Compression::of(file).reader(archive, file)?;
        if file.starts_with("vzdump-qemu-") { of_vm(input) } else { of_container(input) }
    }
}

/// A disk in memory.
struct Memory(Vec<u8>);

impl Disk for &mut Memory {
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let place = self.0.get_mut(start..start + data.len());
        place.ok_or_else(|| io::Error::other("past the end of the disk"))?.copy_from_slice(data);
        Ok(())
    }
}

fn of_vm(input: impl Read) -> io::Result<BTreeMap<String, String>> {
    let broken = |error| io::Error::other(format!("{error:?}"));
    let reader = Reader::open(input).map_err(broken)?;
    let mut disks = BTreeMap::new();
    for device in &reader.header().devices {
        let size = usize::try_from(device.size).map_err(io::Error::other)?;
        disks.insert(device.id, (device.name.clone(), Memory(vec![0; size])));
    }
    let targets =
        disks.iter_mut().map(|(id, (_, disk))| (*id, Target::Write { disk: Box::new(disk), zeros: false }));
    reader.restore(targets.collect(), None).map_err(broken)?;
    let named = |(name, disk): (String, Memory)| {
        (name.trim_start_matches("drive-").to_owned(), hex(&Sha256::digest(disk.0)))
    };
    Ok(disks.into_values().map(named).collect())
}

/// The whole tree is that of the root disk: containers of a lab have no other.
fn of_container(input: impl Read) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut archive = tar::Archive::new(input);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches('.').to_owned();
        if entry.header().entry_type().is_file() && !name.starts_with(LEFT_BY_RESTORE) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(name, hex(&Sha256::digest(content)));
        }
    }
    Ok(BTreeMap::from([("rootfs".to_owned(), of_tree(&files))]))
}
