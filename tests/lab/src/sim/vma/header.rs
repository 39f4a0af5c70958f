//! The header of an archive: configurations and devices.

use std::io::{self, Write};

use super::parsed::Parsed;
use super::{VMA_FIXED, md5_without};

/// The device name that is reserved for a RAM image.
pub const VMSTATE: &str = "vmstate";

pub(super) const MAGIC: &[u8; 4] = b"VMA\0";
pub(super) const MD5: usize = 32;
pub(super) const NAMES: usize = 2044;
pub(super) const DATA: usize = 3068;
pub(super) const DEVICES: usize = 4096;
pub(super) const TABLE: usize = 256;

/// A configuration file inside an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// File name, such as `qemu-server.conf`.
    pub name: String,
    /// Content, at most 65535 bytes.
    pub data: Vec<u8>,
}

/// A disk inside an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// 1 to 254.
    pub id: u8,
    /// Such as `drive-scsi0`.
    pub name: String,
    /// In bytes, more than 0.
    pub size: u64,
}

/// What stands in front of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Repeated in every extent.
    pub uuid: [u8; 16],
    /// Seconds since 1970, when the archive was begun.
    pub ctime: i64,
    /// In the order of the archive.
    pub configs: Vec<Config>,
    /// In the order of their IDs.
    pub devices: Vec<Device>,
}

impl Header {
    /// The configuration called `name`.
    pub fn config(&self, name: &str) -> Option<&[u8]> {
        self.configs.iter().find(|config| config.name == name).map(|config| config.data.as_slice())
    }

    /// The device with this ID.
    pub fn device(&self, id: u8) -> Option<&Device> {
        self.devices.iter().find(|device| device.id == id)
    }

    /// What `vma list` prints: a line a configuration and device, and the time last.
    pub fn listing(&self) -> Vec<String> {
        let listing = Parsed::from(self).listing();
        String::from_utf8_lossy(&listing).lines().map(str::to_owned).collect()
    }

    /// Writes the header in the layout of the real writer.
    pub(super) fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let mut fixed = vec![0; VMA_FIXED];
        let mut blobs = BlobTable::new();
        if self.configs.len() > TABLE {
            return Err(io::Error::other("too many configurations for one archive"));
        }
        for (i, config) in self.configs.iter().enumerate() {
            put32(&mut fixed, NAMES + 4 * i, blobs.add_name(&config.name)?);
            put32(&mut fixed, DATA + 4 * i, blobs.add(&config.data)?);
        }
        for device in &self.devices {
            let entry = DEVICES + 32 * usize::from(device.id);
            put32(&mut fixed, entry, blobs.add_name(&device.name)?);
            fixed[entry + 8..entry + 16].copy_from_slice(&device.size.to_be_bytes());
        }
        fixed[..4].copy_from_slice(MAGIC);
        put32(&mut fixed, 4, 1);
        fixed[8..24].copy_from_slice(&self.uuid);
        fixed[24..32].copy_from_slice(&self.ctime.to_be_bytes());
        put32(&mut fixed, 48, as_u32(VMA_FIXED)?);
        put32(&mut fixed, 52, as_u32(blobs.used)?);
        put32(&mut fixed, 56, as_u32(VMA_FIXED + blobs.bytes.len())?);
        fixed.append(&mut blobs.bytes);
        let md5 = md5_without(&fixed, MD5);
        fixed[MD5..MD5 + 16].copy_from_slice(&md5);
        output.write_all(&fixed)
    }
}

/// The blob buffer as the real writer fills it: it starts with 512 bytes and grows in steps of 512.
struct BlobTable {
    bytes: Vec<u8>,
    used: usize,
}

impl BlobTable {
    fn new() -> Self {
        // Position 0 means "none", so the first byte stays unused.
        Self { bytes: vec![0; 512], used: 1 }
    }

    fn add_name(&mut self, name: &str) -> io::Result<u32> {
        self.add(&[name.as_bytes(), b"\0"].concat())
    }

    fn add(&mut self, blob: &[u8]) -> io::Result<u32> {
        let length =
            u16::try_from(blob.len()).map_err(|_| io::Error::other("blob is larger than 65535 bytes"))?;
        let (position, end) = (self.used, self.used + 2 + blob.len());
        if end > self.bytes.len() {
            self.bytes.resize(self.bytes.len() + (blob.len() + 2).next_multiple_of(512), 0);
        }
        self.bytes[position..position + 2].copy_from_slice(&length.to_le_bytes());
        self.bytes[position + 2..end].copy_from_slice(blob);
        self.used = end;
        as_u32(position)
    }
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn as_u32(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::other("header does not fit into 4 GiB"))
}
