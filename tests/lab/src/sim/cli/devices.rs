//! The names of a VM's devices.

/// A family of numbered devices, and how many there may be.
type Family = (&'static str, u32);

const DISKS: [Family; 4] = [("ide", 4), ("sata", 6), ("scsi", 31), ("virtio", 16)];
const STATE: [Family; 2] = [("efidisk", 1), ("tpmstate", 1)];
const OTHERS: [Family; 3] = [("net", 32), ("usb", 14), ("hostpci", 16)];

/// Whether a VM may have a drive of that name.
pub(super) fn is_drive(name: &str) -> bool {
    is_of(&DISKS, name) || is_of(&STATE, name)
}

/// Whether a VM may start from a device of that name.
pub(super) fn is_bootable(name: &str) -> bool {
    is_of(&DISKS, name) || is_of(&OTHERS, name)
}

fn is_of(families: &[Family], name: &str) -> bool {
    families.iter().any(|(stem, count)| {
        let index = name.strip_prefix(stem);
        index.is_some_and(|index| (0..*count).any(|known| known.to_string() == index))
    })
}
