//! The files of `lzop`: a header, then blocks with their checksums.

use std::io::{self, Read};

use super::lzo;

const MAGIC: [u8; 9] = *b"\x89LZO\0\r\n\x1a\n";

/// The bits of the header's flags that matter here.
mod flags {
    pub(super) const ADLER32_OF_DATA: u32 = 0x0000_0001;
    pub(super) const ADLER32_OF_BLOCK: u32 = 0x0000_0002;
    pub(super) const EXTRA_FIELD: u32 = 0x0000_0040;
    pub(super) const CRC32_OF_DATA: u32 = 0x0000_0100;
    pub(super) const CRC32_OF_BLOCK: u32 = 0x0000_0200;
    pub(super) const FILTER: u32 = 0x0000_0800;
    pub(super) const CRC32_OF_HEADER: u32 = 0x0000_1000;
}

/// From this version of `lzop` on the header has more fields.
const WITH_LEVEL: u16 = 0x0940;

/// The largest block that is taken; `lzop` makes them of 256 KiB.
const LARGEST_BLOCK: u32 = 8 << 20;

/// Decompresses what `lzop` wrote.
pub(super) struct Lzop<R> {
    input: R,
    flags: u32,
    block: Vec<u8>,
    used: usize,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    /// A header comes next; at the end of a file there may be none.
    Header {
        first: bool,
    },
    Blocks,
    Ended,
}

impl<R: Read> Lzop<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, flags: 0, block: Vec::new(), used: 0, state: State::Header { first: true } }
    }

    /// The next block; an empty one is the end.
    fn next_block(&mut self) -> io::Result<()> {
        (self.block, self.used) = (Vec::new(), 0);
        loop {
            match self.state {
                State::Ended => return Ok(()),
                State::Header { first } => self.header(first)?,
                State::Blocks => {
                    let size = u32::from_be_bytes(self.bytes()?);
                    if size > 0 {
                        return self.read_block(size);
                    }
                    self.state = State::Header { first: false };
                }
            }
        }
    }

    fn header(&mut self, first: bool) -> io::Result<()> {
        let mut magic = Vec::with_capacity(MAGIC.len());
        self.input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic.is_empty() && !first {
            self.state = State::Ended;
            return Ok(());
        }
        if magic != MAGIC {
            return Err(if MAGIC.starts_with(&magic) { cut() } else { wrong("no header of lzop") });
        }
        let mut seen = Vec::new();
        let version = u16::from_be_bytes(self.seen(&mut seen)?);
        self.seen::<2>(&mut seen)?;
        if version >= WITH_LEVEL {
            self.seen::<2>(&mut seen)?;
        }
        let [method] = self.seen(&mut seen)?;
        if version >= WITH_LEVEL {
            self.seen::<1>(&mut seen)?;
        }
        self.flags = u32::from_be_bytes(self.seen(&mut seen)?);
        if self.has(flags::FILTER) {
            self.seen::<4>(&mut seen)?;
        }
        // Mode and time of a file.
        self.seen::<8>(&mut seen)?;
        if version >= WITH_LEVEL {
            self.seen::<4>(&mut seen)?;
        }
        let [length] = self.seen(&mut seen)?;
        for _ in 0..length {
            self.seen::<1>(&mut seen)?;
        }
        self.expect_sum(self.has(flags::CRC32_OF_HEADER), &seen, "the checksum of the header is wrong")?;
        if !(1..=3).contains(&method) || self.has(flags::FILTER) {
            return Err(wrong("a method of compression that is not known"));
        }
        if self.has(flags::EXTRA_FIELD) {
            self.extra_field()?;
        }
        self.state = State::Blocks;
        Ok(())
    }

    fn extra_field(&mut self) -> io::Result<()> {
        let length: [u8; 4] = self.bytes()?;
        let size = u32::from_be_bytes(length);
        if size > LARGEST_BLOCK {
            return Err(wrong("an extra field of an absurd size"));
        }
        let mut field = length.to_vec();
        field.extend(self.take(size)?);
        self.expect_sum(self.has(flags::CRC32_OF_HEADER), &field, "the checksum of the extra field is wrong")
    }

    fn read_block(&mut self, size: u32) -> io::Result<()> {
        let packed = u32::from_be_bytes(self.bytes()?);
        if size > LARGEST_BLOCK || packed == 0 || packed > size {
            return Err(wrong("the size of a block makes no sense"));
        }
        let data_sums = self.sums(flags::ADLER32_OF_DATA, flags::CRC32_OF_DATA)?;
        let is_packed = packed < size;
        let block_sums = if is_packed {
            self.sums(flags::ADLER32_OF_BLOCK, flags::CRC32_OF_BLOCK)?
        } else {
            Sums::default()
        };
        let bytes = self.take(packed)?;
        block_sums.expect(&bytes)?;
        self.block = if is_packed {
            let size = usize::try_from(size).map_err(io::Error::other)?;
            lzo::decompress(&bytes, size).map_err(|lzo::Nonsense| wrong("a block makes no sense"))?
        } else {
            bytes
        };
        data_sums.expect(&self.block)
    }

    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    fn sums(&mut self, adler32: u32, crc32: u32) -> io::Result<Sums> {
        let adler32 = if self.has(adler32) { Some(u32::from_be_bytes(self.bytes()?)) } else { None };
        let crc32 = if self.has(crc32) { Some(u32::from_be_bytes(self.bytes()?)) } else { None };
        Ok(Sums { adler32, crc32 })
    }

    fn expect_sum(&mut self, is_crc32: bool, bytes: &[u8], reason: &'static str) -> io::Result<()> {
        let sum = if is_crc32 { crc32_of(bytes) } else { adler32_of(bytes) };
        if u32::from_be_bytes(self.bytes()?) == sum { Ok(()) } else { Err(wrong(reason)) }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes that the checksum of the header counts.
    fn seen<const N: usize>(&mut self, seen: &mut Vec<u8>) -> io::Result<[u8; N]> {
        let bytes = self.bytes()?;
        seen.extend(bytes);
        Ok(bytes)
    }

    fn take(&mut self, size: u32) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let there = self.input.by_ref().take(u64::from(size)).read_to_end(&mut bytes)?;
        if there == size as usize { Ok(bytes) } else { Err(cut()) }
    }
}

impl<R: Read> Read for Lzop<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.next_block()?;
        }
        let count = (&self.block[self.used..]).read(buffer)?;
        self.used += count;
        Ok(count)
    }
}

/// The checksums of a block, as far as the file has them.
#[derive(Default)]
struct Sums {
    adler32: Option<u32>,
    crc32: Option<u32>,
}

impl Sums {
    fn expect(&self, bytes: &[u8]) -> io::Result<()> {
        let right = self.adler32.is_none_or(|sum| sum == adler32_of(bytes))
            && self.crc32.is_none_or(|sum| sum == crc32_of(bytes));
        if right { Ok(()) } else { Err(wrong("the checksum of a block is wrong")) }
    }
}

fn wrong(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")
}

fn crc32_of(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn adler32_of(bytes: &[u8]) -> u32 {
    const PRIME: u32 = 65_521;
    /// So many bytes cannot overflow the sums.
    const SAFE: usize = 5552;
    let (mut a, mut b) = (1, 0);
    for part in bytes.chunks(SAFE) {
        for byte in part {
            a += u32::from(*byte);
            b += a;
        }
        (a, b) = (a % PRIME, b % PRIME);
    }
    (b << 16) | a
}
