//! Backup archives: what their names say and how a storage lists them.

use std::{fmt, path::Path};

use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    GuestKind, PveError, StorageId, Vmid, VolumeId, json,
    snapshot::{OnServer, Verification, guest_of, task_begun},
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

/// What the standard name of a vzdump archive says; of a backup on a Proxmox Backup Server, what its volume id does.
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

impl VolumeId {
    /// Whether it is a backup of a VM or of a container; `None` when it is none.
    pub fn backup_kind(&self) -> Option<GuestKind> {
        let of_file = || ArchiveName::parse(self.file_name()).map(|name| name.kind);
        guest_of(self).map(|(kind, _)| kind).or_else(of_file)
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
    /// Bytes on the storage (compressed); on a Proxmox Backup Server, of its files before they were packed.
    pub size: u64,
    /// First line of its notes.
    pub notes: Option<String>,
    /// Marked as not to be removed.
    pub protected: bool,
    /// What a Proxmox Backup Server says about it, when it is on one: then it is no file on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<OnServer>,
}

impl Archive {
    /// Why it must not be restored.
    pub fn unusable(&self) -> Option<&'static str> {
        let server = self.server.as_ref()?;
        match server.verification {
            _ if !server.finished => Some("it is not finished"),
            Verification::Failed => Some("its server found it damaged when it verified it"),
            Verification::Ok | Verification::Never => None,
        }
    }

    /// Bytes that a restore certainly writes. A backup server tells the size of the disks with all their zeros.
    pub fn least_data(&self) -> u64 {
        if self.server.is_some() { 0 } else { self.size }
    }

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
    #[serde(default)]
    upid: String,
}

/// The command that lists the backups on `storage`.
pub fn list_archives(storage: &StorageId) -> Command {
    json::get(&format!("/nodes/localhost/storage/{storage}/content"), &[("content", "backup")])
}

/// Reads the answer to [`list_archives`]: archives whose names say what they are, and what is on a Proxmox Backup Server.
/// `zone` is that of the node's clock.
///
/// The listing's own `vmid` is not used: with a filter it repeats the filter, without one it is any number in the name.
pub fn archives_in(
    host: &dyn Host,
    command: &Command,
    output: &Output,
    zone: &TimeZone,
) -> Result<Vec<Archive>, PveError> {
    let listed: Vec<Listed> = json::parse(host, command, output)?;
    Ok(listed.into_iter().filter_map(|entry| archive(entry, zone)).collect())
}

fn archive(entry: Listed, zone: &TimeZone) -> Option<Archive> {
    let volid: VolumeId = entry.volid.parse().ok()?;
    let size = entry.size.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
    let ctime = entry.ctime?;
    let (name, server) = match guest_of(&volid) {
        Some((kind, vmid)) => {
            let time = LocalTime(zone.to_datetime(Timestamp::from_second(ctime).ok()?));
            let name = ArchiveName { kind, vmid, time, compression: Compression::None };
            (name, Some(on_server(entry.verification, entry.encrypted, size)))
        }
        None => (ArchiveName::parse(volid.file_name())?, None),
    };
    let notes = entry.notes.and_then(|notes| notes.lines().next().map(str::to_owned));
    Some(Archive {
        volid,
        name,
        ctime,
        size,
        notes: notes.filter(|notes| !notes.is_empty()),
        protected: entry.protected,
        server,
    })
}

fn on_server(verified: Option<Verified>, encrypted: Option<serde_json::Value>, size: u64) -> OnServer {
    OnServer {
        verification: match &verified {
            None => Verification::Never,
            Some(verified) if verified.state == "ok" => Verification::Ok,
            Some(_) => Verification::Failed,
        },
        verified_at: verified.and_then(|verified| task_begun(&verified.upid)),
        encrypted: encrypted.is_some_and(|key| !key.is_null()),
        finished: size > 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("local:backup/vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", Some(GuestKind::Qemu))]
    #[case("local:backup/vzdump-lxc-102-2026_01_30-01_00_04.tar", Some(GuestKind::Lxc))]
    #[case("local:backup/vzdump-openvz-102-2026_01_30-01_00_04.tar", Some(GuestKind::Lxc))]
    #[case("pbs:backup/vm/101/2026-01-30T01:00:04Z", Some(GuestKind::Qemu))]
    #[case("pbs:backup/ct/102/2026-01-30T01:00:04Z", Some(GuestKind::Lxc))]
    #[case("local:iso/debian.iso", None)]
    fn a_volume_id_tells_whose_backup_it_is(#[case] volid: &str, #[case] kind: Option<GuestKind>) {
        assert_eq!(volid.parse::<VolumeId>().unwrap().backup_kind(), kind);
    }

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
        let found = archive(serde_json::from_str(&text).unwrap(), &TimeZone::UTC).unwrap();
        let server = found.server.unwrap();
        assert_eq!((server.verification, server.encrypted), (verification, encrypted));
        assert_eq!((found.name.vmid.to_string(), found.size), ("100".to_owned(), 34_359_739_123));
    }

    /// Its volume id is in UTC; its day is that of the node's clock at that time of the year.
    #[rstest::rstest]
    #[case("2026-01-30T23:30:00Z", 1_769_815_800, "2026-01-31 00:30:00")]
    #[case("2026-07-30T22:30:00Z", 1_785_450_600, "2026-07-31 00:30:00")]
    fn the_time_of_a_snapshot_is_shown_on_the_nodes_clock(
        #[case] time: &str,
        #[case] ctime: i64,
        #[case] shown: &str,
    ) {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let text = format!(r#"{{"volid":"pbs:backup/vm/100/{time}","ctime":{ctime},"size":1}}"#);
        let found = archive(serde_json::from_str(&text).unwrap(), &zone).unwrap();
        assert_eq!(found.name.time.to_string(), shown);
        assert_eq!(found.unusable(), Some("it is not finished"));
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
