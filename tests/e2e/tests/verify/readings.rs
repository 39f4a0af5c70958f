//! Two readings of the same facts: the readers of the programs and those of the lab share no code, and agree.

#![allow(clippy::unwrap_used, reason = "a test may end that way")]

use std::{collections::BTreeMap, fs, io, ops::ControlFlow, path::Path};

use md5::{Digest as _, Md5};
use restore_common::{
    archive::read_to_end,
    pve::{Compression, GuestKind},
};
use restore_lab::sim::vma::{Disk, Reader, Target};

/// How many damaged archives are tried.
const CASES: u64 = 4000;

/// Takes everything and keeps nothing.
struct Nowhere;

impl Disk for Nowhere {
    fn write_at(&mut self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// What the lab's `vma extract` says.
fn lab_takes(bytes: &[u8]) -> bool {
    let Ok(reader) = Reader::open(bytes) else { return false };
    let target = || Target::Write { disk: Box::new(Nowhere), zeros: false };
    let targets: BTreeMap<_, _> =
        reader.header().devices.iter().map(|device| (device.id, target())).collect();
    reader.restore(targets, None).is_ok()
}

fn ours_takes(bytes: &[u8]) -> bool {
    read_to_end(bytes, GuestKind::Qemu, Compression::None, &mut |_| ControlFlow::Continue(())).is_ok()
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end
    }
}

/// Puts the right sum where it belongs, so that what is behind it is looked at.
fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 16].fill(0);
    let sum = Md5::digest(&bytes[..]);
    bytes[at..at + 16].copy_from_slice(&sum);
}

/// The archive, damaged in one of many ways.
fn damaged(whole: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let header = u32::from_be_bytes(whole[56..60].try_into().unwrap()) as usize;
    match dice.below(6) {
        0 => bytes.truncate(dice.below(whole.len())),
        1 => {
            let places = [header, header + 512, whole.len() - 4096 * dice.below(20)];
            bytes.truncate(places[dice.below(3)]);
        }
        2 => {
            // Sizes stay below 4 GiB: the lab's reader keeps a bit for each cluster.
            let at =
                [dice.below(64), 2044 + dice.below(16), 4096 + 32 + dice.below(64), 12_288 + dice.below(600)];
            let at = at[dice.below(4)];
            let is_high = (4096..12_288).contains(&at) && (8..12).contains(&(at % 32));
            if !is_high && at < header && !(56..60).contains(&at) {
                bytes[at] ^= 1 << dice.below(8);
            }
            seal(&mut bytes[..header], 32);
        }
        kind => {
            for _ in 0..=dice.below(3) {
                // A slot, or anything in the header of the extent.
                let at = if kind == 3 { dice.below(512) } else { 40 + 8 * dice.below(30) + dice.below(8) };
                bytes[header + at] ^= 1 << dice.below(8);
            }
            if kind != 5 {
                seal(&mut bytes[header..header + 512], 24);
            }
        }
    }
    bytes
}

#[test]
fn damaged_archives_are_refused_by_both_or_by_none() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/tests/data/vectors/two-disks.vma");
    let whole = fs::read(path).unwrap();
    assert!(lab_takes(&whole) && ours_takes(&whole));
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let mut refused = 0;
    for case in 0..CASES {
        let bytes = damaged(&whole, &mut dice);
        let (lab, ours) = (lab_takes(&bytes), ours_takes(&bytes));
        if lab != ours {
            let other: Vec<_> = whole.iter().zip(&bytes).enumerate().filter(|(_, (a, b))| a != b).collect();
            panic!("case {case}: the lab says {lab}, we say {ours}; {} bytes, other: {other:?}", bytes.len());
        }
        refused += u64::from(!ours);
    }
    assert!(refused > CASES / 2 && refused < CASES, "{refused} of {CASES} refused");
}
