//! Archives and the streams they are packed in.
//!
//! A checksum keeps a fuzzer from everything behind it. So bytes are read twice where there is one: as they are, and with
//! the right sums put in.

use std::ops::ControlFlow;

use md5::{Digest as _, Md5};
use restore_common::{
    archive::{read_head, read_to_end},
    pve::{Compression, GuestKind},
};

use crate::seen;

const BLOCK: usize = 512;

pub(crate) fn vma(bytes: &[u8]) {
    read(bytes, GuestKind::Qemu, Compression::None);
    let mut bytes = bytes.to_vec();
    seal_vma(&mut bytes);
    read(&bytes, GuestKind::Qemu, Compression::None);
}

pub(crate) fn tar(bytes: &[u8]) {
    read(bytes, GuestKind::Lxc, Compression::None);
    let mut bytes = bytes.to_vec();
    seal_tar(&mut bytes);
    read(&bytes, GuestKind::Lxc, Compression::None);
}

pub(crate) fn zstd(bytes: &[u8]) {
    read(bytes, GuestKind::Qemu, Compression::Zstd);
    read(bytes, GuestKind::Lxc, Compression::Zstd);
}

pub(crate) fn gzip(bytes: &[u8]) {
    read(bytes, GuestKind::Qemu, Compression::Gzip);
    read(bytes, GuestKind::Lxc, Compression::Gzip);
}

pub(crate) fn lzop(bytes: &[u8]) {
    read(bytes, GuestKind::Lxc, Compression::Lzo);
    read(&in_lzop(bytes), GuestKind::Lxc, Compression::Lzo);
}

fn read(bytes: &[u8], kind: GuestKind, compression: Compression) {
    // That there is an answer is all that is asked for.
    seen(read_head(bytes, kind, compression));
    seen(read_to_end(bytes, kind, compression, &mut |_| ControlFlow::Continue(())));
}

/// Puts MD5 sums over the header and over every extent's header.
fn seal_vma(bytes: &mut [u8]) {
    let Some(size) = bytes.get(56..60).and_then(|size| size.try_into().ok()) else { return };
    let size = u32::from_be_bytes(size) as usize;
    let Some(header) = bytes.get_mut(..size).filter(|header| header.len() >= 48) else { return };
    seal(header, 32);
    let mut at = size;
    while let Some(head) = bytes.get_mut(at..at + BLOCK) {
        seal(head, 24);
        at += BLOCK + usize::from(u16::from_be_bytes([head[6], head[7]])) * 4096;
    }
}

fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 16].fill(0);
    let sum = Md5::digest(&*bytes);
    bytes[at..at + 16].copy_from_slice(&sum);
}

/// Puts the sum into every block that could be a header.
fn seal_tar(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// A file of `lzop` without any sum but that of its header, and with these bytes as its one packed block.
fn in_lzop(bytes: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    for number in [0x1030_u16, 0x2080, 0x0940] {
        header.extend(number.to_be_bytes());
    }
    // Method, level, no flags, mode, time, its upper half, no name.
    header.extend([1, 5]);
    header.extend([0; 17]);
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in &header {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut file = b"\x89LZO\0\r\n\x1a\n".to_vec();
    file.extend(header);
    for number in [b << 16 | a, 256 << 10, length] {
        file.extend(number.to_be_bytes());
    }
    file.extend(bytes);
    file.extend([0; 4]);
    file
}
