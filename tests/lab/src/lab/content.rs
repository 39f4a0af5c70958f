//! What the guests' disks hold.

use sha2::{Digest as _, Sha256};

/// Bytes of the VM's system disk, unless the lab is small.
pub const DISK_SIZE: u64 = 8 << 20;

/// Bytes that look random and are the same each time: the digests of `SEED:0`, `SEED:1`, … one after the other.
pub fn seeded(seed: &str, length: usize) -> Vec<u8> {
    let digests = (0..).flat_map(|n| Sha256::digest(format!("{seed}:{n}")));
    digests.take(length).collect()
}

/// Bytes as a system's disk has them, the same each time: short pieces that came before, between new ones.
pub(super) fn system_like(seed: u64, length: usize) -> Vec<u8> {
    // Knuth's MMIX generator: fast, and good enough for content.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut dice = |end: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or_default() % end
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        let piece = 4 + dice(28);
        if bytes.len() > 4096 && dice(3) > 0 {
            let at = bytes.len() - 1 - dice(bytes.len().min(200_000) - 64) - 32;
            bytes.extend_from_within(at..at + piece);
        } else {
            bytes.extend((0..piece).map(|_| u8::try_from(32 + dice(96)).unwrap_or_default()));
        }
    }
    bytes.truncate(length);
    bytes
}
