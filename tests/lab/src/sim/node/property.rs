//! Property strings: `VALUE,key=value,…`.

use std::fmt;

/// A property string with its order kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    /// The value without a key, such as the volume of a disk.
    pub value: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Properties {
    /// Reads a property string.
    pub fn parse(text: &str) -> Self {
        let mut properties = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((key, value)) => properties.pairs.push((key.into(), value.into())),
                None => properties.value = Some(part.into()),
            }
        }
        properties
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    /// Sets a key, in place or at the end.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        match self.pairs.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value.into(),
            None => self.pairs.push((key.into(), value.into())),
        }
    }

    /// Removes a key; gives its value.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(k, _)| k == key)?;
        Some(self.pairs.remove(at).1)
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The volume of a disk or mount point: the value without a key, or `file=` or `volume=`.
    pub fn volume(&self) -> Option<&str> {
        self.value.as_deref().or_else(|| self.get("file")).or_else(|| self.get("volume"))
    }

    /// Whether this is a CD-ROM drive; a cloud-init drive counts as one.
    pub fn is_cdrom(&self) -> bool {
        self.get("media") == Some("cdrom")
    }

    /// Whether this is a cloud-init drive.
    pub fn is_cloudinit(&self) -> bool {
        self.volume().is_some_and(|volume| volume.contains("cloudinit"))
    }
}

impl fmt::Display for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.pairs.iter().map(|(key, value)| format!("{key}={value}"));
        let parts: Vec<_> = self.value.iter().cloned().chain(pairs).collect();
        f.write_str(&parts.join(","))
    }
}

/// The keys of a VM's disks, in the order in which a node goes through them.
pub fn disk_keys() -> impl Iterator<Item = String> {
    let range = |name: &'static str, count: u32| (0..count).map(move |n| format!("{name}{n}"));
    range("ide", 4)
        .chain(range("scsi", 31))
        .chain(range("virtio", 16))
        .chain(range("sata", 6))
        .chain(range("efidisk", 1))
        .chain(range("tpmstate", 1))
}

/// Whether a key names a disk of a VM.
pub fn is_disk_key(key: &str) -> bool {
    let name = key.trim_end_matches(|c: char| c.is_ascii_digit());
    name.len() < key.len() && matches!(name, "ide" | "scsi" | "virtio" | "sata" | "efidisk" | "tpmstate")
}

/// A size as in configurations: `32G`, `528K`, `100`.
pub fn parse_size(text: &str) -> Option<u64> {
    let shift = match text.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return text.parse().ok(),
    };
    let number: f64 = text[..text.len() - 1].parse().ok()?;
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = (number * (1_u64 << shift) as f64) as u64;
    Some(bytes)
}

/// Undoes [`parse_size`], with the largest unit that divides the size.
pub fn format_size(bytes: u64) -> String {
    let mut size = bytes;
    for unit in ["", "K", "M", "G"] {
        if size == 0 || !size.is_multiple_of(1024) {
            return format!("{size}{unit}");
        }
        size /= 1024;
    }
    format!("{size}T")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_as_in_configurations() {
        for (bytes, text) in [(540_672, "528K"), (4 << 20, "4M"), (32 << 30, "32G"), (1000, "1000")] {
            assert_eq!(format_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
    }

    #[test]
    fn a_disk_keeps_its_properties_in_order() {
        let mut disk = Properties::parse("data:100/vm-100-disk-0.raw,efitype=4m,size=528K");
        disk.value = Some("fast:100/vm-100-disk-1.raw".into());
        assert_eq!(disk.to_string(), "fast:100/vm-100-disk-1.raw,efitype=4m,size=528K");
    }
}
