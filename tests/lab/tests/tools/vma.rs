//! The simulator's `vma` against archives and verdicts of the real program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::{Ran, noise, run, sha256, vector};
use restore_lab::sim::tool::Tool;
use restore_lab::sim::vma::{self, Config, Device, Error, Header, Reader, Writer, write_disks};
use serde::Deserialize;

const EFIDISK: &str = "909c61d28f765d5560f06a5d2d4261da57515805a1079b0c48c01e88af6d455d";
const SCSI0: &str = "3509ac0eb89c334428300055eb473e6b5cc08e5c9d845f9d9bb10621d818a884";
const CONFIG: &str = "8417a376ee7955b19ae6cb94e8ad9853140b27f20c10a22f1a4486c212ef82a0";

fn vma(root: &Path, args: &[&str], stdin: &[u8]) -> Ran {
    run(vma::command::main, root, args, stdin)
}

/// Whether a directory holds exactly what `two-disks.vma` contains.
fn is_intact(directory: &Path) -> bool {
    let same =
        |file: &str, hash: &str| fs::read(directory.join(file)).is_ok_and(|data| sha256(&data) == hash);
    same("qemu-server.conf", CONFIG)
        && same("disk-drive-efidisk0.raw", EFIDISK)
        && same("disk-drive-scsi0.raw", SCSI0)
}

#[derive(Deserialize)]
struct Case {
    name: String,
    mutation: Vec<Mutation>,
    verify: Verdict,
    extract: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    exit: i32,
    message: String,
    content_intact: Option<bool>,
}

impl Verdict {
    /// A shell adds 128 to the number of the signal.
    fn status(&self) -> i32 {
        if self.exit < 0 { 128 - self.exit } else { self.exit }
    }
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
enum Mutation {
    Xor { offset: usize, value: u8 },
    Set { offset: usize, hex: String },
    Truncate { length: usize },
    Append { hex: String },
    Remd5Header,
    Remd5Extent { offset: usize },
}

impl Mutation {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Xor { offset, value } => bytes[*offset] ^= value,
            Self::Set { offset, hex } => {
                let new = from_hex(hex);
                bytes[*offset..*offset + new.len()].copy_from_slice(&new);
            }
            Self::Truncate { length } => bytes.truncate(*length),
            Self::Append { hex } => bytes.extend(from_hex(hex)),
            Self::Remd5Header => put_md5(&mut bytes[..12800], 32),
            Self::Remd5Extent { offset } => put_md5(&mut bytes[*offset..*offset + 512], 24),
        }
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn put_md5(bytes: &mut [u8], field: usize) {
    use md5::{Digest, Md5};
    bytes[field..field + 16].fill(0);
    let md5 = Md5::digest(&*bytes);
    bytes[field..field + 16].copy_from_slice(&md5);
}

#[test]
fn verdicts_are_those_of_the_real_program() {
    let cases: Vec<Case> = serde_json::from_slice(&vector("vma-verdicts.json")).expect("verdicts");
    assert_eq!(cases.len(), 228);
    let original = vector("two-disks.vma");
    for case in cases {
        let mut archive = original.clone();
        for mutation in &case.mutation {
            mutation.apply(&mut archive);
        }
        let root = tempfile::tempdir().expect("a directory");
        let verify = vma(root.path(), &["verify", "-"], &archive);
        let extract = vma(root.path(), &["extract", "-", "/out"], &archive);
        for (command, real, ran) in [("verify", &case.verify, verify), ("extract", &case.extract, extract)] {
            assert_eq!(ran.status, real.status(), "{command} {}: {ran:?}", case.name);
            assert_eq!(ran.stderr.trim_end(), real.message, "{command} {}", case.name);
        }
        let intact = is_intact(&root.path().join("out"));
        assert_eq!(Some(intact), case.extract.content_intact, "{}", case.name);
    }
}

#[test]
fn list_config_and_verify_print_what_the_archive_holds() {
    let root = tempfile::tempdir().expect("a directory");
    fs::write(root.path().join("a.vma"), vector("two-disks.vma")).expect("written");
    let list = vma(root.path(), &["list", "/a.vma"], b"");
    assert_eq!(list.status, 0);
    let lines: Vec<&str> = list.text().lines().collect();
    let [config, efidisk, scsi0, ctime] = lines[..] else { panic!("{lines:?}") };
    assert_eq!(config, "CFG: size: 443 name: qemu-server.conf");
    assert_eq!(efidisk, "DEV: dev_id=1 size: 540672 devname: drive-efidisk0");
    assert_eq!(scsi0, "DEV: dev_id=2 size: 1048576 devname: drive-scsi0");
    assert!(ctime.starts_with("CTIME: "), "{ctime}");

    let config = vma(root.path(), &["config", "/a.vma"], b"");
    assert_eq!((config.status, config.stdout), (0, vector("qemu-server.conf")));
    let missing = vma(root.path(), &["config", "/a.vma", "-c", "qemu-server.fw"], b"");
    assert_eq!(
        (missing.status, missing.stderr.as_str()),
        (255, "unable to find configuration data 'qemu-server.fw'\n")
    );

    let verify = vma(root.path(), &["verify", "-v", "/a.vma"], b"");
    assert_eq!(verify.status, 0);
    let text = verify.text();
    assert!(text.starts_with(list.text()), "{text}");
    // 25 clusters, and 24 whole ones are 100 %.
    assert!(text.contains("\nprogress 4% (read 65536 bytes, duration 0 sec)\n"), "{text}");
    assert!(text.contains("\nprogress 104% (read 1638400 bytes, duration 0 sec)\n"), "{text}");
    assert!(text.contains("\ntotal bytes read 1638400, sparse bytes "), "{text}");
    assert!(text.contains("\nspace reduction due to 4K zero blocks "), "{text}");
    assert_eq!(vma(root.path(), &["verify", "/a.vma"], b"").stdout, b"");
}

#[test]
fn an_archive_of_zeros_saves_no_space_and_an_empty_one_says_so() {
    let root = tempfile::tempdir().expect("a directory");
    let zeros = vma(root.path(), &["verify", "-v", "-"], &vector("all-zero.vma"));
    assert!(zeros.text().ends_with("\ntotal bytes read 262144, sparse bytes 262144 (100%)\n"), "{zeros:?}");
    let header_only = &vector("two-disks.vma")[..12800];
    let empty = vma(root.path(), &["verify", "-v", "-"], header_only);
    assert!(empty.text().ends_with("\nvma archive contains no image data\n"), "{empty:?}");
    assert_eq!(empty.status, 0);
}

#[test]
fn wrong_words_give_the_usage_and_status_1() {
    let root = tempfile::tempdir().expect("a directory");
    let wrong: [&[&str]; 6] =
        [&[], &["frobnicate"], &["verify"], &["verify", "-x", "f"], &["list", "a", "b"], &["extract", "a"]];
    for args in wrong {
        let ran = vma(root.path(), args, b"");
        assert_eq!(ran.status, 1, "{args:?}");
        assert!(ran.text().starts_with("usage: vma command"), "{args:?}");
    }
    let missing = vma(root.path(), &["verify", "/nosuch.vma"], b"");
    assert_eq!(missing.status, 133);
    assert_eq!(missing.stderr, "vma: can't open file /nosuch.vma - No such file or directory\n");
}

#[test]
fn extract_refuses_an_existing_directory_and_takes_chosen_devices() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = vector("two-disks.vma");
    let one = vma(root.path(), &["extract", "-d", "drive-scsi0", "-", "/out"], &archive);
    assert_eq!((one.status, one.text()), (0, "DEVINFO /out/tmp-disk-drive-scsi0.raw 1048576\n"));
    let disk = fs::read(root.path().join("out/disk-drive-scsi0.raw")).expect("extracted");
    assert_eq!(sha256(&disk), SCSI0);
    assert!(!root.path().join("out/disk-drive-efidisk0.raw").exists());
    let again = vma(root.path(), &["extract", "-", "/out"], &archive);
    assert_eq!(
        (again.status, again.stderr.as_str()),
        (133, "vma: unable to create target directory /out - File exists\n")
    );
}

#[test]
fn a_map_file_decides_where_the_data_goes() {
    let root = tempfile::tempdir().expect("a directory");
    let archive = vector("two-disks.vma");
    let disk = root.path().join("disk");
    let map = root.path().join("map");
    fs::write(&map, "skip=drive-efidisk0\nformat=raw:cache=none:1:drive-scsi0=/disk\ndone\nignored")
        .expect("written");
    fs::write(&disk, vec![0xaa; 1 << 20]).expect("written");
    let args = |out: &'static str| ["extract", "-v", "-r", "/map", "-", out];
    let ran = vma(root.path(), &args("/1"), &archive);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.text().starts_with("CFG: size: 443 "), "{ran:?}");
    assert_eq!(sha256(&fs::read(&disk).expect("restored")), SCSI0, "zeros were to be written");

    fs::write(&disk, vec![0; (1 << 20) - 512]).expect("written");
    let small = vma(root.path(), &args("/2"), &archive);
    assert_eq!(small.status, 133);
    assert_eq!(
        small.stderr,
        "vma: vma_reader_register_bs for stream drive-scsi0 failed - unexpected size 1048064 != 1048576\n"
    );
    fs::write(&map, "0:drive-scsi0=/disk\n").expect("written");
    let unmapped = vma(root.path(), &args("/3"), &archive);
    assert_eq!(unmapped.stderr, "vma: no device name mapping for drive-efidisk0\n");
}

/// The archive of the format description: every byte of it is known.
#[test]
fn the_writer_makes_the_known_archive() {
    let header = Header {
        uuid: std::array::from_fn(|i| u8::try_from(i).expect("small")),
        ctime: 1_700_000_000,
        configs: vec![Config { name: "qemu-server.conf".into(), data: b"memory: 512\n".to_vec() }],
        devices: vec![Device { id: 1, name: "drive-scsi0".into(), size: 200_704 }],
    };
    let mut disk = vec![0; 200_704];
    disk[..4096].fill(0x41);
    disk[8192..8195].copy_from_slice(b"xyz");
    for (i, byte) in disk[131_072..196_608].iter_mut().enumerate() {
        *byte = u8::try_from(i % 251 + 1).expect("small");
    }
    disk[196_608..].fill(0xff);
    let mut disks: Vec<Box<dyn Read>> = vec![Box::new(Cursor::new(disk))];
    let (archive, zeros) = write_disks(Vec::new(), &header, &mut disks, &mut |_, _| ()).expect("written");
    assert_eq!(archive.len(), 91_136);
    assert_eq!(archive[32..48], from_hex("b78d68bc62aa0f96a6ac9136b487409a"));
    assert_eq!(archive[12_824..12_840], from_hex("6fb7975e9568b7c8b895b7078a24b869"));
    assert_eq!(sha256(&archive), "bd3dd8705c46608ce37fc38dd9a446a86c4e9b7b46580645babdadee42562d2d");
    assert_eq!(zeros, [200_704 - 19 * 4096]);
}

#[test]
fn what_is_created_is_extracted_again() {
    let root = tempfile::tempdir().expect("a directory");
    let mut large = noise(1, 90 * 65_536 + 4096 + 512);
    large[65_536..40 * 65_536].fill(0);
    let small = noise(2, 512);
    fs::write(root.path().join("qemu-server.conf"), "memory: 512\n").expect("written");
    fs::write(root.path().join("qemu-server.fw"), noise(3, 60_000)).expect("written");
    fs::write(root.path().join("large"), &large).expect("written");
    fs::write(root.path().join("small"), &small).expect("written");
    let made = vma(
        root.path(),
        &[
            "create",
            "-v",
            "/a.vma",
            "-c",
            "/qemu-server.conf",
            "-c",
            "/qemu-server.fw",
            "drive-scsi0=/large",
            "drive-ide0=/small",
        ],
        b"",
    );
    assert_eq!(made.status, 0, "{made:?}");
    assert!(made.text().contains("image drive-ide0: size=512 zeros=0 saved=512\n"), "{made:?}");
    let ran = vma(root.path(), &["extract", "-v", "/a.vma", "/out"], b"");
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    let out = |name: &str| fs::read(root.path().join("out").join(name)).expect("extracted");
    assert!(out("disk-drive-scsi0.raw") == large);
    assert!(out("disk-drive-ide0.raw") == small);
    assert!(out("qemu-server.fw") == noise(3, 60_000));
}

#[test]
fn progress_of_a_tiny_archive_divides_by_zero() {
    let header = Header {
        uuid: [1; 16],
        ctime: 0,
        configs: vec![],
        devices: vec![Device { id: 1, name: "drive-efidisk0".into(), size: 4096 }],
    };
    let mut disks: Vec<Box<dyn Read>> = vec![Box::new(Cursor::new([1; 4096]))];
    let (archive, _) = write_disks(Vec::new(), &header, &mut disks, &mut |_, _| ()).expect("written");
    let root = tempfile::tempdir().expect("a directory");
    assert_eq!(vma(root.path(), &["verify", "-"], &archive).status, 0);
    let verbose = vma(root.path(), &["verify", "-v", "-"], &archive);
    assert_eq!((verbose.status, verbose.stderr.as_str()), (136, ""));
}

#[test]
fn a_ram_image_comes_in_order_and_is_listed_apart() {
    let header = Header {
        uuid: [7; 16],
        ctime: 0,
        configs: vec![],
        devices: vec![Device { id: 3, name: "vmstate".into(), size: 131_072 }],
    };
    assert_eq!(header.listing()[0], "VMSTATE: dev_id=3 memory: 131072");
    let archive = |clusters: &[u32]| {
        let mut writer = Writer::new(Vec::new(), &header).expect("a header");
        for &cluster in clusters {
            writer.cluster(3, cluster, &vec![1; 65_536]).expect("a cluster");
        }
        writer.finish().expect("an archive")
    };
    let verify = |archive: Vec<u8>| Reader::open(archive.as_slice()).expect("a header").verify(None);
    assert!(verify(archive(&[0, 1, 2])).is_ok_and(|totals| totals.clusters == 3));
    assert_eq!(verify(archive(&[0, 2])), Err(Error::Data("found out of order vmstate data".into())));
}

/// Archives that are damaged or unusual, and what the real program did with each.
#[derive(Deserialize)]
struct Mutated {
    texts: Vec<String>,
    cases: Vec<MutatedCase>,
}

#[derive(Deserialize)]
struct MutatedCase {
    name: String,
    base: String,
    length: usize,
    set: Vec<(usize, String)>,
    /// Exit status, and the numbers of the texts on standard error and standard output.
    runs: Vec<(i32, usize, usize)>,
    /// What is extracted, with its hash. Each character of a name is a byte.
    files: Option<BTreeMap<String, String>>,
    /// A lab does not write where the real program does.
    #[serde(default)]
    leaves: bool,
}

impl MutatedCase {
    fn archive(&self) -> Vec<u8> {
        let mut bytes = match self.base.as_str() {
            "two-disks" => vector("two-disks.vma")[..13_312].to_vec(),
            _ => Vec::new(),
        };
        bytes.resize(self.length, 0);
        for (at, hex) in &self.set {
            let new = from_hex(hex);
            bytes[*at..*at + new.len()].copy_from_slice(&new);
        }
        bytes
    }
}

/// A text whose characters are the bytes.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Exit status, standard error and standard output as bytes, as the real program's were noted.
fn noted(root: &Path, args: &[&str]) -> (i32, String, String) {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let map = |path: &str| root.join(path);
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut tool = Tool { stdin: &mut std::io::empty(), stdout: &mut stdout, stderr: &mut stderr, map: &map };
    let status = vma::command::main(&args, &mut tool);
    let stderr = latin1(&stderr).trim_end_matches('\n').to_owned();
    (status, without_random_letters(stderr), latin1(&stdout))
}

/// The name of a temporary file ends in a dot and six of them, and stands in quotes.
fn without_random_letters(text: String) -> String {
    const END_OF_QUOTE: &str = "\u{e2}\u{80}\u{9d}";
    let is_random = |name: &str| {
        name.rsplit_once('.')
            .is_some_and(|(_, end)| end.len() == 6 && end.bytes().all(|b| b.is_ascii_uppercase()))
    };
    match text.split_once(END_OF_QUOTE) {
        Some((before, after)) if is_random(before) => {
            format!("{}XXXXXX{END_OF_QUOTE}{after}", &before[..before.len() - 6])
        }
        _ => text,
    }
}

fn extracted(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("an entry"));
    let hashed = |file: fs::DirEntry| {
        (latin1(file.file_name().as_bytes()), sha256(&fs::read(file.path()).expect("a file")))
    };
    files.map(hashed).collect()
}

#[test]
fn mutated_archives_end_as_with_the_real_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vma-mutations.json.zst");
    let packed = zstd::Decoder::new(fs::File::open(path).expect("cases")).expect("a stream");
    let Mutated { texts, cases } = serde_json::from_reader(packed).expect("mutated archives");
    assert!(cases.len() > 300, "{}", cases.len());
    let commands: [&[&str]; 6] = [
        &["list", "m.vma"],
        &["config", "m.vma"],
        &["verify", "m.vma"],
        &["verify", "-v", "m.vma"],
        &["extract", "m.vma", "x"],
        &["extract", "-v", "m.vma", "x"],
    ];
    let mut wrong = Vec::new();
    for case in cases {
        for (args, (status, stderr, stdout)) in commands.iter().zip(&case.runs) {
            // What a lab refuses on purpose has a test of its own.
            if case.leaves && args[0] == "extract" {
                continue;
            }
            let root = tempfile::tempdir().expect("a directory");
            fs::write(root.path().join("m.vma"), case.archive()).expect("written");
            let real = (*status, texts[*stderr].clone(), texts[*stdout].clone());
            let ours = noted(root.path(), args);
            if ours != real {
                wrong.push(format!("{}: {args:?}\n  real {real:?}\n  ours {ours:?}", case.name));
            }
            if let (0, ["extract", "m.vma", _], Some(files)) = (ours.0, args, &case.files) {
                let ours = extracted(&root.path().join("x"));
                assert_eq!(&ours, files, "{}", case.name);
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_configuration_does_not_leave_its_directory_in_a_lab() {
    let config = |name: &str| Config { name: name.to_owned(), data: b"data".to_vec() };
    for name in ["../esc", "./../esc", "//.././esc"] {
        let header = Header { uuid: [1; 16], ctime: 0, configs: vec![config(name)], devices: vec![] };
        let archive = Writer::new(Vec::new(), &header).and_then(Writer::finish).expect("an archive");
        let root = tempfile::tempdir().expect("a directory");
        let ran = vma(root.path(), &["extract", "-", "/out"], &archive);
        assert_eq!(ran.status, 133, "{ran:?}");
        assert!(!root.path().join("esc").exists(), "{name}");
    }
}
