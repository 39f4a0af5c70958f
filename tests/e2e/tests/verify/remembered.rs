//! What is remembered of readings, and what becomes of it when an archive's turn does not come.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use restore_e2e::verify_backups;
use restore_lab::lab::Lab;

use super::deep::{NEWEST, OLDER, codes, ct, cut, deep, flip_at, is_good, of_archive, runs, size, small, vm};

/// Where the lab's operator keeps the ledger.
pub(super) fn ledger(lab: &Lab) -> PathBuf {
    let set = lab.operator().variables().into_iter().find(|(name, _)| name == "XDG_STATE_HOME");
    let state = set.map_or_else(|| lab.operator().home().join(".local/state"), |(_, value)| value.into());
    state.join("pve-restore/ledger/verified")
}

#[test]
fn what_was_verified_lately_is_not_read_again() {
    let lab = small("zstd");
    let file = vm(OLDER, "zstd");
    assert!(is_good(&deep(&lab, &[]).report(), &file));
    let before = runs(&lab, "vma");
    let report = deep(&lab, &["--skip-verified", "7"]).report();
    assert_eq!(runs(&lab, "vma"), before, "{report:#}");
    assert_eq!(of_archive(&report, &file)["verified"]["now"], false, "{report:#}");
    // Another time, or another size: it is not what was verified.
    fs::File::options()
        .append(true)
        .open(lab.archive(&file))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    assert!(is_good(&deep(&lab, &["--skip-verified", "7"]).report(), &file));
    assert_eq!(runs(&lab, "vma"), before + 1);
}

#[test]
fn what_was_bad_is_read_again_every_time() {
    let lab = small("zstd");
    let file = vm(NEWEST, "zstd");
    lab.flip_bit(&file).unwrap();
    for _ in 0..2 {
        let report = deep(&lab, &["--skip-verified", "7"]).exits(2).report();
        assert_eq!(codes(&report, &file), ["archive-damaged"], "{report:#}");
    }
}

#[test]
fn no_archive_is_begun_after_the_time_is_over() {
    let lab = small("zstd");
    lab.slow_down(&["vma", "verify"], 1_200).unwrap();
    let report = deep(&lab, &["--max-duration", "1s"]).report();
    let files = [vm(NEWEST, "zstd"), vm(OLDER, "zstd"), ct(NEWEST, "zstd"), ct(OLDER, "zstd")];
    let read = files.iter().filter(|file| is_good(&report, file)).count();
    let waiting = files.iter().filter(|file| codes(&report, file) == ["archive-not-read"]).count();
    assert!(read > 0 && waiting > 0 && read + waiting == 4, "{report:#}");
    // The next run begins with what was left over.
    let again = deep(&lab, &["--max-duration", "1s"]).report();
    let first_left = files.iter().find(|file| codes(&report, file) == ["archive-not-read"]).unwrap();
    assert!(
        files.iter().any(|file| is_good(&again, file) && !is_good(&report, file)),
        "{first_left}: {again:#}"
    );
}

#[test]
fn what_was_verified_stays_so_when_its_turn_does_not_come() {
    let lab = small("zstd");
    let _ = deep(&lab, &[]);
    lab.slow_down(&["vma", "verify"], 1_200).unwrap();
    let report = deep(&lab, &["--max-duration", "1s"]).report();
    let files = [vm(NEWEST, "zstd"), vm(OLDER, "zstd"), ct(NEWEST, "zstd"), ct(OLDER, "zstd")];
    let waiting = files.iter().filter(|file| codes(&report, file) == ["archive-not-read"]);
    let known = waiting.filter(|file| of_archive(&report, file)["verified"]["now"] == false);
    assert!(known.count() > 0, "{report:#}");
}

#[test]
fn what_was_found_is_told_although_it_cannot_be_recorded() {
    let lab = small("zstd");
    let file = vm(NEWEST, "zstd");
    lab.flip_bit(&file).unwrap();
    let folder = ledger(&lab).parent().unwrap().to_owned();
    fs::create_dir_all(folder.join("lock")).unwrap();
    for folder in [folder.parent().unwrap(), &folder] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let report = deep(&lab, &[]).exits(2).report();
    assert_eq!(codes(&report, &file), ["archive-damaged"], "{report:#}");
    let text = of_archive(&report, &file).to_string();
    assert!(text.contains("ledger-not-written"), "{text}");
}

/// Another file of the same size is not the one that was read.
#[test]
fn a_file_that_was_written_since_was_not_verified() {
    let lab = small("zstd");
    let file = vm(NEWEST, "zstd");
    let _ = deep(&lab, &[]);
    let quick = || verify_backups(&lab, &["--no-state", "--json"]).report();
    assert_eq!(of_archive(&quick(), &file)["verified"]["now"], false);
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(lab.archive(&file)).unwrap().set_modified(long_ago).unwrap();
    let report = quick();
    assert!(of_archive(&report, &file)["verified"].is_null(), "{report:#}");
}

#[test]
fn what_was_bad_stays_so_when_its_turn_does_not_come() {
    let lab = small("zstd");
    let both = [vm(NEWEST, "zstd"), vm(OLDER, "zstd")];
    for file in &both {
        lab.truncate_archive(file, 50).unwrap();
    }
    let _ = deep(&lab, &[]).exits(2);
    lab.slow_down(&["vma", "verify"], 1_200).unwrap();
    let report = deep(&lab, &["--max-duration", "1s"]).report();
    let waiting =
        both.iter().filter(|file| codes(&report, file) == ["archive-not-read", "archive-known-bad"]);
    assert_eq!(waiting.count(), 1, "{report:#}");
    let dry = deep(&lab, &["--dry-run"]).exits(2).report();
    for file in &both {
        assert_eq!(codes(&dry, file), ["archive-known-bad"], "{dry:#}");
    }
}

#[test]
fn the_ledger_is_only_for_its_owner_and_a_damaged_one_stops() {
    let lab = small("zstd");
    let _ = deep(&lab, &[]);
    let file = ledger(&lab);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    cut(&file, size(&file) - 1);
    let damaged = fs::read(&file).unwrap();
    let ran = deep(&lab, &[]).exits(2).says("ledger/verified").says("is damaged").says("move it away");
    let report = ran.report();
    assert!(report["error"].as_str().unwrap().contains("is damaged"), "{report:#}");
    assert_eq!(report["nodes"], serde_json::json!([]));
    assert_eq!(fs::read(&file).unwrap(), damaged);
}

/// Nothing has become better because nobody reads it.
#[test]
fn what_was_bad_is_told_until_it_is_read_again() {
    let lab = small("zstd");
    let file = vm(NEWEST, "zstd");
    let path = lab.archive(&file);
    let at = size(&path) - 40;
    flip_at(&path, at, 1);
    assert_eq!(codes(&deep(&lab, &[]).exits(2).report(), &file), ["archive-damaged"]);
    let report = verify_backups(&lab, &["--no-state", "--json"]).exits(2).report();
    assert_eq!(codes(&report, &file), ["archive-known-bad"], "{report:#}");
    assert_eq!(codes(&report, &vm(OLDER, "zstd")), [""; 0], "{report:#}");
    flip_at(&path, at, 1);
    assert!(is_good(&deep(&lab, &[]).report(), &file));
    assert_eq!(codes(&verify_backups(&lab, &["--no-state", "--json"]).report(), &file), [""; 0]);
}
