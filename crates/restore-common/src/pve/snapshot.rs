//! Backups on a Proxmox Backup Server: `STORAGE:backup/vm/ID/2026-01-30T12:00:00Z`. They are no files on the node, and
//! their time is UTC.

use serde::Serialize;

use super::{GuestKind, Vmid, VolumeId};

/// What the server's own verification of a backup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// All of it was there and whole.
    Ok,
    /// Something was missing or damaged.
    Failed,
    /// It was never verified.
    Never,
}

impl Verification {
    /// For the list.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "verified",
            Self::Failed => "VERIFICATION FAILED",
            Self::Never => "never verified",
        }
    }
}

/// A backup as such a server lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its volume id.
    pub volid: VolumeId,
    /// VM or container.
    pub kind: GuestKind,
    /// The guest it was made of.
    pub vmid: Vmid,
    /// Seconds since 1970, UTC.
    pub ctime: i64,
    /// Bytes of its files, not packed. One that is not finished has 1.
    pub size: u64,
    /// Its comment.
    pub notes: Option<String>,
    /// Marked as not to be removed.
    pub protected: bool,
    /// What the server found.
    pub verification: Verification,
    /// Readable only with a key.
    pub encrypted: bool,
}

/// Kind and guest, from the volume id.
pub(super) fn guest_of(volid: &VolumeId) -> Option<(GuestKind, Vmid)> {
    let (_, name) = volid.as_str().split_once(":backup/")?;
    let mut parts = name.split('/');
    let kind = match parts.next()? {
        "vm" => GuestKind::Qemu,
        "ct" => GuestKind::Lxc,
        _ => return None,
    };
    let vmid = parts.next()?.parse().ok()?;
    (parts.next()?.ends_with('Z') && parts.next().is_none()).then_some((kind, vmid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("pbs:backup/vm/100/2026-01-30T12:00:00Z", Some((GuestKind::Qemu, "100")))]
    #[case("pbs:backup/ct/200/2026-01-30T12:00:00Z", Some((GuestKind::Lxc, "200")))]
    #[case("pbs:backup/host/100/2026-01-30T12:00:00Z", None)]
    #[case("pbs:backup/vm/web/2026-01-30T12:00:00Z", None)]
    #[case("pbs:backup/vm/100", None)]
    #[case("local:backup/vzdump-qemu-100-2026_01_30-12_00_00.vma.zst", None)]
    fn a_volume_id_tells_kind_and_guest(#[case] volid: &str, #[case] expected: Option<(GuestKind, &str)>) {
        let expected = expected.map(|(kind, vmid)| (kind, vmid.parse().unwrap()));
        assert_eq!(guest_of(&volid.parse().unwrap()), expected);
    }
}
