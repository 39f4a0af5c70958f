//! The header of an archive as the real program understands it: names are bytes, and numbers have its widths.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::{Range, RangeInclusive};

use super::header::{Config, DATA, DEVICES, Device, Header, MAGIC, MD5, NAMES, TABLE, VMSTATE};
use super::{Error, VMA_FIXED, be32, be64, md5_without};
use crate::sim::tool::strerror;

/// Device 255 is reserved: every command ignores it.
const USABLE_DEVICES: Range<u8> = 1..255;
/// The names of all these are looked at, and the last RAM image among them is the one whose data is expected.
const NAMED_DEVICES: RangeInclusive<u8> = 1..=255;

/// So much can follow the fixed part of a header: the real program counts it in a signed number of 32 bits.
const LARGEST_REST: usize = 0x7fff_ffff;

/// What stands in front of the data.
pub(super) struct Parsed {
    pub(super) uuid: [u8; 16],
    pub(super) ctime: i64,
    pub(super) configs: Vec<Blob>,
    pub(super) devices: Vec<Entry>,
    /// The device whose clusters are those of the RAM image.
    pub(super) vmstate: Option<u8>,
}

/// A configuration.
pub(super) struct Blob {
    pub(super) name: Vec<u8>,
    pub(super) data: Vec<u8>,
}

/// A device.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: u8,
    pub(super) name: Vec<u8>,
    pub(super) size: u64,
}

impl Entry {
    pub(super) fn is_vmstate(&self) -> bool {
        self.name == VMSTATE.as_bytes()
    }
}

impl Parsed {
    pub(super) fn read(input: &mut impl Read) -> Result<Self, Error> {
        let bytes = read_checked(input)?;
        let (offset, used) = (be32(&bytes, 48), be32(&bytes, 52));
        let blobs = Blobs::scan(&bytes, offset, used)?;
        // The real program looks at the devices first: a name that kills it does so before a pointer is refused.
        let named = read_devices(&bytes, &blobs)?;
        Ok(Self {
            uuid: std::array::from_fn(|i| bytes[8 + i]),
            ctime: be64(&bytes, 24).cast_signed(),
            configs: read_configs(&bytes, &blobs)?,
            vmstate: named.iter().rfind(|device| device.is_vmstate()).map(|device| device.id),
            devices: named.into_iter().filter(|device| USABLE_DEVICES.contains(&device.id)).collect(),
        })
    }

    /// What `vma list` prints.
    pub(super) fn listing(&self) -> Vec<u8> {
        let configs = self.configs.iter().map(|config| {
            [format!("CFG: size: {} name: ", config.data.len()).as_bytes(), &config.name, b"\n"].concat()
        });
        let devices = self.devices.iter().map(|device| {
            // A size is shown as a signed number.
            let (id, size) = (device.id, device.size.cast_signed());
            if device.is_vmstate() {
                return format!("VMSTATE: dev_id={id} memory: {size}\n").into_bytes();
            }
            [format!("DEV: dev_id={id} size: {size} devname: ").as_bytes(), &device.name, b"\n"].concat()
        });
        // Where C has no text for a time, it has no line end either.
        let ctime = ctime_text(self.ctime).map_or("(null)".into(), |text| text + "\n");
        configs.chain(devices).chain([format!("CTIME: {ctime}").into_bytes()]).flatten().collect()
    }
}

impl From<&Header> for Parsed {
    fn from(header: &Header) -> Self {
        let config =
            |config: &Config| Blob { name: config.name.clone().into_bytes(), data: config.data.clone() };
        let device = |device: &Device| Entry {
            id: device.id,
            name: device.name.clone().into_bytes(),
            size: device.size,
        };
        let devices: Vec<_> = header.devices.iter().map(device).collect();
        Self {
            uuid: header.uuid,
            ctime: header.ctime,
            configs: header.configs.iter().map(config).collect(),
            vmstate: devices.iter().rfind(|device| device.is_vmstate()).map(|device| device.id),
            devices,
        }
    }
}

impl From<&Parsed> for Header {
    fn from(parsed: &Parsed) -> Self {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let config = |config: &Blob| Config { name: text(&config.name), data: config.data.clone() };
        let device = |device: &Entry| Device { id: device.id, name: text(&device.name), size: device.size };
        Self {
            uuid: parsed.uuid,
            ctime: parsed.ctime,
            configs: parsed.configs.iter().map(config).collect(),
            devices: parsed.devices.iter().map(device).collect(),
        }
    }
}

/// The whole header, with all its sums and sizes checked. The real program keeps them in 32 bits and shows them signed.
fn read_checked(input: &mut impl Read) -> Result<Vec<u8>, Error> {
    let refuse = |text: String| Err(Error::Refused(text.into()));
    let mut bytes = Vec::new();
    read_to(input, &mut bytes, VMA_FIXED, "header")?;
    if &bytes[..4] != MAGIC {
        return refuse("not a vma file - wrong magic number".into());
    }
    let size = be32(&bytes, 56);
    if !matches!((size as usize).checked_sub(VMA_FIXED), Some(1..=LARGEST_REST)) {
        return refuse(format!("wrong vma header size {}", size.cast_signed()));
    }
    read_to(input, &mut bytes, size as usize, "header data")?;
    if bytes[MD5..MD5 + 16] != md5_without(&bytes, MD5) {
        return refuse("wrong vma header chechsum".into());
    }
    let version = be32(&bytes, 4);
    if version != 1 {
        return refuse(format!("wrong vma version {}", version.cast_signed()));
    }
    let (offset, used) = (be32(&bytes, 48), be32(&bytes, 52));
    if offset.wrapping_add(1) as usize <= VMA_FIXED {
        return refuse(format!("wrong vma blob buffer offset {}", offset.cast_signed()));
    }
    if offset.wrapping_add(used) > size {
        let (offset, used) = (offset.cast_signed(), used.cast_signed());
        return refuse(format!("wrong vma blob buffer size {offset}/{used}"));
    }
    Ok(bytes)
}

/// Reads until `bytes` has `size` bytes. Memory grows with what is really there, not with what a header claims.
fn read_to(input: &mut impl Read, bytes: &mut Vec<u8>, size: usize, what: &str) -> Result<(), Error> {
    let missing = size.saturating_sub(bytes.len()) as u64;
    let failed = |reason: String| Error::Refused(format!("can't read vma {what} - {reason}").into());
    input.take(missing).read_to_end(bytes).map_err(|error| failed(strerror(&error)))?;
    if bytes.len() < size { Err(failed("got EOF".into())) } else { Ok(()) }
}

/// Blobs by the position of their length field.
struct Blobs<'a>(BTreeMap<u32, &'a [u8]>);

impl<'a> Blobs<'a> {
    /// A last one that crosses the end is dropped. What wraps around at 32 bits is behind the header: the real program dies.
    fn scan(bytes: &'a [u8], offset: u32, used: u32) -> Result<Self, Error> {
        let mut blobs = BTreeMap::new();
        let end = offset.wrapping_add(used);
        let mut at = offset.wrapping_add(1);
        while at.wrapping_add(2) <= end {
            let rest = bytes.get(at as usize..).ok_or(Error::OutsideOfMemory)?;
            let [low, high, rest @ ..] = rest else { return Err(Error::OutsideOfMemory) };
            // The one little endian number of the format.
            let length = u16::from_le_bytes([*low, *high]);
            let behind = at.wrapping_add(2).wrapping_add(length.into());
            if let Some(blob) = rest.get(..length.into()).filter(|_| behind <= end) {
                blobs.insert(at.wrapping_sub(offset), blob);
            }
            at = behind;
        }
        Ok(Self(blobs))
    }

    fn get(&self, position: u32) -> Option<&'a [u8]> {
        self.0.get(&position).copied()
    }

    /// A name up to its first NUL. The real program looks for the last NUL of an empty blob 4 GiB behind it.
    fn name(&self, position: u32) -> Result<Option<&'a [u8]>, Error> {
        match self.get(position) {
            Some([]) => Err(Error::OutsideOfMemory),
            Some(blob @ [.., 0]) => Ok(blob.split(|&byte| byte == 0).next()),
            _ => Ok(None),
        }
    }
}

fn read_configs(bytes: &[u8], blobs: &Blobs<'_>) -> Result<Vec<Blob>, Error> {
    let mut configs = Vec::new();
    for i in 0..TABLE {
        let (name, data) = (be32(bytes, NAMES + 4 * i), be32(bytes, DATA + 4 * i));
        if name == 0 || data == 0 {
            continue;
        }
        let (Some(name), Some(data)) = (blobs.name(name)?, blobs.get(data)) else {
            return Err(Error::Refused("vma contains invalid data pointers".into()));
        };
        configs.push(Blob { name: name.to_vec(), data: data.to_vec() });
    }
    Ok(configs)
}

fn read_devices(bytes: &[u8], blobs: &Blobs<'_>) -> Result<Vec<Entry>, Error> {
    let mut devices = Vec::new();
    for id in NAMED_DEVICES {
        let entry = DEVICES + 32 * usize::from(id);
        let size = be64(bytes, entry + 8);
        if let Some(name) = blobs.name(be32(bytes, entry))?.filter(|_| size > 0) {
            devices.push(Entry { id, name: name.to_vec(), size });
        }
    }
    Ok(devices)
}

/// The text of C's `ctime`; the lab's nodes keep UTC. There is none when C cannot count the year from 1900 or from 0.
fn ctime_text(seconds: i64) -> Option<String> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = crate::sim::clock::civil(days);
    i32::try_from(year).and_then(|_| i32::try_from(year - 1900)).ok()?;
    let weekday = DAYS[usize::try_from(days.rem_euclid(7)).unwrap_or_default()];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let month = MONTHS[usize::from(month)];
    Some(format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year}"))
}

#[cfg(test)]
mod tests {
    use super::ctime_text;

    #[test]
    fn ctime_is_written_like_c_does() {
        let cases = [
            (0, "Thu Jan  1 00:00:00 1970"),
            (1_769_774_400, "Fri Jan 30 12:00:00 2026"),
            (1_709_164_799, "Wed Feb 28 23:59:59 2024"),
            (1_709_164_800, "Thu Feb 29 00:00:00 2024"),
            (-1, "Wed Dec 31 23:59:59 1969"),
            (-62_167_219_201, "Fri Dec 31 23:59:59 -1"),
            (67_767_976_233_532_799, "Tue Dec 31 23:59:59 2147483647"),
            (-67_768_040_609_740_800, "Thu Jan  1 00:00:00 -2147481748"),
        ];
        for (seconds, text) in cases {
            assert_eq!(ctime_text(seconds).as_deref(), Some(text));
        }
        for seconds in [67_767_976_233_532_800, -67_768_040_609_740_801, i64::MAX, i64::MIN] {
            assert_eq!(ctime_text(seconds), None, "{seconds}");
        }
    }
}
