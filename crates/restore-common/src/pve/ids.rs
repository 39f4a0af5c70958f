//! Names of things on a node, as types that cannot be mixed up.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that is not a valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {reason}")]
pub struct IdError {
    kind: &'static str,
    text: String,
    reason: &'static str,
}

/// The number of a guest: 100 to 999,999,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vmid(u32);

impl Vmid {
    const RANGE: std::ops::RangeInclusive<u32> = 100..=999_999_999;

    /// The lowest there is.
    pub const LOWEST: Self = Self(100);

    /// The number itself.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The number `n` as a VMID, when it is in range.
    pub fn new(n: u32) -> Option<Self> {
        Self::RANGE.contains(&n).then_some(Self(n))
    }
}

impl fmt::Display for Vmid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Vmid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = |reason| IdError { kind: "VMID", text: text.to_owned(), reason };
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error("a VMID is a number"));
        }
        if text.starts_with('0') {
            return Err(error("a VMID has no leading zero"));
        }
        let number = text.parse().ok().and_then(Self::new);
        number.ok_or_else(|| error("a VMID is between 100 and 999999999"))
    }
}

/// Whether a guest is a virtual machine or a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine, run by QEMU.
    Qemu,
    /// A container, run by LXC.
    Lxc,
}

impl GuestKind {
    /// The program that manages such guests: `qm` or `pct`.
    pub fn tool(self) -> &'static str {
        match self {
            Self::Qemu => "qm",
            Self::Lxc => "pct",
        }
    }

    /// The word of the API and of the folders below `/etc/pve`: `qemu` / `lxc`.
    pub fn api(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }

    /// Folder of the configurations of such guests of the node that is asked.
    pub fn config_dir(self) -> &'static str {
        match self {
            Self::Qemu => "/etc/pve/qemu-server",
            Self::Lxc => "/etc/pve/lxc",
        }
    }

    /// Absolute path of a guest's configuration file on its node.
    pub fn config_path(self, vmid: Vmid) -> String {
        format!("{}/{vmid}.conf", self.config_dir())
    }

    /// The short word Proxmox uses in its messages: `VM` / `CT`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Qemu => "VM",
            Self::Lxc => "CT",
        }
    }

    /// The content type a storage must allow for such guests' volumes.
    pub fn content(self) -> &'static str {
        match self {
            Self::Qemu => "images",
            Self::Lxc => "rootdir",
        }
    }
}

impl fmt::Display for GuestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "VM",
            Self::Lxc => "container",
        })
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:expr, $reason:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { kind: $kind, text: text.to_owned(), reason: $reason })
                }
            }
        }
    };
}

text_id!(
    /// The name of a node: a host name without dots.
    NodeName,
    "node name",
    |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !text.is_empty() && text.len() <= 63 && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
    },
    "letters, digits and hyphens only"
);

text_id!(
    /// The name of a storage.
    StorageId,
    "storage name",
    |text| {
        let inner = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.len() >= 2 && text.chars().all(inner)
    },
    "a letter, then letters, digits, `-`, `_` or `.`"
);

text_id!(
    /// A volume on a storage: `STORAGE:NAME`, for a backup `STORAGE:backup/FILE`. The name part may hold any printable
    /// character.
    VolumeId,
    "volume id",
    |text| {
        let parts = text.split_once(':');
        parts.is_some_and(|(s, n)| s.parse::<StorageId>().is_ok() && !n.is_empty()) && !text.contains(['\0', '\n', '\r'])
    },
    "a volume id is `STORAGE:NAME`"
);

impl VolumeId {
    /// The storage it lies on.
    pub fn storage(&self) -> &str {
        self.0.split_once(':').map_or("", |(storage, _)| storage)
    }

    /// The last part of its name: the file name of a backup.
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once(['/', ':']).map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("100", true)]
    #[case("999999999", true)]
    #[case("99", false)]
    #[case("1000000000", false)]
    #[case("99999999999999999999", false)]
    #[case("0100", false)]
    #[case("+100", false)]
    #[case("abc", false)]
    #[case("", false)]
    #[case("101; rm -rf /", false)]
    fn a_vmid_is_what_proxmox_accepts(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(text.parse::<Vmid>().is_ok(), valid, "{text:?}");
    }

    #[test]
    fn a_volume_id_may_hold_odd_characters_but_no_line_break() {
        let odd: VolumeId = "local:backup/vzdump-qemu-101-$(x) 'y'.vma.zst".parse().unwrap();
        assert_eq!(odd.storage(), "local");
        assert_eq!(odd.file_name(), "vzdump-qemu-101-$(x) 'y'.vma.zst");
        assert!("local:backup/a\nb".parse::<VolumeId>().is_err());
        assert!("1local:backup/a".parse::<VolumeId>().is_err());
        assert!("local".parse::<VolumeId>().is_err());
    }
}
