//! What can be seen without reading an archive.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
};

use restore_e2e::{Ran, join, verify_backups};
use restore_lab::{
    lab::{Lab, LabBuilder},
    sim::{backup_server::Verification, compress::Compression},
};

const DUMP: &str = "/var/lib/vz/dump";
/// Every archive of a lab is older than an operator would like.
const ANY_AGE: [&str; 2] = ["--max-age", "90000d"];
pub(super) const DAYS: [&str; 5] = ["2026_01_26", "2026_01_27", "2026_01_28", "2026_01_29", "2026_01_30"];
/// A time of the day for each way to compress.
pub(super) const WAYS: [(&str, &str, &str); 4] = [
    ("zstd", "01_00_04", ".zst"),
    ("gzip", "02_00_04", ".gz"),
    ("lzo", "03_00_04", ".lzo"),
    ("0", "04_00_04", ""),
];

/// A node with 40 archives: VM and container, five days, four ways to compress.
fn forty() -> Lab {
    forty_with(JOB)
}

/// The same with these jobs.
pub(super) fn forty_with(jobs: &str) -> Lab {
    let lab = LabBuilder::new().small().backups(&[]).file("/etc/pve/jobs.cfg", jobs).start().unwrap();
    let dump = lab.path(DUMP);
    for (way, time, _) in WAYS {
        let words = ["vzdump", "101", "102", "--storage", "local", "--compress", way, "--remove", "0"];
        let output = lab.on_node(&words).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for name in fresh(&dump) {
            for day in DAYS {
                fs::copy(dump.join(&name), dump.join(dated(&name, &format!("{day}-{time}")))).unwrap();
            }
            fs::remove_file(dump.join(name)).unwrap();
        }
    }
    lab
}

const JOB: &str = "vzdump: nightly\n\tschedule 01:00\n\tstorage local\n\tall 1\n\tenabled 1\n";

/// What was written just now, and not at the times of [`DAYS`].
fn fresh(dump: &Path) -> Vec<String> {
    let names = fs::read_dir(dump).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !DAYS.iter().any(|day| name.contains(day))).collect()
}

/// `vzdump-qemu-101-2026_01_30-12_00_00.vma.zst` with another date.
fn dated(name: &str, date: &str) -> String {
    let at = name.match_indices('-').nth(2).unwrap().0 + 1;
    format!("{}{date}{}", &name[..at], &name[at + date.len()..])
}

pub(super) fn vm(day: &str, way: usize) -> String {
    format!("vzdump-qemu-101-{day}-{}.vma{}", WAYS[way].1, WAYS[way].2)
}

pub(super) fn ct(day: &str, way: usize) -> String {
    format!("vzdump-lxc-102-{day}-{}.tar{}", WAYS[way].1, WAYS[way].2)
}

fn quick(lab: &Lab) -> Ran {
    verify_backups(lab, &[&ANY_AGE[..], &["-v"]].concat())
}

fn flat(ran: &Ran) -> String {
    ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The archives that something was found about, by their file names.
fn accused(ran: &Ran) -> Vec<String> {
    let words = flat(ran);
    let named = words.split(' ').filter_map(|word| word.strip_suffix(':'));
    let mut names: Vec<_> = named.filter_map(|word| word.rsplit(['/']).next()).map(str::to_owned).collect();
    names.retain(|name| name.starts_with("vzdump-"));
    names.sort();
    names.dedup();
    names
}

#[test]
fn forty_healthy_archives_are_not_accused() {
    let lab = forty();
    let ran = quick(&lab).exits(0).says("40 backups: 0 errors, 0 warnings");
    assert_eq!(accused(&ran), Vec::<String>::new(), "{ran}");
}

/// A compressor may end its first blocks early, so that the header is not in one of them, or not in two.
#[test]
fn the_first_blocks_of_an_archive_may_be_small() {
    let lab = forty();
    for (day, block) in DAYS.into_iter().zip([1 << 10, 4 << 10, 8 << 10, 16 << 10]) {
        for name in [vm(day, 0), ct(day, 0)] {
            let archive = lab.archive(&name);
            let mut plain = Vec::new();
            Compression::Zstd
                .reader(fs::File::open(&archive).unwrap(), &name)
                .unwrap()
                .read_to_end(&mut plain)
                .unwrap();
            let mut packed = Compression::Zstd.writer(Vec::new()).unwrap();
            for piece in plain[..64 << 10].chunks(block) {
                packed.write_all(piece).unwrap();
                packed.flush().unwrap();
            }
            packed.write_all(&plain[64 << 10..]).unwrap();
            fs::write(&archive, packed.finish().unwrap()).unwrap();
        }
    }
    let ran = quick(&lab).exits(0).says("40 backups: 0 errors, 0 warnings");
    assert_eq!(accused(&ran), Vec::<String>::new(), "{ran}");
}

/// pzstd begins an archive with a frame that is to be skipped.
#[test]
fn an_archive_that_begins_with_a_frame_to_be_skipped_is_healthy() {
    let lab = LabBuilder::new().small().file("/etc/pve/jobs.cfg", JOB).start().unwrap();
    for name in ["vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", "vzdump-lxc-102-2026_01_30-01_00_04.tar.zst"]
    {
        let archive = lab.archive(name);
        let frame = b"\x50\x2a\x4d\x18\x04\0\0\0size".to_vec();
        fs::write(&archive, [frame, fs::read(&archive).unwrap()].concat()).unwrap();
    }
    for how in [&[][..], &["--deep"]] {
        let ran = verify_backups(&lab, &[&["--no-state", "--max-age", "90000d"], how].concat()).exits(0);
        assert_eq!(accused(&ran), Vec::<String>::new(), "{ran}");
    }
}

#[test]
fn what_a_running_backup_writes_is_not_accused() {
    let lab = forty();
    fs::write(lab.archive("vzdump-qemu-101-2026_02_01-01_00_04.vma.dat"), "half").unwrap();
    let _ = quick(&lab).exits(1).says("backup-unfinished");
    let running = at_work(&lab, "101");
    let _ = quick(&lab).exits(0);
    drop(running);
    let _ = quick(&lab).exits(2).says("backup-unfinished").says("backup-failed: unexpected status");
}

/// A backup that runs until its log is dropped: a task at work keeps that locked.
fn at_work(lab: &Lab, guest: &str) -> fs::File {
    let upid = format!("UPID:pve-prod:00001234:00112233:697C3E00:vzdump:{guest}:root@pam:");
    let log = lab.node().unwrap().task_log(&upid);
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    let running = fs::File::create(log).unwrap();
    running.lock().unwrap();
    running
}

#[test]
fn one_connection_and_two_executions_a_node() {
    let lab = LabBuilder::new().small().start().unwrap();
    let before = lab.inventory().unwrap();
    let _ = quick(&lab);
    assert_eq!(lab.executions().unwrap().len(), 2, "{:#?}", lab.executions().unwrap());
    assert_eq!(lab.server().unwrap().connections(), 1);
    assert_eq!(lab.inventory().unwrap(), before, "a look changes nothing");
}

#[test]
fn a_backup_servers_own_verdict_is_reported() {
    const GOOD: &str = "2026-01-29T23:30:00Z";
    const BAD: &str = "2026-01-30T23:30:00Z";
    let lab = LabBuilder::new().small().backup_server("pbs", &[GOOD, BAD]).start().unwrap();
    let verdict = |time: &str, state: &str| {
        let found = Verification::new(state, 1_770_000_000);
        lab.change_snapshot(&format!("pbs:backup/vm/101/{time}"), |about| about.verification = Some(found))
            .unwrap();
    };
    verdict(GOOD, "ok");
    verdict(BAD, "failed");
    let ran = quick(&lab).exits(2);
    let ran = ran.says(&format!("pbs:backup/vm/101/{BAD}: snapshot-damaged"));
    let ran = ran.says(&format!("pbs:backup/ct/102/{BAD}: snapshot-never-verified"));
    assert!(!flat(&ran).contains(&format!("{GOOD}: snapshot-damaged")), "{ran}");
}

#[test]
fn a_backup_that_did_not_arrive_in_whole_is_reported() {
    const TIME: &str = "2026-01-30T23:30:00Z";
    let lab = LabBuilder::new().small().backup_server("pbs", &[TIME]).start().unwrap();
    let snapshot = format!("pbs:backup/vm/101/{TIME}");
    lab.change_snapshot(&snapshot, |about| about.unfinished = true).unwrap();
    let _ = quick(&lab).exits(2).says(&format!("{snapshot}: snapshot-unfinished"));
    let running = at_work(&lab, "101");
    assert!(!quick(&lab).stdout.contains("snapshot-unfinished"), "it arrives just now");
    drop(running);
}

#[test]
fn what_pct_restore_refuses_by_its_name_is_told() {
    let lab = LabBuilder::new().small().compress("gzip").file("/etc/pve/jobs.cfg", JOB).start().unwrap();
    let name = "vzdump-lxc-102-2026_01_30-01_00_04";
    fs::rename(lab.archive(&format!("{name}.tar.gz")), lab.archive(&format!("{name}.tgz"))).unwrap();
    let _ = quick(&lab).exits(1).says(&format!("{name}.tgz: archive-refused-by-pct"));
}

/// Root may read every file that can be read, so these are some that cannot: events that the kernel only takes.
#[test]
fn what_cannot_be_read_is_no_damage_and_a_link_to_an_archive_is_one() {
    let lab = LabBuilder::new().small().file("/etc/pve/jobs.cfg", JOB).start().unwrap();
    let kernel = fs::read_dir("/sys/bus").unwrap().map(|bus| bus.unwrap().path().join("uevent"));
    let kernel = kernel.into_iter().find(|file| file.exists()).unwrap();
    let (link, other) =
        ("vzdump-qemu-101-2026_01_28-01_00_04.vma", "vzdump-qemu-101-2026_01_27-01_00_04.vma.zst");
    std::os::unix::fs::symlink(kernel, lab.archive(link)).unwrap();
    let real = lab.path("/mnt/data/elsewhere");
    fs::copy(lab.archive("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst"), &real).unwrap();
    std::os::unix::fs::symlink(real, lab.archive(other)).unwrap();
    let ran = quick(&lab).exits(2).says(&format!("{link}: archive-unreadable"));
    assert_eq!(accused(&ran).len(), 1, "{ran}");
}

#[test]
fn a_node_that_cannot_be_reached_is_an_error_and_the_others_are_checked() {
    const NOBODY: &str = "127.254.254.254";
    let lab = LabBuilder::new().small().start().unwrap();
    let config = lab.operator().home().join(".ssh/config");
    let known = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{known}Host {NOBODY}\n  Port 1\n")).unwrap();
    let endpoint = format!("proxmox_endpoint = \"https://{NOBODY}:8006\"\ndefault_node = \"pve-lab\"\n");
    fs::write(lab.operator().environment("lab").join("terraform.tfvars"), endpoint).unwrap();
    let ran = quick(&lab).exits(2).says("could-not-check").says(NOBODY);
    let _ = ran.says("2 nodes, 2 guests, 4 backups: 1 error");
    let _ = verify_backups(&lab, &["--node", "pve-prod", "--max-age", "90000d"]).says("1 node, 2 guests");
    // The silent one may know it.
    let _ = verify_backups(&lab, &["--vmid", "999", "--no-state"]).exits(2).says("2 nodes, 0 guests");
    let _ = verify_backups(&lab, &["--node", "nobody"]).exits(2).says("nobody");
}

#[rstest::rstest]
#[case::guest(&["--vmid", "101", "--vmid", "999"], "no node has a guest 999 or a backup of it (asked: pve-prod")]
#[case::storage(&["--storage", "nas"], "no node keeps backups on a storage `nas`; there are: local")]
#[case::no_storage_of_backups(&["--storage", "local-lvm"], "there are: local")]
fn what_nobody_knows_is_no_good_news(#[case] words: &[&str], #[case] said: &str) {
    let lab = LabBuilder::new().small().file("/etc/pve/jobs.cfg", JOB).start().unwrap();
    let words: Vec<&str> = ["--no-state", "--max-age", "90000d"].iter().chain(words).copied().collect();
    let _ = verify_backups(&lab, &words).exits(2).says(said);
}

#[test]
fn two_nodes_are_looked_at_in_one_run() {
    let (lab, other) = (forty(), LabBuilder::new().small().file("/etc/pve/jobs.cfg", JOB).start().unwrap());
    join(&lab, &other, "lab").unwrap();
    fs::write(other.archive("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst"), "").unwrap();
    let _ = quick(&lab).exits(2).says("archive-empty").says("2 nodes, 4 guests, 44 backups: 1 error");
    let _ = verify_backups(&lab, &["--env", "prod", "--max-age", "90000d"]).exits(0).says("1 node");
    let only = verify_backups(&lab, &["--vmid", "102", "--max-age", "90000d"]).exits(0);
    let _ = only.says("2 nodes, 2 guests, 22 backups");
}
