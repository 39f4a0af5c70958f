//! What the guests' disks hold.

use sha2::{Digest as _, Sha256};

/// Bytes of the VM's system disk, unless the lab is small.
pub const DISK_SIZE: u64 = 8 << 20;

/// Bytes that look random and are the same each time: the digests of `SEED:0`, `SEED:1`, … one after the other.
pub fn seeded(seed: &str, length: usize) -> Vec<u8> {
    let digests = (0..).flat_map(|n| Sha256::digest(format!("{seed}:{n}")));
    digests.take(length).collect()
}
