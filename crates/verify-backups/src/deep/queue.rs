//! Which archives are read, and in which order.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;
use restore_common::{
    ledger::{Entry, Ledger, Verdict},
    pve::ArchiveName,
    remote::{Command, Output},
};

use crate::report::{ArchivePart, NodePart, Verified};

/// Size and time of a file as its file system has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) mtime: String,
}

/// An archive that waits to be read.
pub(crate) struct Work {
    /// Which one of the node's.
    pub(crate) index: usize,
    pub(crate) name: ArchiveName,
    pub(crate) path: String,
    pub(crate) stamp: Stamp,
    /// When its backup began, in seconds since 1970.
    pub(crate) ctime: i64,
    /// What the ledger has of it.
    pub(crate) before: Option<Entry>,
}

/// All archives of a node, each at the same place every time.
pub(crate) fn archives(part: &mut NodePart) -> impl Iterator<Item = &mut ArchivePart> {
    let guests = part.guests.iter_mut().flat_map(|guest| &mut guest.archives);
    guests.chain(&mut part.others)
}

/// The folders of these archives.
pub(super) fn folders(part: &mut NodePart) -> BTreeSet<String> {
    let folder = |archive: &mut ArchivePart| folder_of(archive.path.as_ref()?).map(str::to_owned);
    archives(part).filter_map(folder).collect()
}

fn folder_of(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(folder, _)| folder)
}

/// The command that asks for the size and time of every file in these folders.
pub(super) fn stamps_command(folders: &BTreeSet<String>) -> Command {
    let which = ["-maxdepth", "1", "-type", "f", "-name", "vzdump-*", "-printf", r"%s %T@ %p\n"];
    Command::read("find").arg("-L").args(folders).args(which)
}

/// Reads the answer. A folder that is not there makes `find` fail, and the others are told all the same.
pub(super) fn stamps(output: &Output) -> HashMap<String, Stamp> {
    let stamp = |line: &str| {
        let (size, rest) = line.split_once(' ')?;
        let (mtime, path) = rest.split_once(' ')?;
        Some((path.to_owned(), Stamp { size: size.parse().ok()?, mtime: mtime.to_owned() }))
    };
    output.stdout.lines().filter_map(stamp).collect()
}

/// Whether a file is known to be gone. `--storage` leaves folders out: what is in those is not.
pub(super) fn is_gone(path: &str, asked: &BTreeSet<String>, stamps: &HashMap<String, Stamp>) -> bool {
    folder_of(path).is_some_and(|folder| asked.contains(folder)) && !stamps.contains_key(path)
}

/// Whether a verification that is on record is enough: of the same size and time, good, and not older than so many days.
pub(crate) fn is_fresh(entry: &Entry, stamp: &Stamp, days: u32, now: Timestamp) -> bool {
    let age = Duration::try_from(now.duration_since(entry.when)).unwrap_or_default();
    entry.verdict == Verdict::Good
        && entry.is_about(stamp.size, &stamp.mtime)
        && age <= Duration::from_secs(u64::from(days) * 86_400)
}

/// What the ledger has of an archive last, by whichever of the nodes that share it.
pub(crate) fn on_record(ledger: &Ledger, label: &str, archive: &ArchivePart) -> Option<Entry> {
    let path = archive.path.as_ref()?;
    let labels = archive.also_on.iter().map(String::as_str).chain([label]);
    labels.filter_map(|label| ledger.archive(label, path)).max_by_key(|entry| entry.when)
}

/// That an archive was found good earlier, as the report has it.
pub(crate) fn verified_before(entry: &Entry) -> Option<Verified> {
    let sha256 = entry.sha256.clone().filter(|_| entry.verdict == Verdict::Good)?;
    Some(Verified { when: entry.when, sha256, now: false })
}

/// What was never read comes first, the newest backup of it first; then what was read longest ago, whatever was found: bad
/// ones that came first every time could use up the time of all others.
pub(crate) fn sort(queue: &mut [Work]) {
    queue.sort_by_key(|work| (work.before.as_ref().map(|entry| entry.when), Reverse(work.ctime)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "2026-01-30T12:00:00Z";

    fn entry(when: &str, verdict: Verdict) -> Entry {
        let mtime = "1.5".to_owned();
        let when = when.parse().unwrap();
        Entry { size: 1, mtime, when, sha256: Some(String::new()), verdict, by: String::new(), took_ms: 0 }
    }

    fn work(index: usize, ctime: i64, before: Option<Entry>) -> Work {
        let name = ArchiveName::parse("vzdump-qemu-101-2026_01_30-01_00_04.vma").unwrap();
        let stamp = Stamp { size: 1, mtime: "1.5".to_owned() };
        Work { index, name, path: String::new(), stamp, ctime, before }
    }

    #[test]
    fn only_what_was_asked_for_can_be_gone() {
        let asked = BTreeSet::from(["/a/dump".to_owned()]);
        let stamps = HashMap::from([("/a/dump/1".to_owned(), Stamp { size: 1, mtime: "1.5".to_owned() })]);
        let gone = ["/a/dump/1", "/a/dump/2", "/b/dump/3"].map(|path| is_gone(path, &asked, &stamps));
        assert_eq!(gone, [false, true, false]);
    }

    #[test]
    fn never_verified_comes_first_then_what_was_read_longest_ago() {
        let mut queue = vec![
            work(0, 10, Some(entry("2026-01-29T12:00:00Z", Verdict::Good))),
            work(1, 20, Some(entry("2026-01-01T12:00:00Z", Verdict::Good))),
            work(2, 30, Some(entry(GOOD, Verdict::Bad))),
            work(3, 40, None),
            work(4, 50, None),
        ];
        sort(&mut queue);
        assert_eq!(queue.iter().map(|work| work.index).collect::<Vec<_>>(), [4, 3, 1, 0, 2]);
    }

    #[rstest::rstest]
    #[case::same(entry(GOOD, Verdict::Good), 1, "1.5", 7, true)]
    #[case::other_size(entry(GOOD, Verdict::Good), 2, "1.5", 7, false)]
    #[case::other_time(entry(GOOD, Verdict::Good), 1, "1.6", 7, false)]
    #[case::too_old(entry(GOOD, Verdict::Good), 1, "1.5", 1, false)]
    #[case::bad(entry(GOOD, Verdict::Bad), 1, "1.5", 7, false)]
    #[case::unstable(entry(GOOD, Verdict::Unstable), 1, "1.5", 7, false)]
    fn only_a_good_and_young_verification_of_the_same_file_counts(
        #[case] entry: Entry,
        #[case] size: u64,
        #[case] mtime: &str,
        #[case] days: u32,
        #[case] fresh: bool,
    ) {
        let stamp = Stamp { size, mtime: mtime.to_owned() };
        let now = "2026-02-02T12:00:00Z".parse().unwrap();
        assert_eq!(is_fresh(&entry, &stamp, days, now), fresh);
    }
}
