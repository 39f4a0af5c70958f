//! What the node's long-running programs print while they work.

/// A measure of progress read from one line of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// So many whole percent.
    Percent(u64),
    /// So many bytes of guest data.
    Bytes(u64),
}

/// Reads a progress line of `qmrestore` / `vma` (`progress 17% (read 983040 bytes, duration 0 sec)`) or of `vzdump`
/// (`INFO:   3% (1.0 GiB of 32.0 GiB) in 3s, …`).
fn progress_of(line: &str) -> Option<Measured> {
    if let Some(rest) = line.strip_prefix("progress ") {
        let (_, rest) = rest.split_once("(read ")?;
        return rest.split_once(' ')?.0.parse().ok().map(Measured::Bytes);
    }
    let rest = line.strip_prefix("INFO:")?.trim_start();
    let (percent, rest) = rest.split_once('%')?;
    rest.starts_with(" (").then(|| percent.parse().ok().map(Measured::Percent)).flatten()
}

/// Reads progress over all disks. A restore from a Proxmox Backup Server begins again from nothing for each disk.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes of the disks that are done.
    before: u64,
}

impl Meter {
    /// What the next line of output says.
    pub fn read(&mut self, line: &str) -> Option<Measured> {
        if let Some(bytes) = image_restored(line) {
            self.before = self.before.saturating_add(bytes);
            return Some(Measured::Bytes(self.before));
        }
        match progress_of(line)? {
            Measured::Bytes(bytes) => Some(Measured::Bytes(self.before.saturating_add(bytes))),
            percent @ Measured::Percent(_) => Some(percent),
        }
    }
}

/// Bytes of a disk, from `restore image complete (bytes=N, duration=S.SSs, speed=N.NNMB/s)`.
fn image_restored(line: &str) -> Option<u64> {
    line.strip_prefix("restore image complete (bytes=")?.split(',').next()?.parse().ok()
}

/// Size in bytes of a device, from a line `DEV: dev_id=1 size: 540672 devname: drive-efidisk0`.
fn device_size(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("DEV: ")?.split_once("size: ")?;
    rest.split(' ').next()?.parse().ok()
}

/// The sizes of all devices that `vma` lists.
pub fn device_sizes(output: &str) -> Vec<u64> {
    output.lines().filter_map(device_size).collect()
}

/// What `vma verify -v` found in an archive that it read to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifySummary {
    /// Bytes that the devices need: each rounded up to whole clusters of 64 KiB.
    pub expected: u64,
    /// Bytes that the archive describes.
    pub described: u64,
    /// Of these, bytes that are zero and need no room.
    pub sparse: u64,
}

impl VerifySummary {
    /// Every cluster of every device is there. `vma verify` itself does not look at that: it accepts an archive that
    /// was cut between two extents.
    pub fn is_complete(&self) -> bool {
        self.expected == self.described
    }

    /// Bytes of data that a restore writes.
    pub fn data(&self) -> u64 {
        self.described.saturating_sub(self.sparse)
    }
}

const CLUSTER: u64 = 65_536;

/// Reads the output of `vma verify -v`. An archive without image data has no `total` line.
pub fn verify_summary(output: &str) -> VerifySummary {
    // Absurd sizes are compared like any other.
    let in_clusters = |size: u64| size.div_ceil(CLUSTER).saturating_mul(CLUSTER);
    let expected =
        device_sizes(output).into_iter().fold(0_u64, |sum, size| sum.saturating_add(in_clusters(size)));
    let total = output.lines().find_map(|line| {
        let rest = line.strip_prefix("total bytes read ")?;
        let (described, rest) = rest.split_once(", sparse bytes ")?;
        Some((described.parse().ok()?, rest.split(' ').next()?.parse().ok()?))
    });
    let (described, sparse) = total.unwrap_or((0, 0));
    VerifySummary { expected, described, sparse }
}

/// The path of the archive that `vzdump` began to write: named in `creating vzdump archive 'PATH'`.
pub fn archive_begun(output: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let (_, rest) = line.split_once("creating vzdump archive '")?;
        rest.strip_suffix('\'').map(str::to_owned)
    })
}

/// The path of the archive that `vzdump` wrote for a guest: [`archive_begun`], confirmed by the later
/// `Finished Backup of VM ID`. `None` unless both lines are there.
pub fn archive_written(output: &str, vmid: super::Vmid) -> Option<String> {
    let path = archive_begun(output)?;
    let finished = |line: &str| {
        let rest = line.strip_prefix("INFO: Finished Backup of ")?;
        rest.split(' ').nth(1).map(|id| id == vmid.to_string())
    };
    output.lines().filter_map(finished).any(|same| same).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("progress 17% (read 983040 bytes, duration 0 sec)", Some(Measured::Bytes(983_040)))]
    #[case(
        "INFO:   3% (1.0 GiB of 32.0 GiB) in 3s, read: 349.5 MiB/s, write: 300.1 MiB/s",
        Some(Measured::Percent(3))
    )]
    #[case(
        "INFO: 100% (32.0 GiB of 32.0 GiB) in 2m 5s, read: 1 B/s, write: 1 B/s",
        Some(Measured::Percent(100))
    )]
    #[case("INFO: backup is sparse: 10.00 GiB (31%) total zero data", None)]
    #[case("progress", None)]
    fn progress_lines_are_read(#[case] line: &str, #[case] expected: Option<Measured>) {
        assert_eq!(progress_of(line), expected);
    }

    #[test]
    fn progress_adds_up_over_the_disks_of_a_backup_server() {
        let lines = [
            ("progress 50% (read 500 bytes, zeroes = 0% (0 bytes), duration 0 sec)", Some(500)),
            ("restore image complete (bytes=1000, duration=0.01s, speed=1.00MB/s)", Some(1000)),
            ("restore proxmox backup image: /usr/bin/pbs-restore", None),
            ("progress 10% (read 400 bytes, zeroes = 0% (0 bytes), duration 0 sec)", Some(1400)),
        ];
        let mut meter = Meter::default();
        for (line, bytes) in lines {
            assert_eq!(meter.read(line), bytes.map(Measured::Bytes), "{line}");
        }
    }

    #[test]
    fn an_archive_cut_between_extents_is_not_complete() {
        let whole = "DEV: dev_id=1 size: 540672 devname: drive-efidisk0\nDEV: dev_id=2 size: 1048576 devname: drive-scsi0\n\
                     CTIME: x\ntotal bytes read 1638400, sparse bytes 1490944 (91%)\n";
        let summary = verify_summary(whole);
        assert!(summary.is_complete());
        assert_eq!(summary.data(), 147_456);
        assert!(!verify_summary(&whole.replace("1638400", "1572864")).is_complete());
        let header_only = whole.lines().take(3).collect::<Vec<_>>().join("\n");
        assert!(!verify_summary(&header_only).is_complete());
    }

    #[test]
    fn a_backup_counts_only_when_it_finished() {
        let vmid = "101".parse().unwrap();
        let begun = "INFO: creating vzdump archive '/mnt/pve/nas/dump/vzdump-qemu-101-x.vma.zst'\n";
        assert_eq!(archive_written(begun, vmid), None);
        let other = format!("{begun}INFO: Finished Backup of VM 1010 (00:02:05)\n");
        assert_eq!(archive_written(&other, vmid), None);
        let done = format!("{begun}INFO: Finished Backup of VM 101 (00:02:05)\n");
        assert_eq!(
            archive_written(&done, vmid).as_deref(),
            Some("/mnt/pve/nas/dump/vzdump-qemu-101-x.vma.zst")
        );
    }
}
