//! `verify-backups`.

use std::io;

use restore_lab::lab::Lab;

use crate::{Scene, guests::open};

pub const SCENES: &[(&str, Scene)] = &[("verify-quick", quick), ("verify-deep", deep)];

/// A backup that has no bytes, and a file that is none of PVE's.
fn quick() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.truncate_archive("vzdump-qemu-101-2026_01_30-01_00_04.vma.zst", 0)?;
    lab.write("/var/lib/vz/dump/notes.txt", "mine")?;
    open(&lab, "verify-backups --no-state")?.ends()
}

/// One flipped bit.
fn deep() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.flip_bit("vzdump-lxc-102-2026_01_29-01_00_04.tar.zst")?;
    open(&lab, "verify-backups --deep --no-state -v")?.ends()
}
