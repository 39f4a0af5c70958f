//! Archives that are read to their end on the node.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use restore_e2e::{Ran, verify_backups};
use restore_lab::lab::{Fault, Lab, LabBuilder};
use serde_json::Value;

use super::remembered::ledger;

pub(super) const OLDER: &str = "2026_01_29-01_00_04";
pub(super) const NEWEST: &str = "2026_01_30-01_00_04";

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What the report says of an archive, wherever it is in there.
pub(super) fn of_archive<'a>(report: &'a Value, file: &str) -> &'a Value {
    fn find<'a>(value: &'a Value, file: &str) -> Option<&'a Value> {
        if value.get("findings").is_some() && value["id"].as_str().is_some_and(|id| id.ends_with(file)) {
            return Some(value);
        }
        match value {
            Value::Array(values) => values.iter().find_map(|value| find(value, file)),
            Value::Object(map) => map.values().find_map(|value| find(value, file)),
            _ => None,
        }
    }
    find(report, file).unwrap_or_else(|| panic!("{file} is not in {report:#}"))
}

/// The codes that come from reading its bytes.
pub(super) fn codes(report: &Value, file: &str) -> Vec<String> {
    let reading = [
        "archive-truncated",
        "archive-damaged",
        "archive-incomplete",
        "archive-changed",
        "archive-known-bad",
        "archive-unreadable",
        "archive-config-missing",
        "node-unstable",
        "archive-not-checked",
        "archive-not-read",
    ];
    let findings = of_archive(report, file)["findings"].as_array().unwrap();
    let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
    codes.filter(|code| reading.contains(&code.as_str())).collect()
}

/// Whether it was read in this run and found good.
pub(super) fn is_good(report: &Value, file: &str) -> bool {
    of_archive(report, file)["verified"]["now"] == true && codes(report, file).is_empty()
}

pub(super) fn deep(lab: &Lab, more: &[&str]) -> Ran {
    let words: Vec<&str> = ["--deep", "--no-state", "--json"].iter().chain(more).copied().collect();
    verify_backups(lab, &words)
}

pub(super) fn small(compress: &'static str) -> Lab {
    LabBuilder::new().small().compress(compress).start().unwrap()
}

fn suffix(compress: &str) -> &str {
    match compress {
        "zstd" => ".zst",
        "gzip" => ".gz",
        "lzo" => ".lzo",
        _ => "",
    }
}

pub(super) fn vm(time: &str, compress: &str) -> String {
    format!("vzdump-qemu-101-{time}.vma{}", suffix(compress))
}

pub(super) fn ct(time: &str, compress: &str) -> String {
    format!("vzdump-lxc-102-{time}.tar{}", suffix(compress))
}

/// Changes one bit and nothing else: neither size nor time.
pub(super) fn flip_at(path: &Path, at: u64, mask: u8) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at).unwrap();
    file.set_modified(time).unwrap();
}

pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

pub(super) fn cut(path: &Path, length: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

/// What runs left on the node.
fn left_on(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.path("/var/tmp/pve-restore")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// How often a program of the node ran.
pub(super) fn runs(lab: &Lab, program: &str) -> usize {
    lab.journal().unwrap().iter().filter(|entry| entry["argv"][0] == program).count()
}

/// How often an archive was unpacked whole. The quick look's `zstd` is told to read its standard input.
pub(super) fn unpackings(lab: &Lab) -> usize {
    let whole = serde_json::json!(["zstd", "-q", "-d", "-c"]);
    lab.journal().unwrap().iter().filter(|entry| entry["argv"] == whole).count()
}

#[rstest::rstest]
fn healthy_archives_are_not_accused(
    #[values("zstd", "gzip", "lzo", "0")] compress: &'static str,
    #[values(8, 9)] pve: u8,
) {
    let lab = LabBuilder::new().small().compress(compress).pve(pve).start().unwrap();
    let report = deep(&lab, &["--jobs", "2"]).report();
    for file in [vm(OLDER, compress), vm(NEWEST, compress), ct(OLDER, compress), ct(NEWEST, compress)] {
        assert!(is_good(&report, &file), "{file}: {report:#}");
    }
    assert_eq!(left_on(&lab), [""; 0].map(PathBuf::from));
}

#[rstest::rstest]
fn what_was_cut_off_is_found(
    #[values("zstd", "gzip", "lzo", "0")] compress: &'static str,
    #[values(1, 50, 99)] percent: u64,
) {
    // Large enough that one percent is more than the zeros that end a tar archive.
    let lab = LabBuilder::new().compress(compress).start().unwrap();
    for file in [vm(NEWEST, compress), ct(NEWEST, compress)] {
        lab.truncate_archive(&file, percent).unwrap();
    }
    let report = deep(&lab, &[]).exits(2).report();
    for file in [vm(NEWEST, compress), ct(NEWEST, compress)] {
        let codes = codes(&report, &file);
        assert!(
            codes == ["archive-truncated"] || (percent == 1 && codes == ["archive-damaged"]),
            "{file}: {report:#}"
        );
    }
    assert!(is_good(&report, &vm(OLDER, compress)) && is_good(&report, &ct(OLDER, compress)), "{report:#}");
}

#[rstest::rstest]
#[case::header("0", 40)]
#[case::extent_header("0", 12_288 + 30)]
#[case::compressed("zstd", 9_000)]
#[case::compressed_gzip("gzip", 9_000)]
#[case::compressed_lzo("lzo", 9_000)]
fn a_flipped_bit_is_found(#[case] compress: &'static str, #[case] at: u64) {
    let lab = small(compress);
    let path = lab.archive(&vm(NEWEST, compress));
    let at = if compress == "0" && at > 1000 { first_extent(&path) + 30 } else { at };
    flip_at(&path, at, 0x10);
    let report = deep(&lab, &[]).exits(2).report();
    let codes = codes(&report, &vm(NEWEST, compress));
    assert!(codes == ["archive-damaged"] || codes == ["archive-truncated"], "{report:#}");
    assert!(is_good(&report, &vm(OLDER, compress)), "{report:#}");
}

/// A sample of the sweep that the native readers' tests make at thousands of places: one bit each, anywhere.
#[rstest::rstest]
fn one_bit_anywhere_in_a_packed_archive_is_found(#[values("zstd", "gzip")] compress: &'static str) {
    let lab = small(compress);
    let (vm, ct) = (vm(NEWEST, compress), ct(NEWEST, compress));
    let mut copies = Vec::new();
    for number in 0..40_u64 {
        let original = if number % 2 == 0 { &vm } else { &ct };
        let copy = original.replace("2026_01_30-01_00_04", &format!("2025_01_30-01_00_{number:02}"));
        fs::copy(lab.archive(original), lab.archive(&copy)).unwrap();
        let whole = size(&lab.archive(&copy));
        // The name in the header of gzip and its flags are covered by no checksum.
        let at = 40 + (number * 7_919 + 13) * 104_729 % (whole - 40);
        flip_at(&lab.archive(&copy), at, 1 << (number % 8));
        copies.push((copy, at));
    }
    let report = deep(&lab, &["--jobs", "4"]).exits(2).report();
    for (copy, at) in copies {
        assert!(!codes(&report, &copy).is_empty(), "{copy} at {at}: {report:#}");
    }
    assert!(is_good(&report, &vm) && is_good(&report, &ct), "{report:#}");
}

/// Where the header of a plain archive ends.
pub(super) fn first_extent(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    u64::from(u32::from_be_bytes(bytes[56..60].try_into().unwrap()))
}

/// The offsets at which extents begin, and the end.
pub(super) fn extents(path: &Path) -> Vec<u64> {
    let bytes = fs::read(path).unwrap();
    let mut at = usize::try_from(first_extent(path)).unwrap();
    let mut found = Vec::new();
    while at < bytes.len() {
        assert_eq!(&bytes[at..at + 4], b"VMAE");
        found.push(at as u64);
        let blocks = u16::from_be_bytes(bytes[at + 6..at + 8].try_into().unwrap());
        at += 512 + usize::from(blocks) * 4096;
    }
    found.push(bytes.len() as u64);
    found
}

#[test]
fn an_archive_cut_between_two_extents_is_not_complete() {
    let lab = LabBuilder::new().compress("0").start().unwrap();
    let path = lab.archive(&vm(NEWEST, "0"));
    let extents = extents(&path);
    assert!(extents.len() > 2, "it has one extent only");
    cut(&path, extents[extents.len() - 2]);
    let report = deep(&lab, &[]).exits(2).report();
    assert_eq!(codes(&report, &vm(NEWEST, "0")), ["archive-incomplete"], "{report:#}");
}

#[rstest::rstest]
#[case::plain("0")]
#[case::packed("zstd")]
fn a_tar_cut_between_two_members_has_no_end(#[case] compress: &'static str) {
    let lab = small("0");
    let path = lab.archive(&ct(NEWEST, "0"));
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 512 * 512 + 512;
    fs::write(&path, &bytes[..end]).unwrap();
    if compress == "zstd" {
        let packed = std::process::Command::new("zstd").args(["-q", "--rm"]).arg(&path).status().unwrap();
        assert!(packed.success());
    }
    let report = deep(&lab, &[]).exits(2).report();
    assert_eq!(codes(&report, &ct(NEWEST, compress)), ["archive-truncated"], "{report:#}");
}

#[test]
fn an_archive_without_its_configuration_is_told() {
    let lab = small("0");
    let path = lab.archive(&ct(NEWEST, "0"));
    let mut bytes = fs::read(&path).unwrap();
    let name = b"./etc/vzdump/pct.conf";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    let at = at / 512 * 512;
    // Another name, and the checksum that goes with it.
    bytes[at + name.len() - 1] = b'x';
    bytes[at + 148..at + 156].fill(b' ');
    let sum: u32 = bytes[at..at + 512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    fs::write(&path, bytes).unwrap();
    let report = deep(&lab, &[]).exits(2).report();
    assert_eq!(codes(&report, &ct(NEWEST, "0")), ["archive-config-missing"], "{report:#}");
}

#[rstest::rstest]
fn a_flipped_bit_of_a_plain_archive_is_found_once_it_was_recorded(#[values(true, false)] is_vm: bool) {
    let lab = small("0");
    let file = if is_vm { vm(NEWEST, "0") } else { ct(NEWEST, "0") };
    let path = lab.archive(&file);
    assert!(is_good(&deep(&lab, &[]).report(), &file));
    // In the payload, where no checksum looks.
    let at = if is_vm { extents(&path)[0] + 512 + 100 } else { payload_of_tar(&path) };
    flip_at(&path, at, 1);
    for _ in 0..2 {
        let report = deep(&lab, &[]).exits(2).report();
        assert_eq!(codes(&report, &file), ["archive-changed"], "it is said every time: {report:#}");
    }
    flip_at(&path, at, 1);
    assert!(is_good(&deep(&lab, &[]).report(), &file), "and no more when it is as it was");
}

/// A byte in a file of a plain tar archive.
fn payload_of_tar(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let mut at = 0;
    loop {
        let field = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(field.trim_matches(['\0', ' ']), 8).unwrap();
        if size > 64 && bytes[at + 156] == b'0' {
            return at as u64 + 512 + 7;
        }
        at += 512 + size.next_multiple_of(512);
    }
}

#[test]
fn an_archive_that_is_good_the_second_time_means_the_node() {
    let lab = small("zstd");
    let fault = Fault::Fails { exit: 1, stderr: "the memory forgot a bit".to_owned() };
    lab.fault(&["vma", "verify"], Some(1), &fault).unwrap();
    let report = deep(&lab, &[]).exits(2).report();
    let each = [vm(NEWEST, "zstd"), vm(OLDER, "zstd")].map(|file| codes(&report, &file));
    assert!(each.contains(&vec!["node-unstable".to_owned()]) && each.contains(&Vec::new()), "{report:#}");
    assert_eq!(runs(&lab, "vma"), 3, "one archive is read twice");
}

#[test]
fn a_dry_run_reads_nothing_and_records_nothing() {
    let lab = small("zstd");
    let _ = deep(&lab, &["--dry-run"]).says("would be read");
    assert_eq!((runs(&lab, "vma"), unpackings(&lab)), (0, 0));
    assert!(!ledger(&lab).exists());
    assert_eq!(left_on(&lab), [""; 0].map(PathBuf::from));
}

#[test]
fn a_connection_that_breaks_costs_no_verdict() {
    let lab = small("zstd");
    lab.flip_bit(&vm(NEWEST, "zstd")).unwrap();
    lab.slow_down(&["vma", "verify"], 1_000).unwrap();
    let child = start(&lab);
    until("an archive is read", || is_reading(&lab));
    lab.server().unwrap().cut_now();
    let ran = Ran::new(&child.wait_with_output().unwrap());
    let report = ran.exits(2).report();
    assert_eq!(codes(&report, &vm(NEWEST, "zstd")), ["archive-damaged"], "{report:#}");
    assert!(is_good(&report, &vm(OLDER, "zstd")) && is_good(&report, &ct(NEWEST, "zstd")), "{report:#}");
    assert_eq!(runs(&lab, "vma"), 3, "nothing is read again for that");
    assert_eq!(left_on(&lab), [""; 0].map(PathBuf::from));
}

#[test]
fn ctrl_c_ends_the_work_on_the_node() {
    let lab = small("zstd");
    lab.slow_down(&["vma", "verify"], 30_000).unwrap();
    let child = start(&lab);
    until("an archive is read", || is_reading(&lab));
    let pid = i32::try_from(child.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let begun = Instant::now();
    let ran = Ran::new(&child.wait_with_output().unwrap()).exits(130);
    assert!(begun.elapsed() < Duration::from_secs(25), "{ran}");
    assert_eq!(left_on(&lab), [""; 0].map(PathBuf::from), "{ran}");
}

fn start(lab: &Lab) -> Child {
    let mut command = lab.command("verify-backups");
    command.args(["--deep", "--no-state", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Less than this time it cannot take; how much more is no matter here.
#[rstest::rstest]
fn no_more_is_read_in_a_second_than_was_asked_for(#[values(true, false)] on_node: bool) {
    let lab = small("0");
    let size = size(&lab.archive(&ct(NEWEST, "0")));
    let folder = lab.path("/var/lib/vz").display().to_string();
    let place: &[&str] = if on_node { &["--deep"] } else { &["--local", &folder] };
    let kib = (size / 1024).to_string();
    let begun = Instant::now();
    let words =
        [place, &["--no-state", "--json", "--vmid", "102", "--jobs", "2", "--bwlimit", &kib]].concat();
    let report = verify_backups(&lab, &words).report();
    assert!(is_good(&report, &ct(NEWEST, "0")), "{report:#}");
    // The first quarter of a second may be read at once.
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?} for {size} bytes", begun.elapsed());
}

#[test]
fn what_killed_runs_left_on_the_node_is_cleared_away() {
    let lab = small("zstd");
    let folder = |name: &str| lab.path("/var/tmp/pve-restore").join(name).join("jobs/read-0");
    let (old, young, other) = (
        "20260101T010000Z-verify-backups-4711-0",
        "20990101T010000Z-verify-backups-4711-0",
        "20260101T010000Z-restore-vm-1",
    );
    for name in [old, young, other] {
        fs::create_dir_all(folder(name)).unwrap();
        fs::write(folder(name).join("status"), "0\n").unwrap();
    }
    let _ = deep(&lab, &[]);
    let mut left: Vec<_> =
        left_on(&lab).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    left.sort();
    assert_eq!(left, [other, young]);
}

/// Whether the reading of a VM's archive is at work.
fn is_reading(lab: &Lab) -> bool {
    let inside =
        |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let runs: Vec<_> = inside(&lab.path("/var/tmp/pve-restore")).collect();
    let mut jobs = runs.iter().flat_map(|run| inside(&run.join("jobs")));
    jobs.any(|job| {
        let kind = fs::read_to_string(job.join("command")).unwrap_or_default();
        kind.contains(".vma") && job.join("pid").exists() && !job.join("status").exists()
    })
}
