//! One node with every defect there is: each is found with its code by the level that can find it, and by no other; what is
//! healthy is not accused.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use restore_e2e::verify_backups;
use restore_lab::lab::Lab;
use serde_json::Value;

use super::{
    deep::{cut, extents, first_extent, flip_at, size},
    quick::{DAYS, ct, forty_with, vm},
};

/// It leaves the container out.
const JOB: &str = "vzdump: nightly\n\tschedule 01:00\n\tstorage local\n\tall 1\n\texclude 102\n\tenabled 1\n";
const ZSTD: usize = 0;
const GZIP: usize = 1;
const LZO: usize = 2;
const PLAIN: usize = 3;

/// Codes by what they are about: the name of a file, the number of a guest, a node.
type Codes = BTreeMap<String, BTreeSet<String>>;

/// Everything that a run found.
fn found(lab: &Lab, words: &[&str]) -> Codes {
    let report = verify_backups(lab, &[&["--json", "--no-state", "--jobs", "4"], words].concat()).report();
    let mut all = Codes::new();
    collect(&report["nodes"], &mut all);
    all
}

fn collect(value: &Value, all: &mut Codes) {
    if let Some(findings) = value["findings"].as_array().filter(|findings| !findings.is_empty()) {
        let name = ["id", "vmid", "name"].map(|key| &value[key]).into_iter().find(|name| !name.is_null());
        let name = name.unwrap().to_string();
        let name = name.trim_matches('"').rsplit(['/', ':']).next().unwrap().to_owned();
        let codes = findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned());
        all.entry(name).or_default().extend(codes);
    }
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, all)),
        Value::Object(map) => map.values().for_each(|value| collect(value, all)),
        _ => {}
    }
}

/// A defect: whom it is told about, by quick and deep, and only by deep.
type Defect = (String, &'static [&'static str], &'static [&'static str]);

/// Breaks one archive for each kind of defect.
fn break_archives(lab: &Lab) -> Vec<Defect> {
    let at = |name: &str| lab.archive(name);
    let mut defects: Vec<Defect> = Vec::new();
    let mut defect = |name: String, quick: &'static [&'static str], deep: &'static [&'static str]| {
        defects.push((name.clone(), quick, deep));
        at(&name)
    };
    fs::write(defect(vm(DAYS[0], ZSTD), &["archive-empty"], &[]), "").unwrap();
    shorten(&defect(vm(DAYS[0], PLAIN), &["archive-header"], &["archive-truncated"]), 1);
    shorten(&defect(vm(DAYS[0], GZIP), &[], &["archive-truncated"]), 50);
    shorten(&defect(ct(DAYS[0], GZIP), &[], &["archive-truncated"]), 50);
    shorten(&defect(ct(DAYS[0], ZSTD), &[], &["archive-truncated"]), 99);
    shorten(&defect(vm(DAYS[0], LZO), &[], &["archive-truncated"]), 99);
    flip_at(&defect(vm(DAYS[1], PLAIN), &["archive-header"], &["archive-damaged"]), 4096, 1);
    flip_at(&defect(ct(DAYS[1], PLAIN), &["archive-header"], &["archive-damaged"]), 100, 1);
    flip_at(&defect(vm(DAYS[1], ZSTD), &["archive-header"], &["archive-damaged"]), 2, 1);
    let extent_header = defect(vm(DAYS[2], PLAIN), &[], &["archive-damaged"]);
    flip_at(&extent_header, first_extent(&extent_header) + 30, 1);
    for (day, way) in [(1, GZIP), (2, ZSTD), (1, LZO)] {
        let packed = defect(vm(DAYS[day], way), &[], &["archive-damaged"]);
        // Behind the first block, which has the header.
        flip_at(&packed, size(&packed) * 7 / 8, 0x10);
    }
    fs::remove_file(defect(vm(DAYS[2], GZIP), &["archive-missing"], &[])).unwrap();
    let unfinished = defect(vm(DAYS[3], PLAIN), &[], &["archive-incomplete"]);
    let extents = extents(&unfinished);
    cut(&unfinished, extents[extents.len() - 2]);
    without_config(&defect(ct(DAYS[2], PLAIN), &["archive-config-missing"], &[]));
    // A container's archive that says that it is a VM's, and a plain one that says that it is packed.
    let other = defect(vm(DAYS[3], LZO), &["archive-wrong-type"], &["archive-damaged"]);
    fs::copy(at(&ct(DAYS[3], PLAIN)), other).unwrap();
    let log = defect(vm(DAYS[4], LZO), &["backup-log-error"], &[]).with_extension("").with_extension("log");
    fs::write(log, "INFO: Starting Backup of VM 101 (qemu)\nERROR: Backup of VM 101 failed - no\n").unwrap();
    let half = "vzdump-qemu-101-2026_01_25-01_00_04.vma.dat".to_owned();
    fs::write(defect(half, &["backup-unfinished"], &[]), "half").unwrap();
    fs::write(defect("holiday.jpg".to_owned(), &["file-foreign"], &[]), "x").unwrap();
    fs::write(defect("web01.vma.zst".to_owned(), &["file-foreign"], &[]), "x").unwrap();
    defects
}

/// Leaves so many percent of a file.
fn shorten(file: &Path, percent: u64) {
    cut(file, size(file) * percent / 100);
}

/// The same archive with another name for the member that holds the configuration.
fn without_config(archive: &Path) {
    let mut bytes = fs::read(archive).unwrap();
    let name = b"./etc/vzdump/pct.conf";
    assert_eq!(&bytes[..name.len()], name);
    bytes[name.len() - 1] = b'g';
    // The checksum of a tar header is the sum of its bytes, in octal.
    let field = String::from_utf8_lossy(&bytes[148..156]).into_owned();
    let digits = field.trim_matches(['\0', ' ']);
    let sum = i64::from_str_radix(digits, 8).unwrap() + i64::from(b'g') - i64::from(b'f');
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    fs::write(archive, bytes).unwrap();
}

/// What is to be found by quick, and by deep.
fn expected(defects: &[Defect]) -> [Codes; 2] {
    let about_guests = [("101", "backup-stale"), ("102", "backup-stale"), ("102", "guest-in-no-job")];
    let mut levels = [Codes::new(), Codes::new()];
    for (level, codes) in levels.iter_mut().enumerate() {
        for (name, quick, deep) in defects {
            // What is gone is known by its log, which has no ending.
            let is_gone = quick.contains(&"archive-missing");
            let name = if is_gone { name.split('.').next().unwrap() } else { name };
            let deep = if level == 1 { *deep } else { &[] };
            let all: BTreeSet<_> = quick.iter().chain(deep).map(|code| (*code).to_owned()).collect();
            if !all.is_empty() {
                codes.insert(name.to_owned(), all);
            }
        }
        for (guest, code) in about_guests {
            codes.entry(guest.to_owned()).or_default().insert(code.to_owned());
        }
    }
    levels
}

#[track_caller]
fn assert_same(found: &Codes, expected: &Codes) {
    let other = |a: &Codes, b: &Codes| {
        let differs = a.iter().filter(|(name, codes)| b.get(*name) != Some(codes));
        differs.map(|(name, codes)| format!("{name}: {codes:?}")).collect::<Vec<_>>().join("\n")
    };
    assert!(
        found == expected,
        "expected and not so found:\n{}\nfound and not so expected:\n{}",
        other(expected, found),
        other(found, expected)
    );
}

#[test]
fn each_defect_is_found_by_the_level_that_can_and_nothing_healthy_is_accused() {
    let lab = forty_with(JOB);
    let defects = break_archives(&lab);
    let [quick, deep] = expected(&defects);
    assert_same(&found(&lab, &[]), &quick);
    assert_same(&found(&lab, &["--deep"]), &deep);

    // The payload of a plain archive, which has no checksum: only what was recorded tells.
    let recorded = [vm(DAYS[4], PLAIN), ct(DAYS[4], PLAIN)];
    let payload =
        |name: &String| if name.contains("-qemu-") { extents(&lab.archive(name))[0] + 700 } else { 700 };
    for name in &recorded {
        flip_at(&lab.archive(name), payload(name), 1);
    }
    // What reading alone can find is remembered; where the look finds an error of its own, that is enough.
    let mut known = quick.clone();
    for (name, _) in deep.iter().filter(|(name, codes)| quick.get(*name) != Some(codes)) {
        let codes = known.entry(name.clone()).or_default();
        if ["archive-header", "archive-wrong-type"].iter().all(|code| !codes.contains(*code)) {
            codes.insert("archive-known-bad".to_owned());
        }
    }
    assert_same(&found(&lab, &[]), &known);
    let mut changed = deep;
    for name in recorded {
        changed.insert(name, BTreeSet::from(["archive-changed".to_owned()]));
    }
    assert_same(&found(&lab, &["--deep", "--skip-verified", "0"]), &changed);
}
