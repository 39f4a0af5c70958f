//! What a restore makes of a verification that is on record.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use restore_e2e::restore_vm;
use restore_lab::{
    lab::{Lab, LabBuilder},
    sim::node::settings::Capacity,
};
use serde_json::Value;

use super::{
    deep::{NEWEST, OLDER, ct, cut, deep, flip_at, size, small, vm},
    remembered::ledger,
};

/// How often an archive was read to its end by what knows its structure.
fn readings(lab: &Lab, file: &str) -> usize {
    let is_reading = |argv: &Value| {
        let words: Vec<&str> = argv.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let reads = words.starts_with(&["vma", "verify"]) || words.starts_with(&["tar", "-tf"]);
        // What is packed comes through a pipe: then the name is the decompressor's.
        (reads || ["zstd", "gzip", "lzop"].contains(&words[0]))
            && words.iter().any(|word| word.ends_with(file))
    };
    lab.journal().unwrap().iter().filter(|entry| is_reading(&entry["argv"])).count()
}

fn archive(vmid: &str, time: &str, compress: &str) -> String {
    if vmid == "101" { vm(time, compress) } else { ct(time, compress) }
}

#[rstest::rstest]
fn the_same_bytes_are_not_read_again(
    #[values("0", "zstd", "gzip", "lzo")] compress: &'static str,
    #[values("101", "102")] vmid: &str,
) {
    let lab = small(compress);
    let file = archive(vmid, NEWEST, compress);
    let _ = deep(&lab, &[]);
    let plan = restore_vm(&lab, &[vmid, "--dry-run", "-v"]);
    let _ = plan.says("Compare the backup with what was verified on").says("sha256sum");
    let before = readings(&lab, &file);
    let _ = restore_vm(&lab, &[vmid, "--force"]).exits(0).says("the same bytes as verified on");
    assert_eq!(readings(&lab, &file), before);
}

#[rstest::rstest]
fn a_byte_that_changed_since_is_found_before_anything_is_destroyed(#[values("101", "102")] vmid: &str) {
    let lab = small("0");
    let (newest, older) = (archive(vmid, NEWEST, "0"), archive(vmid, OLDER, "0"));
    let payload = |file: &str| {
        let path = lab.archive(file);
        // The zeros at the end of a tar archive are short of this, and so is the last extent's header.
        flip_at(&path, size(&path) - 12_000, 0x04);
    };
    let _ = deep(&lab, &[]);
    payload(&newest);
    let refused = || {
        let before = lab.inventory().unwrap();
        let ran = restore_vm(&lab, &[vmid, "--force"]).exits(1).says("is damaged; it was not used");
        assert_eq!(lab.inventory().unwrap(), before);
        ran
    };
    let ran = refused().says("its SHA-256 is not the one recorded on");
    let _ = ran.says(&format!("restore-vm {vmid} --archive local:backup/{older}"));
    payload(&older);
    let _ = refused().says("the only older backup of this guest is damaged as well");
}

#[test]
fn a_damaged_record_is_said_and_keeps_nobody_from_restoring() {
    let lab = small("zstd");
    let _ = deep(&lab, &[]);
    let record = ledger(&lab);
    cut(&record, size(&record) - 1);
    let ran = restore_vm(&lab, &["101", "--force"]).exits(0).says("ledger/verified").says("is damaged");
    let _ = ran.says("readable to its end");
}

#[test]
fn a_backup_that_was_bad_is_read_even_for_a_new_guest() {
    let lab = small("zstd");
    lab.flip_bit(&vm(NEWEST, "zstd")).unwrap();
    let _ = deep(&lab, &[]).exits(2);
    let ran = restore_vm(&lab, &["101", "--target-id", "150", "--force"]).exits(1);
    let _ = ran.says("`verify-backups` found this backup damaged on").says("is damaged; it was not used");
}

#[test]
fn where_room_is_short_the_content_is_read_as_well() {
    let storage = "dir: data\n\tpath /mnt/data\n\tcontent images,rootdir\n";
    let lab = LabBuilder::new().small().compress("0").storage(storage).start().unwrap();
    let _ = deep(&lab, &[]);
    // Room for what is in the backup, not for what its disks could hold.
    let short = Capacity { total: 6 << 20, ..Capacity::default() };
    lab.change_settings(|settings| {
        settings.storages.insert("data".to_owned(), short);
    })
    .unwrap();
    let copy = ["101", "--target-id", "150", "--target-storage", "data", "--check", "full", "--force"];
    let before = readings(&lab, &vm(NEWEST, "0"));
    let ran = restore_vm(&lab, &copy).exits(0).says("they fit only because they are sparse");
    let _ = ran.says("Compare the backup with what was verified on").says("of data");
    assert_eq!(readings(&lab, &vm(NEWEST, "0")), before + 1);
}

#[test]
fn what_has_another_size_is_read() {
    let lab = LabBuilder::new().small().compress("zstd").start().unwrap();
    let _ = deep(&lab, &[]);
    let file = lab.archive(&vm(NEWEST, "zstd"));
    cut(&file, size(&file) - 1);
    let ran = restore_vm(&lab, &["101", "--force"]).exits(1).says("is damaged; it was not used");
    assert!(!ran.to_string().contains("SHA-256"), "{ran}");
}
