//! Small files that unpack to a lot: they are read in the memory that every archive is read in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{io::Write as _, ops::ControlFlow};

use restore_common::{
    archive::read_to_end,
    pve::{Compression, GuestKind},
};
use restore_fuzzing::Memory;

/// What a bomb unpacks to: twice of what may be taken. All of it is zeros, which is a tar without a member.
const UNPACKED: usize = 128 << 20;

/// The largest block that is taken, and what a match of LZO adds for each zero.
const BLOCK: usize = 256 << 10;
const RUN: usize = 255;

fn zeros(mut to: impl std::io::Write) {
    let piece = vec![0; 1 << 20];
    (0..UNPACKED / piece.len()).for_each(|_| to.write_all(&piece).unwrap());
}

fn in_zstd() -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    zeros(&mut encoder);
    encoder.finish().unwrap()
}

fn in_gzip() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zeros(&mut encoder);
    encoder.finish().unwrap()
}

/// Each block is one zero and one match that repeats it.
fn in_lzop() -> Vec<u8> {
    let repeated = BLOCK - 1 - 33;
    let mut packed = vec![18, 0, 0x20];
    packed.extend(vec![0; repeated / RUN]);
    packed.extend([u8::try_from(repeated % RUN).unwrap(), 0, 0]);
    packed.extend([0x11, 0, 0]);
    let mut file = b"\x89LZO\0\r\n\x1a\n".to_vec();
    let mut header = vec![0x10, 0x30, 0x20, 0x80, 0x09, 0x40, 1, 5];
    header.extend([0; 17]);
    let sum = adler32(&header);
    file.extend(header);
    file.extend(sum.to_be_bytes());
    for _ in 0..UNPACKED / BLOCK {
        for number in [BLOCK, packed.len()] {
            file.extend(u32::try_from(number).unwrap().to_be_bytes());
        }
        file.extend(&packed);
    }
    file.write_all(&[0; 4]).unwrap();
    file
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

/// One after the other: the memory is that of the whole process.
#[test]
fn a_bomb_takes_no_more_memory_than_an_archive() {
    let bombs =
        [(Compression::Zstd, in_zstd()), (Compression::Gzip, in_gzip()), (Compression::Lzo, in_lzop())];
    for (compression, bomb) in bombs {
        assert!(bomb.len() < 2 << 20, "{compression:?}: {} bytes are no bomb", bomb.len());
        let memory = Memory::now();
        let whole = read_to_end(&*bomb, GuestKind::Lxc, compression, &mut |_| ControlFlow::Continue(()));
        memory.assert_small(&format!("{compression:?}"));
        let whole = whole.unwrap_or_else(|error| panic!("{compression:?}: {error}"));
        assert_eq!((whole.size, whole.contents.members), (bomb.len() as u64, 0), "{compression:?}");
    }
}
