//! What lies on the disk of a guest besides the signature by which it boots.
//!
//! An archive of the guest carries it along. On a disk that was overwritten, and on a new one, there is nothing.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::sim::node::qcow2;

/// That the monitoring stack is installed.
const STACK_SIGNATURE: &[u8] = b"LABSTACK";
/// Where that stands: right behind the boot sector.
const STACK_AT: u64 = 512;

/// That a host key was made: what it was made of follows.
const KEY_SIGNATURE: &[u8] = b"LABHOSTK";
/// Where that stands.
const KEY_AT: u64 = 8192;

/// Whether the stack is on a disk.
pub fn has_stack(disk: &Path) -> bool {
    read(disk, STACK_AT).is_ok_and(|found: [u8; STACK_SIGNATURE.len()]| found == STACK_SIGNATURE)
}

/// Puts the stack on a disk.
pub fn install_stack(disk: &Path) -> io::Result<()> {
    write(disk, STACK_AT, STACK_SIGNATURE)
}

/// What the host key is made of, once the guest has one.
pub fn host_key_seed(disk: &Path) -> Option<[u8; 32]> {
    let found: [u8; 40] = read(disk, KEY_AT).ok()?;
    found.strip_prefix(KEY_SIGNATURE)?.try_into().ok()
}

/// Gives the guest a host key.
pub fn set_host_key_seed(disk: &Path, seed: &[u8; 32]) -> io::Result<()> {
    write(disk, KEY_AT, &[KEY_SIGNATURE, seed].concat())
}

fn read<const N: usize>(disk: &Path, at: u64) -> io::Result<[u8; N]> {
    let file = File::open(disk)?;
    let mut found = [0; N];
    file.read_exact_at(&mut found, beginning(&file)? + at)?;
    Ok(found)
}

fn write(disk: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    file.write_all_at(bytes, beginning(&file)? + at)
}

/// Where the data of the image begins.
fn beginning(mut file: &File) -> io::Result<u64> {
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    if &magic == b"QFI\xfb" { Ok(qcow2::layout(file)?.1) } else { Ok(0) }
}
