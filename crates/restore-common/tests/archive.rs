//! The native readers against archives and verdicts of the real `vma`, and against damage of every kind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    fs,
    io::{self, Cursor, Read, Write as _},
    ops::ControlFlow,
    path::Path,
};

use md5::{Digest as _, Md5};
use restore_common::{
    archive::{Damage, Defect, Device, ReadError, Whole, read_head, read_to_end},
    pve::{Compression, GuestKind},
};
use sha2::Sha256;

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lab/tests/data/vectors").join(name))
        .unwrap()
}

fn read(bytes: &[u8], kind: GuestKind, compression: Compression) -> Result<Whole, ReadError> {
    read_to_end(bytes, kind, compression, &mut |_| ControlFlow::Continue(()))
}

#[track_caller]
fn defect(bytes: &[u8], kind: GuestKind, compression: Compression) -> Defect {
    match read(bytes, kind, compression) {
        Err(ReadError::Defect(defect)) => defect,
        other => panic!("no defect: {other:?}"),
    }
}

/// A container's archive with members of many kinds.
fn container() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("./etc/vzdump/pct.conf", b"hostname: dns\nrootfs: local-lvm:vm-102-disk-0,size=8M\n");
    add("./etc/hostname", b"dns\n");
    add(&format!("./srv/{}", "long/".repeat(60)), b"a name that does not fit");
    add("./var/data", &(0..40_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    add("./empty", b"");
    builder.into_inner().unwrap()
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[rstest::rstest]
#[case("two-disks.vma", Compression::None)]
#[case("two-disks.vma.zst", Compression::Zstd)]
#[case("two-disks.vma.gz", Compression::Gzip)]
#[case("two-disks.vma.lzo", Compression::Lzo)]
fn what_the_real_program_wrote_is_read(#[case] name: &str, #[case] compression: Compression) {
    let bytes = golden(name);
    let whole = read(&bytes, GuestKind::Qemu, compression).unwrap();
    let device = |name: &str, size| Device { name: name.to_owned(), size };
    assert_eq!(whole.contents.devices, [device("drive-efidisk0", 540_672), device("drive-scsi0", 1_048_576)]);
    let config = whole.contents.config.as_deref().unwrap();
    assert_eq!(config.len(), 443, "{config}");
    assert_eq!(whole.size, bytes.len() as u64);
    assert_eq!(whole.sha256, <[u8; 32]>::from(Sha256::digest(&bytes)));
    let head = read_head(&bytes[..], GuestKind::Qemu, compression).unwrap();
    assert_eq!((head.config, head.devices), (whole.contents.config, whole.contents.devices));
}

#[test]
fn a_disk_of_zeros_is_all_there() {
    let contents = read(&golden("all-zero.vma"), GuestKind::Qemu, Compression::None).unwrap().contents;
    assert_eq!((contents.data, contents.devices[0].size), (0, 262_144));
}

/// The bytes of `two-disks.vma` after the operations of a verdict.
fn mutated(whole: &[u8], mutation: &serde_json::Value) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for operation in mutation.as_array().unwrap() {
        let number = |key: &str| usize::try_from(operation[key].as_u64().unwrap()).unwrap();
        let hex = |key: &str| {
            let text = operation[key].as_str().unwrap();
            let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
            (0..text.len()).step_by(2).map(digits).collect::<Vec<_>>()
        };
        match operation["op"].as_str().unwrap() {
            "xor" => bytes[number("offset")] ^= u8::try_from(number("value")).unwrap(),
            "set" => {
                let (at, new) = (number("offset"), hex("hex"));
                bytes[at..at + new.len()].copy_from_slice(&new);
            }
            "truncate" => bytes.truncate(number("length")),
            "append" => bytes.extend(hex("hex")),
            "remd5-header" => {
                let size = u32::from_be_bytes(bytes[56..60].try_into().unwrap()) as usize;
                let size = size.min(bytes.len());
                seal(&mut bytes[..size], 32);
            }
            "remd5-extent" => {
                let at = number("offset");
                seal(&mut bytes[at..at + 512], 24);
            }
            other => panic!("an operation that is not known: {other}"),
        }
    }
    bytes
}

/// Puts the right sum where it belongs.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 16].fill(0);
    let sum = Md5::digest(&bytes[..]);
    bytes[at..at + 16].copy_from_slice(&sum);
}

#[test]
fn all_verdicts_of_the_real_program_are_ours() {
    let whole = golden("two-disks.vma");
    let verdicts: Vec<serde_json::Value> = serde_json::from_slice(&golden("vma-verdicts.json")).unwrap();
    assert_eq!(verdicts.len(), 228);
    let (mut refused, mut intact) = (0, 0);
    let mut wrong = Vec::new();
    for verdict in &verdicts {
        let bytes = mutated(&whole, &verdict["mutation"]);
        let extract = &verdict["extract"];
        let ours = read(&bytes, GuestKind::Qemu, Compression::None);
        let name = verdict["name"].as_str().unwrap();
        if extract["exit"] != 0 {
            refused += 1;
            match ours {
                Err(ReadError::Defect(defect)) if !defect.reason.is_empty() => {}
                other => wrong.push(format!("{name}: {extract} but {other:?}")),
            }
        } else if extract["content_intact"] == true {
            intact += 1;
            if let Err(error) = ours {
                wrong.push(format!("{name}: intact but {error}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(
        (refused, intact),
        (182, 5),
        "the other 41 have changed data, which nothing but a recorded hash can tell"
    );
}

/// An extent's header, from its slots of device, cluster and mask.
fn extent(uuid: &[u8], slots: &[(u8, u32, u16)]) -> Vec<u8> {
    let blocks: u32 = slots.iter().map(|(_, _, mask)| mask.count_ones()).sum();
    let mut head = vec![0; 512];
    head[..4].copy_from_slice(b"VMAE");
    head[6..8].copy_from_slice(&u16::try_from(blocks).unwrap().to_be_bytes());
    head[8..24].copy_from_slice(uuid);
    for (index, (id, cluster, mask)) in slots.iter().enumerate() {
        let at = 40 + 8 * index;
        head[at..at + 2].copy_from_slice(&mask.to_be_bytes());
        head[at + 3] = *id;
        head[at + 4..at + 8].copy_from_slice(&cluster.to_be_bytes());
    }
    seal(&mut head, 24);
    head.resize(512 + blocks as usize * 4096, 7);
    head
}

/// The header of an archive with one disk of this size.
fn header(size: u64) -> Vec<u8> {
    let mut bytes = vec![0; 12_800];
    bytes[..8].copy_from_slice(b"VMA\0\0\0\0\x01");
    bytes[8..24].fill(9);
    bytes[48..52].copy_from_slice(&12_288_u32.to_be_bytes());
    bytes[52..56].copy_from_slice(&100_u32.to_be_bytes());
    bytes[56..60].copy_from_slice(&12_800_u32.to_be_bytes());
    bytes[4096 + 35] = 1;
    bytes[4096 + 40..4096 + 48].copy_from_slice(&size.to_be_bytes());
    bytes[12_289..12_303].copy_from_slice(b"\x0c\0drive-scsi0\0");
    seal(&mut bytes, 32);
    bytes
}

#[rstest::rstest]
#[case::whole(&[(1, 0, 0xffff), (1, 1, 0)], None)]
#[case::out_of_order(&[(1, 1, 3), (1, 0, 0)], None)]
#[case::an_empty_slot_says_nothing(&[(1, 0, 0), (0, 77, 0), (1, 1, 0)], None)]
#[case::zeros_behind_the_end(&[(1, 0, 0), (1, 1, 0), (1, 2, 0)], None)]
#[case::the_last_cluster_is_missing(&[(1, 0, 0xffff)], Some("missing cluster 1"))]
#[case::nothing(&[], Some("missing cluster 0"))]
#[case::twice(&[(1, 0, 0), (1, 0, 1)], Some("duplicated cluster 0"))]
#[case::nobody(&[(2, 0, 0)], Some("wrong dev id 2"))]
#[case::data_behind_the_end(&[(1, 0, 0), (1, 1, 0), (1, 2, 1)], Some("write beyond end"))]
#[case::far_behind_the_end(&[(1, 0, 0), (1, 1, 0), (1, 64, 0)], Some("beyond the end"))]
fn clusters_are_counted(#[case] slots: &[(u8, u32, u16)], #[case] reason: Option<&str>) {
    let bytes = [header(131_072), extent(&[9; 16], slots)].concat();
    match (read(&bytes, GuestKind::Qemu, Compression::None), reason) {
        (Ok(_), None) => {}
        (Err(ReadError::Defect(defect)), Some(reason)) => assert!(defect.reason.contains(reason), "{defect}"),
        (other, reason) => panic!("{reason:?}: {other:?}"),
    }
}

/// A disk of 256 TiB whose few clusters are as far from each other as they can be.
#[test]
fn an_absurd_disk_takes_neither_time_nor_memory() {
    let mut bytes = header(1 << 48);
    for extent_number in 0..1000 {
        let slots: Vec<_> = (0..59).map(|slot| (1, extent_number * 590_000 + slot * 10_000 + 1, 0)).collect();
        bytes.extend(extent(&[9; 16], &slots));
    }
    let defect = defect(&bytes, GuestKind::Qemu, Compression::None);
    assert_eq!((defect.damage, defect.reason.contains("missing cluster 0")), (Damage::Incomplete, true));
}

#[test]
fn a_cut_is_found_wherever_it_is() {
    for (bytes, kind) in [(golden("two-disks.vma"), GuestKind::Qemu), (container(), GuestKind::Lxc)] {
        let ends = (1..40).map(|part| bytes.len() * part / 40).chain([bytes.len() - 512, bytes.len() - 1]);
        for end in ends.chain([512, 12_800]) {
            let found = defect(&bytes[..end], kind, Compression::None);
            let expected = [Damage::Truncated, Damage::Incomplete];
            assert!(expected.contains(&found.damage), "cut at {end}: {found:?}");
            let packed = zstd_of(&bytes);
            let found = defect(&packed[..packed.len() * end / bytes.len()], kind, Compression::Zstd);
            assert_eq!(found.damage, Damage::Truncated, "packed and cut at {end}: {found:?}");
        }
    }
}

/// Places of single bits, the same in every run.
fn places(length: usize) -> impl Iterator<Item = (usize, u8)> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let place = usize::try_from(state >> 8).unwrap() % length;
        (place, 1 << (state & 7))
    })
    .take(2000)
}

/// In the header of a stream, these bytes say nothing about the content, and no checksum covers them: when and where a
/// gzip was made, and how much memory decompressing a zstd takes at most.
fn says_nothing(compression: Compression, place: usize) -> bool {
    match compression {
        Compression::Gzip => (3..10).contains(&place),
        Compression::Zstd => place == 5,
        _ => false,
    }
}

#[rstest::rstest]
#[case(GuestKind::Qemu, Compression::Zstd)]
#[case(GuestKind::Qemu, Compression::Gzip)]
#[case(GuestKind::Qemu, Compression::Lzo)]
#[case(GuestKind::Lxc, Compression::Zstd)]
fn every_flipped_bit_is_found(#[case] kind: GuestKind, #[case] compression: Compression) {
    let bytes = match (kind, compression) {
        (GuestKind::Lxc, _) => zstd_of(&container()),
        (GuestKind::Qemu, Compression::Zstd) => golden("two-disks.vma.zst"),
        (GuestKind::Qemu, Compression::Gzip) => golden("two-disks.vma.gz"),
        (GuestKind::Qemu, _) => golden("two-disks.vma.lzo"),
    };
    let whole = read(&bytes, kind, compression).unwrap();
    let mut passed = Vec::new();
    for (place, bit) in places(bytes.len()) {
        let mut flipped = bytes.clone();
        flipped[place] ^= bit;
        if let Ok(flipped) = read(&flipped, kind, compression) {
            assert_ne!(flipped.sha256, whole.sha256, "what was recorded tells");
            assert_eq!(flipped.contents, whole.contents, "bit {bit:#x} at {place}");
            passed.push(place);
        }
    }
    passed.retain(|place| !says_nothing(compression, *place));
    assert!(passed.is_empty(), "not found: {passed:?} of {} bytes", bytes.len());
}

#[rstest::rstest]
#[case(golden("two-disks.vma"), GuestKind::Qemu)]
#[case(container(), GuestKind::Lxc)]
fn without_compression_what_was_recorded_tells(#[case] bytes: Vec<u8>, #[case] kind: GuestKind) {
    let recorded = read(&bytes, kind, Compression::None).unwrap().sha256;
    for (place, bit) in places(bytes.len()) {
        let mut flipped = bytes.clone();
        flipped[place] ^= bit;
        let found = match read(&flipped, kind, Compression::None) {
            Ok(flipped) => flipped.sha256 != recorded,
            Err(ReadError::Defect(_)) => true,
            Err(error) => panic!("{error}"),
        };
        assert!(found, "bit {bit:#x} at {place}");
    }
}

#[test]
fn a_container_is_read() {
    let bytes = container();
    let contents = read(&bytes, GuestKind::Lxc, Compression::None).unwrap().contents;
    assert_eq!(contents.members, 5);
    assert!(contents.config.unwrap().starts_with("hostname: dns\n"));
    let head = read_head(&zstd_of(&bytes)[..], GuestKind::Lxc, Compression::Zstd).unwrap();
    assert!(head.config.is_some());
}

#[test]
fn what_gnu_tar_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("etc/vzdump")).unwrap();
    fs::write(root.join("etc/vzdump/pct.conf"), "hostname: dns\n").unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    for block in 0..30_u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"data", block << 20).unwrap();
    }
    fs::hard_link(root.join("sparse"), root.join("twin")).unwrap();
    std::os::unix::fs::symlink("/nowhere", root.join("link")).unwrap();
    fs::write(root.join(format!("é{}", "x".repeat(200))), "long").unwrap();
    for (format, more) in [("gnu", "--numeric-owner"), ("pax", "--xattrs")] {
        let archive = folder.path().join(format);
        let tar = std::process::Command::new("tar")
            .args(["--sparse", more, "--format", format, "-cf"])
            .arg(&archive)
            .args(["-C".as_ref(), root.as_os_str(), "./etc/vzdump/pct.conf".as_ref(), ".".as_ref()])
            .output()
            .unwrap();
        assert!(tar.status.success(), "{tar:?}");
        let bytes = fs::read(&archive).unwrap();
        let contents = read(&bytes, GuestKind::Lxc, Compression::None).unwrap().contents;
        assert!(contents.config.is_some() && contents.members >= 8, "{format}: {contents:?}");
        assert!(contents.data < 1 << 20, "{format}: holes are not stored");
    }
}

#[rstest::rstest]
#[case::empty(b"".to_vec(), Compression::Zstd, Damage::Empty)]
#[case::renamed(golden("two-disks.vma.gz"), Compression::Zstd, Damage::Foreign)]
#[case::not_compressed(golden("two-disks.vma"), Compression::Gzip, Damage::Foreign)]
#[case::compressed(golden("two-disks.vma.lzo"), Compression::None, Damage::Foreign)]
#[case::a_container(container(), Compression::None, Damage::Foreign)]
#[case::a_packed_container(zstd_of(&container()), Compression::Zstd, Damage::Foreign)]
#[case::text(b"no archive at all".to_vec(), Compression::Lzo, Damage::Damaged)]
#[case::two_bytes(b"\x28\xb5".to_vec(), Compression::Zstd, Damage::Truncated)]
#[case::garbage_behind([golden("two-disks.vma.zst"), b"more".to_vec()].concat(), Compression::Zstd, Damage::Damaged)]
fn what_it_is_not_is_said(#[case] bytes: Vec<u8>, #[case] compression: Compression, #[case] damage: Damage) {
    let found = defect(&bytes, GuestKind::Qemu, compression);
    assert_eq!(found.damage, damage, "{found}");
}

/// A file on a disk that fails.
struct Failing(Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("medium error")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_failing_disk_says_nothing_about_the_archive() {
    let half = golden("two-disks.vma.zst")[..70_000].to_vec();
    let failing = Failing(Cursor::new(half));
    let error = read_to_end(failing, GuestKind::Qemu, Compression::Zstd, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(error, Err(ReadError::Medium(_))), "{error:?}");
}

#[test]
fn reading_stops_when_it_is_asked_to() {
    let bytes = golden("two-disks.vma");
    let stopped =
        read_to_end(&bytes[..], GuestKind::Qemu, Compression::None, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(ReadError::Stopped)), "{stopped:?}");
}

/// `gzip` takes zeros behind the last member for the padding of a tape, and anything else for garbage.
#[rstest::rstest]
#[case::zeros(&vec![0; 70_000], None)]
#[case::one_zero(&[0], None)]
#[case::garbage(b"more", Some(Damage::Damaged))]
#[case::garbage_behind_zeros(b"\0\0more", Some(Damage::Damaged))]
#[case::the_beginning_of_a_member(b"\x1f\x8b", Some(Damage::Truncated))]
fn what_follows_a_gzip(#[case] behind: &[u8], #[case] damage: Option<Damage>) {
    let bytes = [golden("two-disks.vma.gz"), behind.to_vec()].concat();
    let found = read(&bytes, GuestKind::Qemu, Compression::Gzip);
    match (found, damage) {
        (Ok(whole), None) => assert_eq!(whole.size, bytes.len() as u64, "padding counts for the sum"),
        (Err(ReadError::Defect(defect)), Some(damage)) => assert_eq!(defect.damage, damage, "{defect}"),
        (found, _) => panic!("{found:?}"),
    }
}

/// What `zstd --long` writes may be sound: nothing is known about it, and it takes no memory.
#[test]
fn a_window_that_no_backup_has_is_not_followed() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(26).unwrap();
    encoder.write_all(&golden("two-disks.vma")).unwrap();
    let wide = encoder.finish().unwrap();
    let error = read(&wide, GuestKind::Qemu, Compression::Zstd).unwrap_err();
    assert!(
        matches!(error, ReadError::TooWide) && error.to_string().contains("zstd -t --long=31"),
        "{error}"
    );
    // All that vzdump could be made to use.
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.write_all(&golden("two-disks.vma")).unwrap();
    assert!(read(&encoder.finish().unwrap(), GuestKind::Qemu, Compression::Zstd).is_ok());
}

/// A gigabyte of zeros in a few kilobytes.
#[test]
fn a_bomb_is_only_read() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.write_all(&golden("two-disks.vma")).unwrap();
    io::copy(&mut io::repeat(0).take(1 << 30), &mut encoder).unwrap();
    let bomb = encoder.finish().unwrap();
    assert_eq!(defect(&bomb, GuestKind::Qemu, Compression::Zstd).damage, Damage::Damaged);
}

/// All clusters of a disk of 100 GiB: first every other one, then the rest, as a busy guest's writes may order them.
#[test]
fn a_disk_in_any_order_is_whole() {
    const CLUSTERS: u32 = 100 << 14;
    let mut bytes = header(u64::from(CLUSTERS) << 16);
    let scattered: Vec<_> = (0..CLUSTERS).step_by(2).chain((1..CLUSTERS).step_by(2)).collect();
    for clusters in scattered.chunks(59) {
        let slots: Vec<_> = clusters.iter().map(|cluster| (1, *cluster, 0)).collect();
        bytes.extend(extent(&[9; 16], &slots));
    }
    read(&bytes, GuestKind::Qemu, Compression::None).unwrap();
}

/// A member's size from an extended header, the largest there is.
#[test]
fn the_largest_size_is_no_number_to_add() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_entry_type(kind);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("./a", tar::EntryType::Regular, b"some");
    add("./b", tar::EntryType::XHeader, b"29 size=18446744073709551615\n");
    add("./b", tar::EntryType::Regular, b"some");
    let bytes = builder.into_inner().unwrap();
    assert_eq!(defect(&bytes, GuestKind::Lxc, Compression::None).damage, Damage::Damaged);
}

/// The header again, with this name of its disk.
fn header_with_name(name: &[u8]) -> Vec<u8> {
    let mut bytes = header(131_072);
    let blob = [&u16::try_from(name.len() + 1).unwrap().to_le_bytes()[..], name, b"\0"].concat();
    bytes[12_289..].fill(0);
    bytes[12_289..12_289 + blob.len()].copy_from_slice(&blob);
    seal(&mut bytes, 32);
    bytes
}

#[test]
fn a_disk_whose_name_is_no_text_is_a_disk() {
    let bytes = header_with_name(b"drive-\xffcsi0");
    assert_eq!(defect(&bytes, GuestKind::Qemu, Compression::None).damage, Damage::Incomplete);
}

#[test]
fn a_name_that_no_file_can_have_is_refused() {
    let bytes = [header_with_name(b"drive/scsi0"), extent(&[9; 16], &[(1, 0, 0), (1, 1, 0)])].concat();
    assert_eq!(defect(&bytes, GuestKind::Qemu, Compression::None).damage, Damage::Damaged);
}

#[test]
fn memory_of_a_guest_need_not_fill_its_size() {
    let bytes = [header_with_name(b"vmstate"), extent(&[9; 16], &[(1, 0, 0)])].concat();
    read(&bytes, GuestKind::Qemu, Compression::None).unwrap();
}

/// Puts the right sum into a header of a tar.
fn seal_member(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[test]
fn a_container_that_lies_is_no_reason_to_panic() {
    let whole = container();
    let headers: Vec<_> =
        (0..whole.len()).step_by(512).filter(|at| whole[at + 257..].starts_with(b"ustar")).collect();
    let mut refused = 0;
    for (place, bit) in places(headers.len() * 512) {
        let mut bytes = whole.clone();
        let at = headers[place / 512];
        bytes[at + place % 512] ^= bit;
        // Sizes and kinds are what leads astray.
        bytes[at + 124 + place % 12] = bit.rotate_left(3) | 0x30;
        bytes[at + 156] = b"0157xgLKSDV"[place % 11];
        seal_member(&mut bytes[at..at + 512]);
        refused += usize::from(read(&bytes, GuestKind::Lxc, Compression::None).is_err());
    }
    assert!(refused > 1000, "{refused} of 2000");
}
