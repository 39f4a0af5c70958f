//! The native reader of VM archives against what the real `vma` did with damaged and unusual ones.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, ops::ControlFlow, path::Path};

use restore_common::{
    archive::{Damage, Defect, ReadError, Whole, read_head, read_to_end},
    pve::{Compression, GuestKind},
};
use serde::Deserialize;

/// Where the real program stands in the runs of a case: `vma extract` without `-v`.
const EXTRACT: usize = 4;

#[derive(Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

/// An archive: a base of this length, with bytes set.
#[derive(Deserialize)]
struct Case {
    name: String,
    base: String,
    length: usize,
    set: Vec<(usize, String)>,
    runs: Vec<(i32, usize, usize)>,
    /// The one thing that is refused here although the real program extracts it: what leaves the target directory.
    #[serde(default)]
    leaves: bool,
}

impl Case {
    fn archive(&self) -> Vec<u8> {
        let mut bytes = match self.base.as_str() {
            "two-disks" => data("vectors/two-disks.vma")[..13_312].to_vec(),
            _ => Vec::new(),
        };
        bytes.resize(self.length, 0);
        for (at, hex) in &self.set {
            for digits in (0..hex.len()).step_by(2) {
                bytes[at + digits / 2] = u8::from_str_radix(&hex[digits..digits + 2], 16).unwrap();
            }
        }
        bytes
    }
}

fn data(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lab/tests/data").join(name)).unwrap()
}

fn cases() -> Vec<Case> {
    let packed = data("vma-mutations.json.zst");
    serde_json::from_reader::<_, Cases>(zstd::Decoder::new(&packed[..]).unwrap()).unwrap().cases
}

fn read(bytes: &[u8]) -> Result<Whole, ReadError> {
    read_to_end(bytes, GuestKind::Qemu, Compression::None, &mut |_| ControlFlow::Continue(()))
}

fn case(name: &str) -> Vec<u8> {
    let case = cases().into_iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("no case `{name}`")).archive()
}

#[track_caller]
fn defect(bytes: &[u8]) -> Defect {
    match read(bytes) {
        Err(ReadError::Defect(defect)) => defect,
        other => panic!("no defect: {other:?}"),
    }
}

/// What the real program extracts is accepted, and what it refuses or dies of is refused, with a reason.
#[test]
fn extraction_decides() {
    let mut wrong = Vec::new();
    let (mut accepted, mut refused) = (0, 0);
    for case in cases() {
        let extracts = case.runs[EXTRACT].0 == 0 && !case.leaves;
        let ours = read(&case.archive());
        let agreed = match &ours {
            Ok(_) => extracts,
            Err(ReadError::Defect(defect)) => !extracts && !defect.reason.is_empty(),
            Err(_) => false,
        };
        if !agreed {
            wrong.push(format!("{}: {:?} but {ours:?}", case.name, case.runs[EXTRACT]));
        }
        *(if extracts { &mut accepted } else { &mut refused }) += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted > 70 && refused > 150, "{accepted} and {refused}");
}

/// Name and size of a device stand at the entry of its id, and that is where the defect is.
#[rstest::rstest]
#[case("size 511, nothing", 4136, "last cluster of drive-scsi0")]
#[case("size 4194305, all clusters", 4136, "last cluster of drive-scsi0")]
#[case("two names b'drive-scsi0\\x00' b'drive-scsi0\\x00'", 4160, "two devices have the name `drive-scsi0`")]
#[case("empty name blob 255", 12_256, "a name has no end")]
#[case("empty config name", 2044, "a name has no end")]
#[case("vmstate: two", 4160, "two devices have the name `vmstate`")]
#[case("vmstate: and its file behind a dot", 4128, "a configuration takes the place")]
#[case("device name of 243", 4128, "no file can have the name")]
#[case("a configuration b'a/b'", 2044, "no file can have the name `a/b`")]
#[case("a configuration b'../esc'", 2044, "no file can have the name `../esc`")]
#[case("vmstate: 1 and 255, slots of 1", 12_800, "got wrong dev id 1")]
fn the_place_and_the_reason_are_said(#[case] name: &str, #[case] offset: u64, #[case] reason: &str) {
    let found = defect(&case(name));
    assert_eq!((found.damage, found.offset), (Damage::Damaged, offset), "{found}");
    assert!(found.reason.contains(reason), "{found}");
}

/// Written over each other, the last of several files of one name is what a restore sees.
#[test]
fn a_dot_in_front_names_the_same_file() {
    let bytes = case("config first twice");
    let config = |contents: restore_common::archive::Contents| contents.config;
    assert_eq!(config(read(&bytes).unwrap().contents).as_deref(), Some("three"));
    let head = read_head(&bytes[..], GuestKind::Qemu, Compression::None).unwrap();
    assert_eq!(config(head).as_deref(), Some("three"));
}
