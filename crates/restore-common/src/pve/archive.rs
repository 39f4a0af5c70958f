//! Backup archives: what their names say and how a storage lists them.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use super::{
    GuestKind, PveError, StorageId, Vmid, VolumeId, json,
    snapshot::{Snapshot, Verification, guest_of},
};
use crate::remote::{Command, Host, Output};

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Zstandard, with a checksum over the content.
    Zstd,
    /// gzip, with a CRC over the content.
    Gzip,
    /// lzop, with a checksum for each block.
    Lzo,
    /// bzip2: recognised by Proxmox, never written by it.
    Bzip2,
}

impl Compression {
    /// The command that writes the decompressed archive to its output; nothing for an uncompressed one.
    pub fn decompressor(self, path: &str) -> Option<Command> {
        let words: &[&str] = match self {
            Self::None => return None,
            Self::Zstd => &["zstd", "-q", "-d", "-c"],
            Self::Gzip => &["zcat"],
            Self::Lzo => &["lzop", "-d", "-c"],
            Self::Bzip2 => &["bzcat", "-q"],
        };
        Some(Command::read(words[0]).args(words[1..].iter().copied()).arg(path))
    }
}

/// A moment on the node's own clock, as archive names carry it: `2026-01-30 12:00:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalTime(pub jiff::civil::DateTime);

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }
}

/// What the standard name of a vzdump archive says.
///
/// Source: behaviour of `archive_info` in pve-storage: `vzdump-(lxc|openvz|qemu)-VMID-YYYY_MM_DD-HH_MM_SS` and an
/// extension; the time is the node's local time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveName {
    /// VM or container.
    pub kind: GuestKind,
    /// The guest it was made of.
    pub vmid: Vmid,
    /// When the backup of this guest began, on the node's clock.
    pub time: LocalTime,
    /// How it is compressed.
    pub compression: Compression,
}

impl ArchiveName {
    /// Reads a file name; `None` when it is not a standard name.
    pub fn parse(file_name: &str) -> Option<Self> {
        let rest = file_name.strip_prefix("vzdump-")?;
        let (kind, rest) = rest.split_once('-')?;
        let (vmid, rest) = rest.split_once('-')?;
        let (time, extension) = rest.split_once('.')?;
        let kind = match kind {
            "qemu" => GuestKind::Qemu,
            "lxc" | "openvz" => GuestKind::Lxc,
            _ => return None,
        };
        Some(Self {
            kind,
            vmid: vmid.parse().ok()?,
            time: LocalTime(jiff::civil::DateTime::strptime("%Y_%m_%d-%H_%M_%S", time).ok()?),
            compression: compression_of(extension, kind)?,
        })
    }
}

/// The compression that an extension stands for, when it fits the kind of guest.
fn compression_of(extension: &str, kind: GuestKind) -> Option<Compression> {
    let packed = match kind {
        GuestKind::Qemu => extension.strip_prefix("vma"),
        GuestKind::Lxc if extension == "tgz" => Some(".gz"),
        GuestKind::Lxc => extension.strip_prefix("tar"),
    }?;
    Some(match packed {
        "" => Compression::None,
        ".zst" => Compression::Zstd,
        ".gz" => Compression::Gzip,
        ".lzo" => Compression::Lzo,
        ".bz2" => Compression::Bzip2,
        _ => return None,
    })
}

/// A backup as a storage lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its volume id.
    pub volid: VolumeId,
    /// What its name says.
    pub name: ArchiveName,
    /// Seconds since 1970, UTC.
    pub ctime: i64,
    /// Bytes on the storage (compressed).
    pub size: u64,
    /// First line of its notes.
    pub notes: Option<String>,
    /// Marked as not to be removed.
    pub protected: bool,
}

impl Archive {
    /// Its file name ends in `.tgz`, which `pct restore` lists but refuses after it destroyed the container.
    pub fn is_refused_by_pct(&self) -> bool {
        Path::new(self.volid.file_name()).extension().is_some_and(|e| e == "tgz")
    }
}

#[derive(Deserialize)]
struct Listed {
    volid: String,
    #[serde(default, deserialize_with = "json::number")]
    ctime: Option<i64>,
    #[serde(default, deserialize_with = "json::number")]
    size: Option<i64>,
    #[serde(default, deserialize_with = "json::text")]
    notes: Option<String>,
    #[serde(default, deserialize_with = "json::flag")]
    protected: bool,
    verification: Option<Verified>,
    encrypted: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Verified {
    state: String,
}

/// What a storage listing shows: the archives with standard names, and the snapshots of a Proxmox Backup Server.
///
/// The listing's own `vmid` is not used: with a filter it repeats the filter, without one it is any number in the name.
#[derive(Debug, Default)]
pub struct Listing {
    /// Archives whose names say what they are.
    pub archives: Vec<Archive>,
    /// Snapshots on a Proxmox Backup Server.
    pub snapshots: Vec<Snapshot>,
}

/// The command that lists the backups on `storage`.
pub(super) fn list_command(storage: &StorageId) -> Command {
    json::get(&format!("/nodes/localhost/storage/{storage}/content"), &[("content", "backup")])
}

/// Reads the answer to [`Storage::list_backups`](super::Storage::list_backups).
pub fn archives_in(host: &dyn Host, command: &Command, output: &Output) -> Result<Listing, PveError> {
    let listed: Vec<Listed> = json::parse(host, command, output)?;
    let mut listing = Listing::default();
    for entry in listed {
        listing.archives.extend(known(&entry));
        listing.snapshots.extend(snapshot(entry));
    }
    Ok(listing)
}

fn known(entry: &Listed) -> Option<Archive> {
    let volid: VolumeId = entry.volid.parse().ok()?;
    let name = ArchiveName::parse(volid.file_name())?;
    let size = entry.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    Some(Archive {
        volid,
        name,
        ctime: entry.ctime?,
        size,
        notes: entry.notes.clone().filter(|n| !n.is_empty()),
        protected: entry.protected,
    })
}

fn snapshot(entry: Listed) -> Option<Snapshot> {
    let volid: VolumeId = entry.volid.parse().ok()?;
    let (kind, vmid) = guest_of(&volid)?;
    let verification = match entry.verification {
        None => Verification::Never,
        Some(verified) if verified.state == "ok" => Verification::Ok,
        Some(_) => Verification::Failed,
    };
    Some(Snapshot {
        volid,
        kind,
        vmid,
        ctime: entry.ctime?,
        size: entry.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        notes: entry.notes.filter(|n| !n.is_empty()),
        protected: entry.protected,
        verification,
        encrypted: entry.encrypted.is_some_and(|key| !key.is_null()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(r#""verification":{"state":"ok","upid":"UPID:x"},"encrypted":"1""#, Verification::Ok, true)]
    #[case(r#""verification":{"state":"failed","upid":"UPID:x"}"#, Verification::Failed, false)]
    #[case(r#""protected":1"#, Verification::Never, false)]
    fn a_snapshot_tells_what_its_server_found(
        #[case] rest: &str,
        #[case] verification: Verification,
        #[case] encrypted: bool,
    ) {
        let volid = "pbs:backup/vm/100/2026-01-30T12:00:00Z";
        let text = format!(r#"{{"volid":"{volid}","ctime":1769774400,"size":"34359739123",{rest}}}"#);
        let found = snapshot(serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!((found.verification, found.encrypted), (verification, encrypted));
        assert_eq!((found.vmid.to_string(), found.size), ("100".to_owned(), 34_359_739_123));
    }

    #[rstest::rstest]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", Some((GuestKind::Qemu, Compression::Zstd)))]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.vma", Some((GuestKind::Qemu, Compression::None)))]
    #[case("vzdump-lxc-101-2026_01_30-01_00_04.tar.lzo", Some((GuestKind::Lxc, Compression::Lzo)))]
    #[case("vzdump-lxc-101-2026_01_30-01_00_04.tgz", Some((GuestKind::Lxc, Compression::Gzip)))]
    #[case("vzdump-qemu-101-2026_01_30-01_00_04.tar.zst", None)]
    #[case("vzdump-qemu-101-2026_13_30-01_00_04.vma.zst", None)]
    #[case("vzdump-qemu-099-2026_01_30-01_00_04.vma.zst", None)]
    #[case("vzdump-qemu-101-100-x.vma.zst", None)]
    #[case("web01-backup.vma.zst", None)]
    fn a_name_says_kind_and_compression(
        #[case] name: &str,
        #[case] expected: Option<(GuestKind, Compression)>,
    ) {
        assert_eq!(ArchiveName::parse(name).map(|n| (n.kind, n.compression)), expected, "{name}");
    }

    #[test]
    fn the_time_is_read_as_it_stands() {
        let name = ArchiveName::parse("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst").unwrap();
        assert_eq!(name.time.to_string(), "2026-01-30 01:00:04");
    }
}
