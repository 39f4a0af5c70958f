//! What the native readers take for a whole stream, and what not: as `zstd` and `lzop` do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{io::Write as _, ops::ControlFlow};

use restore_common::{
    archive::{Damage, ReadError, Whole, read_head, read_to_end},
    pve::{Compression, GuestKind},
};
use rstest::rstest;

const MAGIC: &[u8] = b"\x89LZO\0\r\n\x1a\n";
const ADLER32: u32 = 1;

fn container() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content).unwrap();
    };
    add("./etc/vzdump/pct.conf", b"hostname: dns\n");
    add("./var/data", &(0..20_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    builder.into_inner().unwrap()
}

fn read(bytes: &[u8], compression: Compression) -> Result<Whole, ReadError> {
    read_to_end(bytes, GuestKind::Lxc, compression, &mut |_| ControlFlow::Continue(()))
}

#[track_caller]
fn expect(bytes: &[u8], compression: Compression, damage: Option<Damage>) {
    match (read(bytes, compression), damage) {
        (Ok(whole), None) => assert_eq!((whole.contents.members, whole.size), (2, bytes.len() as u64)),
        (Err(ReadError::Defect(defect)), Some(damage)) => assert_eq!(defect.damage, damage, "{defect}"),
        (found, damage) => panic!("{damage:?}: {found:?}"),
    }
}

/// A frame of zstd that holds no data.
fn skippable(lowest: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    [&[0x50 | lowest, 0x2a, 0x4d, 0x18], &length[..], content].concat()
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `pzstd` writes one in front of each frame.
#[test]
fn frames_of_zstd_without_data_are_passed_over() {
    let data = zstd_of(&container());
    for lowest in 0..16 {
        let empty = skippable(lowest, b"size");
        for bytes in [[&empty[..], &data].concat(), [&data[..], &empty].concat()] {
            expect(&bytes, Compression::Zstd, None);
        }
        let head = read_head(&[empty, data.clone()].concat()[..], GuestKind::Lxc, Compression::Zstd).unwrap();
        assert!(head.config.is_some());
    }
}

#[test]
fn a_frame_without_data_may_be_damaged_too() {
    let (empty, data) = (skippable(0, b"size"), zstd_of(&container()));
    for cut in 1..empty.len() {
        let behind = [&data[..], &empty[..cut]].concat();
        assert!(read(&behind, Compression::Zstd).is_err(), "{cut}");
    }
    for first in [0x40, 0x60] {
        let foreign = [&[first], &empty[1..], &data].concat();
        expect(&foreign, Compression::Zstd, Some(Damage::Damaged));
    }
    expect(&empty, Compression::Zstd, Some(Damage::Truncated));
}

fn adler32(bytes: &[u8]) -> u32 {
    let step = |(a, b): (u32, u32), byte: &u8| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    };
    let (a, b) = bytes.iter().fold((1, 0), step);
    b << 16 | a
}

/// The header of a file of `lzop`, with the right checksum.
struct Header {
    version: u16,
    needed: u16,
    method: u8,
    level: u8,
    flags: u32,
    filter: u32,
}

const HEADER: Header =
    Header { version: 0x1040, needed: 0x0940, method: 1, level: 5, flags: ADLER32, filter: 0 };

impl Header {
    fn bytes(&self) -> Vec<u8> {
        let has_level = self.version >= 0x0940;
        let mut bytes = [self.version.to_be_bytes(), [0x20, 0xa0]].concat();
        if has_level {
            bytes.extend(self.needed.to_be_bytes());
        }
        bytes.push(self.method);
        if has_level {
            bytes.push(self.level);
        }
        bytes.extend(self.flags.to_be_bytes());
        if self.flags & 0x800 != 0 {
            bytes.extend(self.filter.to_be_bytes());
        }
        // Mode, time, and no name.
        bytes.extend(vec![0; if has_level { 13 } else { 9 }]);
        let sum = adler32(&bytes).to_be_bytes();
        [MAGIC, &bytes, &sum].concat()
    }

    /// A file with all of a container in it, as it is.
    fn file(&self) -> Vec<u8> {
        let blocks = container().chunks(64 << 10).flat_map(|data| block(data, data)).collect::<Vec<_>>();
        [self.bytes(), blocks, vec![0; 4]].concat()
    }
}

/// A block that holds `stored` for this data.
fn block(data: &[u8], stored: &[u8]) -> Vec<u8> {
    let size = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&size, &size, &adler32(data).to_be_bytes(), stored].concat()
}

#[rstest]
#[case::plain(HEADER, true)]
#[case::before_there_was_a_level(Header { version: 0x0900, ..HEADER }, true)]
#[case::before_it_was_published(Header { version: 0x08ff, ..HEADER }, false)]
#[case::for_the_newest(Header { needed: 0x1040, ..HEADER }, true)]
#[case::for_a_newer_one(Header { needed: 0x1041, ..HEADER }, false)]
#[case::for_the_oldest(Header { needed: 0x0900, ..HEADER }, true)]
#[case::for_an_older_one(Header { needed: 0x08ff, ..HEADER }, false)]
#[case::method(Header { method: 4, ..HEADER }, false)]
#[case::no_level(Header { level: 0, ..HEADER }, true)]
#[case::level(Header { level: 10, ..HEADER }, false)]
#[case::known_flag(Header { flags: ADLER32 | 0x0000_2000, ..HEADER }, true)]
#[case::lowest_reserved_flag(Header { flags: ADLER32 | 0x0000_4000, ..HEADER }, false)]
#[case::highest_reserved_flag(Header { flags: ADLER32 | 0x0008_0000, ..HEADER }, false)]
#[case::system(Header { flags: ADLER32 | 0x0310_0000, ..HEADER }, true)]
#[case::multipart(Header { flags: ADLER32 | 0x0000_0400, ..HEADER }, false)]
#[case::sums_of_blocks_only(Header { flags: ADLER32 | 0x0000_0200, ..HEADER }, false)]
#[case::filter_that_is_none(Header { flags: ADLER32 | 0x0000_0800, ..HEADER }, true)]
#[case::no_filter(Header { flags: ADLER32 | 0x0000_0800, filter: 17, ..HEADER }, false)]
fn a_header_of_lzop_is_taken_as_lzop_does(#[case] header: Header, #[case] is_taken: bool) {
    expect(&header.file(), Compression::Lzo, (!is_taken).then_some(Damage::Damaged));
}

#[rstest]
#[case(1)]
#[case(3)]
#[case(16)]
fn the_filter_of_lzop_is_undone(#[case] filter: u8) {
    let (data, distance) = (container(), usize::from(filter));
    let header = Header { flags: ADLER32 | 0x0000_0800, filter: filter.into(), ..HEADER };
    let mut bytes = header.bytes();
    for data in data.chunks(64 << 10) {
        let before = |at: usize| at.checked_sub(distance).map_or(0, |at| data[at]);
        let stored: Vec<u8> = (0..data.len()).map(|at| data[at].wrapping_sub(before(at))).collect();
        bytes.extend(block(data, &stored));
    }
    bytes.extend([0; 4]);
    expect(&bytes, Compression::Lzo, None);
}

#[rstest]
#[case::nothing(b"", None)]
#[case::some_zeros(&[0; 5], None)]
#[case::many_zeros(&vec![0; 70_000], None)]
#[case::garbage(b"more", Some(Damage::Damaged))]
#[case::garbage_behind_zeros(b"\0\0more", Some(Damage::Damaged))]
#[case::another_file(&[&HEADER.bytes()[..], &[0; 4]].concat(), Some(Damage::Damaged))]
fn what_follows_a_file_of_lzop(#[case] behind: &[u8], #[case] damage: Option<Damage>) {
    expect(&[&HEADER.file(), behind].concat(), Compression::Lzo, damage);
}

/// `lzop` has room for 256 KiB.
#[test]
fn a_block_of_lzop_is_not_larger_than_it_can_be() {
    let whole = container();
    for (size, damage) in [(256 << 10, None), ((256 << 10) + 1, Some(Damage::Damaged))] {
        let data = [&whole[..], &vec![0; size - whole.len()]].concat();
        let bytes = [HEADER.bytes(), block(&data, &data), vec![0; 4]].concat();
        expect(&bytes, Compression::Lzo, damage);
    }
}
