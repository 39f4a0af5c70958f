//! The header of an archive: configurations and devices.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::{Error, VMA_FIXED, be32, be64, md5_without};

/// The device name that is reserved for a RAM image.
pub const VMSTATE: &str = "vmstate";

const MAGIC: &[u8; 4] = b"VMA\0";
const MD5: usize = 32;
const NAMES: usize = 2044;
const DATA: usize = 3068;
const DEVICES: usize = 4096;
const TABLE: usize = 256;
/// Device 255 is reserved: every command ignores it.
const USABLE_DEVICES: std::ops::Range<u8> = 1..255;

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
        let configs = self
            .configs
            .iter()
            .map(|config| format!("CFG: size: {} name: {}", config.data.len(), config.name));
        let devices = self.devices.iter().map(|device| match device.name.as_str() {
            VMSTATE => format!("VMSTATE: dev_id={} memory: {}", device.id, device.size),
            name => format!("DEV: dev_id={} size: {} devname: {name}", device.id, device.size),
        });
        configs.chain(devices).chain([format!("CTIME: {}", ctime_text(self.ctime))]).collect()
    }

    pub(super) fn read(input: &mut impl Read) -> Result<Self, Error> {
        let refuse = |text: String| Err(Error::Refused(text));
        let mut bytes = Vec::new();
        read_to(input, &mut bytes, VMA_FIXED, "header")?;
        if &bytes[..4] != MAGIC {
            return refuse("not a vma file - wrong magic number".into());
        }
        let size = be32(&bytes, 56) as usize;
        if size <= VMA_FIXED {
            return refuse(format!("wrong vma header size {size}"));
        }
        read_to(input, &mut bytes, size, "header data")?;
        if bytes[MD5..MD5 + 16] != md5_without(&bytes, MD5) {
            return refuse("wrong vma header chechsum".into());
        }
        let version = be32(&bytes, 4);
        if version != 1 {
            return refuse(format!("wrong vma version {version}"));
        }
        let (offset, used) = (be32(&bytes, 48) as usize, be32(&bytes, 52) as usize);
        if offset < VMA_FIXED {
            return refuse(format!("wrong vma blob buffer offset {offset}"));
        }
        let Some(buffer) = bytes.get(offset..offset + used) else {
            return refuse(format!("wrong vma blob buffer size {offset}/{used}"));
        };
        let blobs = scan_blobs(buffer);
        Ok(Self {
            uuid: std::array::from_fn(|i| bytes[8 + i]),
            ctime: be64(&bytes, 24).cast_signed(),
            configs: read_configs(&bytes, &blobs)?,
            devices: read_devices(&bytes, &blobs),
        })
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

/// Reads until `bytes` has `size` bytes. Memory grows with what is really there, not with what a header claims.
fn read_to(input: &mut impl Read, bytes: &mut Vec<u8>, size: usize, what: &str) -> Result<(), Error> {
    let missing = (size - bytes.len()) as u64;
    input.take(missing).read_to_end(bytes).map_err(|error| {
        Error::Refused(format!("can't read vma {what} - {}", crate::sim::tool::strerror(&error)))
    })?;
    if bytes.len() < size {
        return Err(Error::Refused(format!("can't read vma {what} - got EOF")));
    }
    Ok(())
}

/// Blobs by the position of their length field; a last one that crosses the end is dropped.
fn scan_blobs(buffer: &[u8]) -> BTreeMap<u32, &[u8]> {
    let mut blobs = BTreeMap::new();
    let mut at = 1;
    while let Some(length) = buffer.get(at..at + 2) {
        // The one little endian number of the format.
        let length = usize::from(u16::from_le_bytes([length[0], length[1]]));
        let Some(blob) = buffer.get(at + 2..at + 2 + length) else { break };
        if let Ok(position) = u32::try_from(at) {
            blobs.insert(position, blob);
        }
        at += 2 + length;
    }
    blobs
}

fn name_at(blobs: &BTreeMap<u32, &[u8]>, position: u32) -> Option<String> {
    let blob = blobs.get(&position)?;
    if blob.last() != Some(&0) {
        return None;
    }
    let text = blob.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn read_configs(bytes: &[u8], blobs: &BTreeMap<u32, &[u8]>) -> Result<Vec<Config>, Error> {
    let mut configs = Vec::new();
    for i in 0..TABLE {
        let (name, data) = (be32(bytes, NAMES + 4 * i), be32(bytes, DATA + 4 * i));
        if name == 0 || data == 0 {
            continue;
        }
        let (Some(name), Some(data)) = (name_at(blobs, name), blobs.get(&data)) else {
            return Err(Error::Refused("vma contains invalid data pointers".into()));
        };
        configs.push(Config { name, data: data.to_vec() });
    }
    Ok(configs)
}

fn read_devices(bytes: &[u8], blobs: &BTreeMap<u32, &[u8]>) -> Vec<Device> {
    let device = |id: u8| {
        let entry = DEVICES + 32 * usize::from(id);
        let size = be64(bytes, entry + 8);
        let name = name_at(blobs, be32(bytes, entry))?;
        (size > 0).then_some(Device { id, name, size })
    };
    USABLE_DEVICES.filter_map(device).collect()
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

/// The text of C's `ctime`; the lab's nodes keep UTC.
fn ctime_text(seconds: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = crate::sim::clock::civil(days);
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or_default()];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday} {} {day:>2} {hour:02}:{minute:02}:{second:02} {year}", MONTHS[usize::from(month)])
}

#[cfg(test)]
mod tests {
    use super::ctime_text;

    #[test]
    fn ctime_is_written_like_c_does() {
        assert_eq!(ctime_text(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(ctime_text(1_769_774_400), "Fri Jan 30 12:00:00 2026");
        assert_eq!(ctime_text(1_709_164_799), "Wed Feb 28 23:59:59 2024");
        assert_eq!(ctime_text(1_709_164_800), "Thu Feb 29 00:00:00 2024");
        assert_eq!(ctime_text(-1), "Wed Dec 31 23:59:59 1969");
    }
}
