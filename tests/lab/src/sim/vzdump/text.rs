//! How vzdump writes sizes, times and speeds.

use std::time::Instant;

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// The size of a finished archive: whole KB and MB, larger units with two digits.
#[allow(clippy::cast_precision_loss)] // a size with two digits
pub(super) fn archive_size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{}KB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{}MB", bytes >> 20),
        0x4000_0000..0x100_0000_0000 => format!("{:.2}GB", bytes as f64 / (1u64 << 30) as f64),
        _ => format!("{:.2}TB", bytes as f64 / (1u64 << 40) as f64),
    }
}

/// Hours, minutes and seconds.
pub(super) fn duration(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A size in the largest binary unit that fits.
#[allow(clippy::cast_precision_loss)] // a size with one or two digits
pub(super) fn bytes(bytes: u64, digits: usize) -> String {
    let unit = (bytes.max(1).ilog2() / 10).min(4) as usize;
    match unit {
        0 => format!("{bytes} B"),
        unit => format!("{:.digits$} {}", bytes as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

/// A size as GNU tar adds it to its totals.
pub(super) fn tar_size(size: u64) -> String {
    bytes(size, 0).replace(' ', "")
}

/// A short duration: only the units that are needed.
fn short_duration(seconds: u64) -> String {
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let shown: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if shown.is_empty() { "0s".into() } else { shown.join(" ") }
}

/// The percent lines of a VM's backup.
pub(super) struct Meter {
    total: u64,
    start: Instant,
    percent: u64,
    last: (u64, u64, u64),
}

impl Meter {
    /// For disks of `total` bytes together.
    pub(super) fn new(total: u64) -> Self {
        Self { total, start: Instant::now(), percent: 0, last: (0, 0, 0) }
    }

    /// The next line, if there is something to tell: a tenth more, another second, or the end.
    pub(super) fn line(&mut self, done: u64, zeros: u64) -> Option<String> {
        let percent = (done * 100).checked_div(self.total).unwrap_or(100);
        let seconds = self.start.elapsed().as_secs();
        let (last_done, last_zeros, last_seconds) = self.last;
        let due = percent / 10 > self.percent / 10 || seconds > last_seconds || done == self.total;
        if percent == self.percent || !due {
            return None;
        }
        let elapsed = (seconds - last_seconds).max(1);
        let read = (done - last_done) / elapsed;
        let written = ((done - zeros) - (last_done - last_zeros)) / elapsed;
        self.percent = percent;
        self.last = (done, zeros, seconds);
        Some(format!(
            "{percent:3}% ({} of {}) in {}, read: {}/s, write: {}/s",
            bytes(done, 1),
            bytes(self.total, 1),
            short_duration(seconds),
            bytes(read, 1),
            bytes(written, 1)
        ))
    }

    /// The lines at the end: how much was zero, and how fast it went.
    pub(super) fn summary(&self, zeros: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if zeros > 0 {
            let percent = zeros * 100 / self.total;
            lines.push(format!("backup is sparse: {} ({percent}%) total zero data", bytes(zeros, 2)));
        }
        let transferred = bytes(self.total, 2);
        lines.push(match self.start.elapsed().as_secs() {
            0 => format!("transferred {transferred} in <1 seconds"),
            seconds => format!(
                "transferred {transferred} in {seconds} seconds ({}/s)",
                bytes(self.total / seconds, 1)
            ),
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_look_like_those_of_vzdump() {
        assert_eq!(archive_size(1023), "0KB");
        assert_eq!(archive_size(2 << 20), "2MB");
        assert_eq!(archive_size(1_288_490_189), "1.20GB");
        assert_eq!(archive_size(3 << 40), "3.00TB");
        assert_eq!(duration(3725), "01:02:05");
        assert_eq!(bytes(0, 1), "0 B");
        assert_eq!(bytes(32 << 30, 1), "32.0 GiB");
        assert_eq!(short_duration(125), "2m 5s");
        assert_eq!(short_duration(0), "0s");
    }

    #[test]
    fn the_meter_ends_at_the_total() {
        let mut meter = Meter::new(4 << 20);
        assert_eq!(meter.line(4096, 0), None);
        let line = meter.line(4 << 20, 1 << 20).expect("the last line");
        assert!(line.starts_with("100% (4.0 MiB of 4.0 MiB) in "), "{line}");
        assert_eq!(meter.summary(1 << 20)[0], "backup is sparse: 1.00 MiB (25%) total zero data");
    }
}
