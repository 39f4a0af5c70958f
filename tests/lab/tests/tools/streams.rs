//! What the simulator's decompressors make of whole files that are put together by hand: as `zstd` 1.5.4 and `lzop` 1.04.

use std::fs;

use crate::{Main, noise, run};
use restore_lab::sim::compress::{lzop_main, zstd_main};
use rstest::rstest;

const MAGIC: &[u8] = b"\x89LZO\0\r\n\x1a\n";
const ADLER: u32 = 1;
const MULTIPART: &str = "lzop: <stdin>: warning: this is a multipart archive (try option '-N')\n";
const GARBAGE: &str = "lzop: <stdin>: warning: ignoring trailing garbage in lzop file\n";

/// A frame that `zstd` passes over.
fn skippable(lowest: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).expect("short").to_le_bytes();
    [&[0x50 | lowest, 0x2a, 0x4d, 0x18], &length[..], content].concat()
}

fn zstd_of(data: &[u8]) -> Vec<u8> {
    let ran = run(zstd_main, "/".as_ref(), &["-q", "-c"], data);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    ran.stdout
}

#[test]
fn frames_without_data_are_passed_over_wherever_they_are() {
    let data = noise(1, 5_000);
    let packed = zstd_of(&data);
    for lowest in 0..16 {
        for empty in [skippable(lowest, b"size"), skippable(lowest, b"")] {
            let bytes = [&empty[..], &packed, &empty, &empty, &packed, &empty].concat();
            let ran = run(zstd_main, "/".as_ref(), &["-q", "-d", "-c"], &bytes);
            assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
            assert!(ran.stdout == [data.clone(), data.clone()].concat());
        }
    }
}

#[rstest]
#[case::within_the_magic(3, "zstd: /*stdin*\\: unknown header \n")]
#[case::within_the_size(7, "/*stdin*\\ : Read error (39) : premature end \n")]
#[case::within_the_content(11, "/*stdin*\\ : Read error (39) : premature end \n")]
fn a_frame_without_data_can_be_cut(#[case] length: usize, #[case] words: &str) {
    let bytes = [&zstd_of(b"data"), &skippable(0, b"size")[..length]].concat();
    let ran = run(zstd_main, "/".as_ref(), &["-q", "-d", "-c"], &bytes);
    assert_eq!((ran.status, &ran.stdout[..], ran.stderr.as_str()), (1, &b"data"[..], words));
}

fn adler32(bytes: &[u8]) -> u32 {
    let step = |(a, b): (u32, u32), byte: &u8| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    };
    let (a, b) = bytes.iter().fold((1, 0), step);
    b << 16 | a
}

/// A file of `lzop` with the right checksums.
#[derive(Clone, Copy)]
struct File {
    version: u16,
    needed: u16,
    method: u8,
    level: u8,
    flags: u32,
    filter: u32,
}

const FILE: File = File { version: 0x1040, needed: 0x0940, method: 1, level: 5, flags: ADLER, filter: 0 };

impl File {
    fn header(&self) -> Vec<u8> {
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
        bytes.extend(vec![0; if has_level { 13 } else { 9 }]);
        let sum = adler32(&bytes).to_be_bytes();
        [MAGIC, &bytes, &sum].concat()
    }

    /// With one block, for which these bytes are stored.
    fn bytes(&self, data: &[u8], stored: &[u8]) -> Vec<u8> {
        let size = u32::try_from(data.len()).expect("short").to_be_bytes();
        [&self.header()[..], &size, &size, &adler32(data).to_be_bytes(), stored, &[0; 4]].concat()
    }
}

/// How `lzop -d -c` ends, with the data and the words.
fn lzop(bytes: &[u8]) -> (i32, Vec<u8>, String) {
    let ran = run(lzop_main, "/".as_ref(), &["-d", "-c"], bytes);
    (ran.status, ran.stdout, ran.stderr)
}

#[rstest]
#[case::version(File { version: 0x08ff, ..FILE }, "header corrupted")]
#[case::newer(File { needed: 0x1041, ..FILE }, "you need a newer version of lzop")]
#[case::older(File { needed: 0x08ff, ..FILE }, "header corrupted")]
#[case::method(File { method: 4, ..FILE }, "unknown compression method -- get a newer version of lzop")]
#[case::level(File { level: 10, ..FILE }, "unknown compression level -- get a newer version of lzop")]
#[case::low_flag(File { flags: ADLER | 0x4000, ..FILE }, "unknown header flags -- get a newer version of lzop")]
#[case::high_flag(File { flags: ADLER | 0x8_0000, ..FILE }, "unknown header flags -- get a newer version of lzop")]
fn headers_that_lzop_refuses_are_refused(#[case] file: File, #[case] words: &str) {
    assert_eq!(lzop(&file.bytes(b"data", b"data")), (1, Vec::new(), format!("lzop: <stdin>: {words}\n")));
}

#[test]
fn what_makes_lzop_give_up_makes_this_give_up() {
    let file = File { flags: 2, ..FILE };
    let words = "lzop: src/p_lzo.c:211: lzo_enter: Assertion `h->flags & F_ADLER32_D' failed.\n";
    assert_eq!(lzop(&file.bytes(b"data", b"data")), (134, Vec::new(), words.into()));
    let file = File { flags: ADLER | 0x800, filter: 17, ..FILE };
    let words = "lzop: <unknown>: Invalid filter\n";
    assert_eq!(lzop(&file.bytes(b"data", b"data")), (1, Vec::new(), words.into()));
    let large = vec![0; 262_145];
    let words = "lzop: <stdin>: block size too small -- recompile lzop\n";
    assert_eq!(lzop(&FILE.bytes(&large, &large)), (1, Vec::new(), words.into()));
}

#[rstest]
#[case::before_there_was_a_level(File { version: 0x0900, ..FILE })]
#[case::for_the_newest(File { needed: 0x1040, ..FILE })]
#[case::no_level(File { level: 0, ..FILE })]
#[case::filter_that_is_none(File { flags: ADLER | 0x800, ..FILE })]
fn headers_that_lzop_takes_are_taken(#[case] file: File) {
    assert_eq!(lzop(&file.bytes(b"data", b"data")), (0, b"data".to_vec(), String::new()));
}

#[rstest]
#[case(1, &[1, 1, 1, 252, 5])]
#[case(2, &[1, 2, 2, 253, 1])]
#[case(16, &[1, 2, 3, 255, 4])]
fn the_filter_is_undone(#[case] filter: u32, #[case] stored: &[u8]) {
    let file = File { flags: ADLER | 0x800, filter, ..FILE };
    let data = [1, 2, 3, 255, 4];
    assert_eq!(lzop(&file.bytes(&data, stored)), (0, data.to_vec(), String::new()));
}

#[test]
fn an_extra_field_is_passed_over_if_its_sum_is_right() {
    let file = File { flags: ADLER | 0x40, ..FILE };
    let field = [&5_u32.to_be_bytes()[..], b"extra"].concat();
    let content = FILE.bytes(b"data", b"data").split_off(FILE.header().len());
    for (sum, status) in [(adler32(&field), 0), (adler32(&field) ^ 1, 1)] {
        let bytes = [&file.header()[..], &field, &sum.to_be_bytes(), &content].concat();
        let (ended, data, words) = lzop(&bytes);
        assert_eq!((ended, data == b"data", words.is_empty()), (status, status == 0, status == 0), "{words}");
    }
}

#[rstest]
#[case::zeros(&[0; 5], 0, "")]
#[case::many_zeros(&vec![0; 70_000], 0, "")]
#[case::garbage(b"more", 2, GARBAGE)]
#[case::garbage_behind_zeros(b"\0\0more", 2, GARBAGE)]
#[case::the_beginning_of_a_magic(&MAGIC[..5], 2, GARBAGE)]
fn what_follows_the_end_is_told(#[case] behind: &[u8], #[case] status: i32, #[case] words: &str) {
    let bytes = [&FILE.bytes(b"data", b"data")[..], behind].concat();
    assert_eq!(lzop(&bytes), (status, b"data".to_vec(), words.into()));
}

#[test]
fn several_files_are_given_with_a_warning() {
    let part = File { flags: ADLER | 0x400, ..FILE };
    assert_eq!(lzop(&part.bytes(b"data", b"data")), (2, b"data".to_vec(), MULTIPART.into()));
    let twice = FILE.bytes(b"data", b"data").repeat(2);
    assert_eq!(lzop(&twice), (2, b"datadata".to_vec(), MULTIPART.into()));
    let garbage = [&twice[..], b"more"].concat();
    assert_eq!(lzop(&garbage), (2, b"datadata".to_vec(), format!("{MULTIPART}{GARBAGE}")));
    let words = format!("{MULTIPART}lzop: unexpected end of file: <stdin>\n");
    assert_eq!(lzop(&twice[..twice.len() - 1]), (1, b"datadata".to_vec(), words));
}

/// `lzop` leaves what it wrote, with a warning and without an end; `zstd` does not.
#[test]
fn a_half_written_output_is_left_by_lzop_only() {
    let root = tempfile::tempdir().expect("a directory");
    let (lzo, zst) = (FILE.bytes(b"data", b"data"), zstd_of(b"data"));
    fs::write(root.path().join("warned.lzo"), [&lzo[..], b"more"].concat()).expect("written");
    fs::write(root.path().join("cut.lzo"), &lzo[..lzo.len() - 1]).expect("written");
    fs::write(root.path().join("none.zst"), &zst[..zst.len() - 1]).expect("written");
    for (main, name, status, is_there) in [
        (lzop_main as Main, "warned.lzo", 2, true),
        (lzop_main, "cut.lzo", 1, true),
        (zstd_main, "none.zst", 1, false),
    ] {
        let ran = run(main, root.path(), &["-q", "-d", &format!("/{name}")], b"");
        let output = root.path().join(&name[..name.len() - 4]);
        assert_eq!((ran.status, output.exists()), (status, is_there), "{name}: {}", ran.stderr);
    }
}
