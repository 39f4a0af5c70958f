//! Archives in a folder of this machine, read without any node.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{fs, path::Path};

use restore_e2e::{Ran, verify_backups};
use restore_lab::lab::{Lab, LabBuilder};

use super::deep::{codes, is_good, of_archive};

const VM: &str = "vzdump-qemu-101-2026_01_30-01_00_04.vma";
const CT: &str = "vzdump-lxc-102-2026_01_30-01_00_04.tar";

fn local(lab: &Lab, more: &[&str]) -> Ran {
    let folder = lab.path("/var/lib/vz").display().to_string();
    let words: Vec<&str> = ["--local", &folder, "--no-state", "--json"].iter().chain(more).copied().collect();
    verify_backups(lab, &words)
}

fn packed(name: &str, compress: &str) -> String {
    let end = match compress {
        "zstd" => ".zst",
        "gzip" => ".gz",
        "lzo" => ".lzo",
        _ => "",
    };
    format!("{name}{end}")
}

#[rstest::rstest]
fn healthy_archives_are_read_and_a_damaged_one_is_found(
    #[values("zstd", "gzip", "lzo", "0")] compress: &'static str,
) {
    let lab = LabBuilder::new().small().compress(compress).start().unwrap();
    let report = local(&lab, &["--jobs", "2"]).report();
    assert!(is_good(&report, &packed(VM, compress)) && is_good(&report, &packed(CT, compress)), "{report:#}");
    assert!(lab.executions().unwrap().is_empty(), "no node is asked");
    lab.truncate_archive(&packed(VM, compress), 50).unwrap();
    lab.flip_bit(&packed(CT, compress)).unwrap();
    let report = local(&lab, &[]).exits(2).report();
    assert_eq!(codes(&report, &packed(VM, compress)), ["archive-truncated"], "{report:#}");
    let flipped = codes(&report, &packed(CT, compress));
    assert_eq!(flipped, [if compress == "0" { "archive-changed" } else { "archive-damaged" }], "{report:#}");
}

/// Of what a node found, nothing is another here.
#[test]
fn the_sum_is_that_of_the_node() {
    let lab = LabBuilder::new().small().start().unwrap();
    let file = packed(VM, "zstd");
    let here = local(&lab, &[]).report();
    let there = verify_backups(&lab, &["--deep", "--no-state", "--json"]).report();
    let sum = |report| of_archive(report, &file)["verified"]["sha256"].as_str().map(str::to_owned);
    assert!(sum(&here).is_some());
    assert_eq!(sum(&here), sum(&there));
}

#[test]
fn a_quick_look_reads_heads_and_a_later_reading_is_remembered() {
    let lab = LabBuilder::new().small().start().unwrap();
    let file = packed(VM, "zstd");
    let quick = local(&lab, &["--quick"]).report();
    assert!(of_archive(&quick, &file)["verified"].is_null(), "{quick:#}");
    let _ = local(&lab, &[]);
    for how in [&["--quick"][..], &["--skip-verified", "7"]] {
        let report = local(&lab, how).report();
        assert_eq!(of_archive(&report, &file)["verified"]["now"], false, "{report:#}");
    }
    lab.truncate_archive(&file, 50).unwrap();
    let _ = local(&lab, &[]).exits(2);
    let report = local(&lab, &["--quick"]).exits(2).report();
    assert_eq!(codes(&report, &file), ["archive-known-bad"], "{report:#}");
}

/// Its head is all there is to judge it by then.
#[test]
fn what_its_head_tells_stays_when_it_is_not_read_on() {
    let lab = LabBuilder::new().small().start().unwrap();
    let headless = packed(VM, "zstd");
    lab.truncate_archive(&headless, 1).unwrap();
    let report = local(&lab, &["--dry-run"]).exits(2).report();
    let findings = of_archive(&report, &headless)["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["code"] == "archive-header"), "{report:#}");
}

#[test]
fn a_log_in_another_encoding_is_read() {
    let lab = LabBuilder::new().small().start().unwrap();
    let log = lab.path("/var/lib/vz/dump").join(VM).with_extension("log");
    fs::write(log, b"INFO: caf\xe9\nERROR: Backup of VM 101 failed - caf\xe9\n").unwrap();
    let report = local(&lab, &["--quick"]).report();
    let findings = of_archive(&report, &packed(VM, "zstd"))["findings"].as_array().unwrap();
    assert!(findings.iter().any(|finding| finding["code"] == "backup-log-error"), "{report:#}");
}

#[test]
fn what_is_no_backup_is_told_apart() {
    let lab = LabBuilder::new().small().start().unwrap();
    let dump = lab.path("/var/lib/vz/dump");
    let put = |name: &str, bytes: &[u8]| fs::write(Path::new(&dump).join(name), bytes).unwrap();
    put("vzdump-qemu-103-2026_01_30-01_00_04.vma.zst", b"");
    put("holidays.tar.zst", b"x");
    let whole = fs::read(lab.archive(&packed(VM, "zstd"))).unwrap();
    put("vzdump-qemu-104-2026_01_30-01_00_04.vma.gz", &whole);
    put("vzdump-qemu-101-2026_01_30-01_00_04.log", b"2026-01-30 01:00:09 ERROR: Backup of VM 101 failed\n");
    let report = local(&lab, &[]).exits(2).report();
    for (file, code) in [
        ("vzdump-qemu-103-2026_01_30-01_00_04.vma.zst", "archive-empty"),
        ("holidays.tar.zst", "file-foreign"),
        ("vzdump-qemu-104-2026_01_30-01_00_04.vma.gz", "archive-wrong-type"),
        ("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", "backup-log-error"),
    ] {
        let findings = of_archive(&report, file)["findings"].as_array().unwrap();
        assert!(findings.iter().any(|finding| finding["code"] == code), "{code}: {report:#}");
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let lab = LabBuilder::new().small().start().unwrap();
    let _ =
        verify_backups(&lab, &["--local", "/nowhere/at/all", "--no-state"]).exits(2).says("/nowhere/at/all");
}

#[test]
fn a_disk_that_is_not_mounted_is_no_good_news() {
    let lab = LabBuilder::new().small().start().unwrap();
    fs::create_dir_all(lab.path("/mnt/usb/dump")).unwrap();
    let look = |folder: &str, more: &[&str]| {
        let folder = lab.path(folder).display().to_string();
        verify_backups(&lab, &[&["--local", folder.as_str()], more].concat()).exits(2)
    };
    let _ = look("/mnt/usb", &[]).says("there is no backup in `").says("mounted?");
    let _ = look("/var/lib/vz", &["--vmid", "999"]).says("there is no backup of guest 999 in `");
}

#[test]
fn only_the_guests_that_were_asked_for_are_looked_at() {
    let lab = LabBuilder::new().small().start().unwrap();
    lab.truncate_archive(&packed(VM, "zstd"), 50).unwrap();
    lab.write("/var/lib/vz/dump/notes.txt", "mine").unwrap();
    let report = local(&lab, &["--vmid", "102"]).exits(0).report();
    let guests: Vec<_> =
        report["nodes"][0]["guests"].as_array().unwrap().iter().map(|g| &g["vmid"]).collect();
    assert_eq!(guests, [102]);
    assert_eq!(report["nodes"][0]["others"], serde_json::json!([]));
    local(&lab, &["--vmid", "101"]).exits(2);
}
