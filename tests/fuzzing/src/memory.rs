//! How much memory an input takes, as the kernel counts it: that of C libraries, too.

use std::fs;

/// The most that reading any input may take.
pub const LIMIT: u64 = 64 << 20;

/// What this process had at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Memory(u64);

impl Memory {
    /// The present use; the highest one is counted anew from here.
    pub fn now() -> Self {
        // Anything but 5 would forget other things.
        fs::write("/proc/self/clear_refs", "5").unwrap_or_else(|error| panic!("clear_refs: {error}"));
        Self(about("VmRSS"))
    }

    /// By how many bytes the use has grown at most since then.
    pub fn growth(self) -> u64 {
        about("VmHWM").saturating_sub(self.0)
    }

    /// Panics when that was too much.
    pub fn assert_small(self, what: &str) {
        let growth = self.growth();
        assert!(growth <= LIMIT, "{what}: it took {} MiB", growth >> 20);
    }
}

/// A line of the kernel's, in bytes.
fn about(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_else(|error| panic!("status: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {key} in {status}")) << 10
}
