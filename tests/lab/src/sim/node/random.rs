//! Values that a node makes up: identifiers and MAC addresses.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A random number.
pub fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random UUID.
pub fn uuid() -> String {
    let (a, b) = (number(), number());
    let time = (a >> 16) & 0xffff;
    let version = (a & 0xfff) | 0x4000;
    let variant = (b >> 48) & 0x3fff | 0x8000;
    format!("{:08x}-{time:04x}-{version:04x}-{variant:04x}-{:012x}", a >> 32, b & 0xffff_ffff_ffff)
}

/// A random MAC address with the prefix that PVE uses.
pub fn mac() -> String {
    let [a, b, c, ..] = number().to_be_bytes();
    format!("BC:24:11:{a:02X}:{b:02X}:{c:02X}")
}
