//! Backups on a Proxmox Backup Server: `STORAGE:backup/vm/ID/2026-01-30T12:00:00Z`. They are no files on the node, and
//! their time is UTC.

use serde::{Deserialize, Serialize};

use super::{GuestKind, Vmid, VolumeId};

/// What the server's own verification of a backup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a Proxmox Backup Server says about a backup on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnServer {
    /// What it found when it verified it last.
    pub verification: Verification,
    /// When that was begun, in seconds since 1970, UTC.
    pub verified_at: Option<i64>,
    /// Readable only with a key.
    pub encrypted: bool,
    /// All of it has arrived.
    pub finished: bool,
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

/// When a task was begun, from its id: the last of the hexadecimal fields behind the node's name. A node's ids have three
/// of them; those of a backup server may have four, which is not confirmed.
pub(super) fn task_begun(upid: &str) -> Option<i64> {
    let fields = upid.strip_prefix("UPID:")?.split(':').skip(1);
    let is_hex = |field: &&str| field.len() >= 8 && field.bytes().all(|b| b.is_ascii_hexdigit());
    let time = fields.take_while(is_hex).last()?;
    i64::from_str_radix(time, 16).ok()
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

    #[rstest::rstest]
    #[case("UPID:pbs:000002A9:00003D7C:0000000A:697CA0C0:verificationjob:main:root@pam:", Some(0x697c_a0c0))]
    #[case("UPID:pve:0000011F:0005D829:6B03F49D:qmrestore:110:root@pam:", Some(0x6b03_f49d))]
    #[case("UPID:x", None)]
    fn a_task_id_tells_when_it_was_begun(#[case] upid: &str, #[case] expected: Option<i64>) {
        assert_eq!(task_begun(upid), expected);
    }
}
