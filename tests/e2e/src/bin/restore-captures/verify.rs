//! `verify-backups`.

use std::io;

use restore_lab::lab::{Lab, VM};

use crate::{Scene, guests::open};

pub const SCENES: &[(&str, Scene)] =
    &[("verify-quick", quick), ("verify-deep", deep), ("verify-drill", drill)];

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

/// A VM whose backup was made when its system was broken already.
fn drill() -> io::Result<String> {
    let lab = Lab::start()?;
    lab.break_disk(VM)?;
    lab.on_node(&["vzdump", "101", "--storage", "local", "--compress", "zstd", "--remove", "0"])?;
    let prove = "[prove]\nports = [2222]\nwait = 5\n";
    std::fs::write(lab.operator().project().join("restore.toml"), prove)?;
    let screen = open(&lab, "verify-backups --drill --no-state --max-age 9000d")?;
    screen.wait_for("Drill 2 guests? [y/N]")?;
    screen.enter("y")?;
    screen.ends()
}
