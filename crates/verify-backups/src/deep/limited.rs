//! A reader that takes its time: `--bwlimit` on this machine.

use std::{
    io::{self, Read},
    thread,
    time::{Duration, Instant},
};

/// Reads at most so many KiB a second.
pub(crate) struct Limited<R> {
    inner: R,
    /// Bytes a second.
    rate: Option<u64>,
    begun: Instant,
    read: u64,
}

impl<R: Read> Limited<R> {
    pub(crate) fn new(inner: R, kib: Option<u32>) -> Self {
        Self { inner, rate: kib.map(|kib| u64::from(kib) * 1024), begun: Instant::now(), read: 0 }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(rate) = self.rate else { return self.inner.read(buffer) };
        // A quarter of a second at a time, so that Ctrl-C is heard.
        let most = usize::try_from(rate / 4).unwrap_or(usize::MAX).clamp(1, buffer.len().max(1));
        let end = most.min(buffer.len());
        let count = self.inner.read(&mut buffer[..end])?;
        self.read += count as u64;
        let due = Duration::from_micros(self.read.saturating_mul(1_000_000) / rate);
        thread::sleep(due.saturating_sub(self.begun.elapsed()));
        Ok(count)
    }
}
