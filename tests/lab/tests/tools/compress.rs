//! The simulator's compressors against archives made by the real ones, and against damage.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use crate::{Main, noise, run, sha256, vector};
use restore_lab::sim::compress::{Compression, Pipe, ToolError, lzop_main, zstd_main};
use rstest::rstest;

const KINDS: [Compression; 4] = [Compression::None, Compression::Zstd, Compression::Gzip, Compression::Lzo];

fn pack(kind: Compression, data: &[u8]) -> Vec<u8> {
    let mut writer = kind.writer(Vec::new()).expect("a compressor");
    writer.write_all(data).expect("compressed");
    writer.finish().expect("finished")
}

/// What could be read, and the line of the tool if it failed.
fn unpack(kind: Compression, packed: &[u8], name: &str) -> (Vec<u8>, Option<String>) {
    let mut pipe = Pipe::new(kind.reader(packed, name).expect("a decompressor"));
    let mut data = Vec::new();
    pipe.read_to_end(&mut data).expect("a pipe only ends");
    let line = pipe.failure().map(|error| ToolError::of(error).expect("words of the tool").line.clone());
    (data, line)
}

/// Data with easy and hard parts, several blocks of every format long.
fn mixture() -> Vec<u8> {
    [vec![0; 700_000], noise(1, 300_000), b"one line of text\n".repeat(20_000), noise(2, 5)].concat()
}

#[test]
fn archives_of_the_real_tools_are_read() {
    let plain = vector("two-disks.vma");
    for kind in KINDS {
        let name = format!("two-disks.vma{}", kind.suffix());
        assert_eq!(Compression::of(&name), kind);
        let (data, failure) = unpack(kind, &vector(&name), &name);
        assert_eq!((sha256(&data), failure), (sha256(&plain), None), "{name}");
    }
}

#[test]
fn what_is_compressed_is_decompressed_again() {
    for kind in KINDS {
        for data in [mixture(), Vec::new(), vec![1], noise(9, 262_144), vec![0; 262_145]] {
            let (out, failure) = unpack(kind, &pack(kind, &data), "x");
            assert!(out == data && failure.is_none(), "{kind:?}, {} bytes: {failure:?}", data.len());
        }
    }
}

#[test]
fn bzip2_is_known_but_refused() {
    assert_eq!(Compression::of("vzdump-qemu-100-2026_01_30-12_00_00.vma.bz2"), Compression::Bzip2);
    assert!(Compression::Bzip2.reader(&b""[..], "x").is_err_and(|error| error.to_string().contains("bzip2")));
}

#[rstest]
#[case(Compression::Zstd, "_30-12_00_00.vma.zst : Read error (39) : premature end ")]
#[case(Compression::Gzip, "gzip: /d/vzdump-qemu-100-2026_01_30-12_00_00.vma.zst: unexpected end of file")]
#[case(Compression::Lzo, "lzop: unexpected end of file: /d/vzdump-qemu-100-2026_01_30-12_00_00.vma.zst")]
fn a_cut_archive_gives_its_beginning_and_the_words_of_the_tool(
    #[case] kind: Compression,
    #[case] words: &str,
) {
    let data = mixture();
    let packed = pack(kind, &data);
    let step = packed.len() / 97;
    for cut in (60..packed.len()).step_by(step) {
        let (out, failure) = unpack(kind, &packed[..cut], "/d/vzdump-qemu-100-2026_01_30-12_00_00.vma.zst");
        assert!(data.starts_with(&out), "cut at {cut}");
        assert_eq!(failure.as_deref(), Some(words), "cut at {cut}");
        if kind == Compression::Lzo {
            assert_eq!(out.len() % 262_144, 0, "lzop gives whole blocks only, cut at {cut}");
        }
    }
    let (out, _) = unpack(kind, &packed[..packed.len() - 1], "x");
    assert!(out.len() > data.len() / 2, "what comes before the cut is not held back");
}

#[rstest]
#[case(Compression::Zstd, &b"garbage, not an archive"[..], "zstd: x: unsupported format ")]
#[case(Compression::Zstd, &b""[..], "zstd: x: unexpected end of file ")]
#[case(Compression::Zstd, &b"(\xb5"[..], "zstd: x: unknown header ")]
#[case(Compression::Gzip, &b"garbage, not an archive"[..], "gzip: x: not in gzip format")]
#[case(Compression::Gzip, &b""[..], "gzip: x: unexpected end of file")]
#[case(Compression::Lzo, &b"garbage, not an archive"[..], "lzop: x: not a lzop file")]
#[case(Compression::Lzo, &b""[..], "lzop: x: not a lzop file")]
fn foreign_files_are_refused(#[case] kind: Compression, #[case] file: &[u8], #[case] words: &str) {
    assert_eq!(unpack(kind, file, "x"), (Vec::new(), Some(words.into())));
}

#[rstest]
#[case(
    "two-disks.vma.zst",
    "two-disks.vma.zst : Decoding error (36) : Restored data doesn't match checksum "
)]
#[case("two-disks.vma.gz", "gzip: two-disks.vma.gz: invalid compressed data--crc error")]
#[case("two-disks.vma.lzo", "lzop: two-disks.vma.lzo: Checksum error")]
fn a_flipped_bit_is_found(#[case] name: &str, #[case] words: &str) {
    let mut packed = vector(name);
    let middle = packed.len() / 2;
    packed[middle] ^= 1 << 4;
    assert_eq!(unpack(Compression::of(name), &packed, name).1.as_deref(), Some(words));
}

#[test]
fn no_damage_goes_unnoticed_or_panics() {
    let data = [vec![3; 4_000], noise(4, 500), b"text text text ".repeat(30)].concat();
    for kind in [Compression::Zstd, Compression::Gzip, Compression::Lzo] {
        let packed = pack(kind, &data);
        for at in 0..packed.len() {
            for bit in [0, 3, 7] {
                let mut damaged = packed.clone();
                damaged[at] ^= 1 << bit;
                let (out, failure) = unpack(kind, &damaged, "x");
                assert!(out == data || failure.is_some(), "{kind:?}: bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn gzip_ignores_zeros_behind_the_end_and_complains_about_the_rest() {
    let data = mixture();
    let packed = pack(Compression::Gzip, &data);
    let padded = [packed.clone(), vec![0; 10_000]].concat();
    assert!(unpack(Compression::Gzip, &padded, "x") == (data.clone(), None));
    let twice = [packed.clone(), packed.clone()].concat();
    assert!(unpack(Compression::Gzip, &twice, "x") == ([data.clone(), data.clone()].concat(), None));
    let (out, failure) = unpack(Compression::Gzip, &[packed, b"hello".to_vec()].concat(), "x");
    assert!(out == data);
    assert_eq!(failure.as_deref(), Some("gzip: x: decompression OK, trailing garbage ignored"));
}

#[test]
fn the_tools_of_the_machine_agree_where_it_has_them() {
    for (program, kind) in
        [("zstd", Compression::Zstd), ("gzip", Compression::Gzip), ("lzop", Compression::Lzo)]
    {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join(format!("x{}", kind.suffix()));
        fs::write(&file, pack(kind, &mixture())).expect("written");
        match std::process::Command::new(program).arg("-dc").arg(&file).output() {
            Ok(out) => assert!(out.status.success() && out.stdout == mixture(), "{program}: {out:?}"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{program}"),
        }
    }
}

fn root_with(name: &str, data: &[u8]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    fs::write(root.path().join(name), data).expect("written");
    root
}

#[rstest]
#[case::zstd_apart(zstd_main, "/f.zst", &["-q", "-d", "-c"])]
#[case::zstd_together(zstd_main, "/f.zst", &["-qdc"])]
#[case::zstd_long(zstd_main, "/f.zst", &["--quiet", "--decompress", "--stdout"])]
#[case::lzop_apart(lzop_main, "/f.lzo", &["-d", "-c"])]
#[case::lzop_together(lzop_main, "/f.lzo", &["-dc"])]
fn tools_decompress_to_standard_output(#[case] main: Main, #[case] file: &str, #[case] options: &[&str]) {
    let packed = pack(Compression::of(file), &mixture());
    let root = root_with(&file[1..], &packed);
    let ran = run(main, root.path(), &[options, &[file]].concat(), b"");
    assert!(ran.status == 0 && ran.stdout == mixture() && ran.stderr.is_empty(), "{}", ran.stderr);
    let piped = run(main, root.path(), options, &packed);
    assert!(piped.status == 0 && piped.stdout == mixture(), "{}", piped.stderr);
}

#[test]
fn tools_compress_standard_input_and_files() {
    let root = root_with("f", &mixture());
    for (main, kind, options) in [
        (zstd_main as Main, Compression::Zstd, &["--threads=1"][..]),
        (zstd_main, Compression::Zstd, &["-T0", "-q"]),
        (lzop_main, Compression::Lzo, &[]),
    ] {
        let ran = run(main, root.path(), options, &mixture());
        assert!(ran.status == 0 && unpack(kind, &ran.stdout, "x") == (mixture(), None), "{}", ran.stderr);
    }
    assert_eq!(run(zstd_main, root.path(), &["-q", "/f"], b"").status, 0);
    assert_eq!(run(zstd_main, root.path(), &["-q", "-d", "/f.zst", "-o", "/again"], b"").status, 0);
    assert!(fs::read(root.path().join("again")).expect("written") == mixture());
    let twice = run(zstd_main, root.path(), &["-q", "/f"], b"");
    assert_eq!(
        (twice.status, twice.stderr.as_str()),
        (1, "zstd: /f.zst already exists; not overwritten  \n")
    );
    assert_eq!(run(zstd_main, root.path(), &["-q", "-f", "/f"], b"").status, 0);
}

#[test]
fn tools_test_archives_and_say_what_is_wrong() {
    let packed = pack(Compression::Zstd, &mixture());
    let root = root_with("a-name-longer-than-twenty.zst", &packed[..packed.len() / 2]);
    fs::write(root.path().join("good.zst"), &packed).expect("written");
    let file = "/a-name-longer-than-twenty.zst";
    let ran = |args: &[&str]| {
        let ran = run(zstd_main, root.path(), args, b"");
        assert!(ran.stdout.is_empty() || !args.contains(&"-t"));
        (ran.status, ran.stderr)
    };
    let words = "ger-than-twenty.zst : Read error (39) : premature end \n";
    let (status, stderr) = ran(&["-q", "-t", file]);
    assert_eq!(status, 1);
    assert!(stderr.ends_with(words), "{stderr}");
    assert_eq!(ran(&["-q", "-d", "-c", file]).0, 1);
    assert_eq!(ran(&["-q", "-t", "/good.zst"]), (0, String::new()));
    assert_eq!(ran(&["-t", "/good.zst"]), (0, format!("/good.zst: {} bytes \n", mixture().len())));
    assert_eq!(
        ran(&["-t", "/nosuch.zst"]),
        (1, "zstd: can't stat /nosuch.zst : No such file or directory -- ignored \n".into())
    );
    assert_eq!(ran(&["--frobnicate"]).0, 1);
    assert_eq!(run(lzop_main, Path::new("/"), &["-t", "/dev/null/nosuch"], b"").status, 1);
    let stdin = run(zstd_main, root.path(), &["-q", "-d", "-c"], &packed[..packed.len() / 2]);
    assert_eq!(stdin.stderr, "/*stdin*\\ : Read error (39) : premature end \n");
}
