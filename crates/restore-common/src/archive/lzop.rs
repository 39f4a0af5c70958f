//! The files of `lzop`: a header, then blocks with their checksums.

use std::io::{self, BufRead, Read};

use super::{lzo, source::expect_zeros};

const MAGIC: [u8; 9] = *b"\x89LZO\0\r\n\x1a\n";

/// The bits of the header's flags that matter here.
mod flags {
    pub(super) const ADLER32_OF_DATA: u32 = 0x0000_0001;
    pub(super) const ADLER32_OF_BLOCK: u32 = 0x0000_0002;
    pub(super) const EXTRA_FIELD: u32 = 0x0000_0040;
    pub(super) const CRC32_OF_DATA: u32 = 0x0000_0100;
    pub(super) const CRC32_OF_BLOCK: u32 = 0x0000_0200;
    pub(super) const MULTIPART: u32 = 0x0000_0400;
    pub(super) const FILTER: u32 = 0x0000_0800;
    pub(super) const CRC32_OF_HEADER: u32 = 0x0000_1000;
    pub(super) const RESERVED: u32 = 0x000f_c000;
}

/// The first `lzop` that was published, and the last one.
const OLDEST: u16 = 0x0900;
const NEWEST: u16 = 0x1040;

/// From this version of `lzop` on the header has more fields.
const WITH_LEVEL: u16 = 0x0940;

const LARGEST_LEVEL: u8 = 9;

const LARGEST_FILTER: u32 = 16;

/// `lzop` makes no larger blocks, and has no room for them.
const LARGEST_BLOCK: u32 = 256 << 10;

/// `lzop` makes no extra fields, but it passes over them.
const LARGEST_FIELD: u32 = 8 << 20;

/// Decompresses what `lzop` wrote.
pub(super) struct Lzop<R> {
    input: R,
    header: Header,
    block: Vec<u8>,
    used: usize,
    state: State,
}

enum State {
    Header,
    Blocks,
    Ended,
}

#[derive(Default)]
struct Header {
    version: u16,
    /// The oldest version of `lzop` that can read it.
    needed: u16,
    method: u8,
    level: u8,
    flags: u32,
    filter: u32,
}

impl Header {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Refuses what `lzop` refuses.
    fn check(&self) -> io::Result<()> {
        if self.version < OLDEST || !(OLDEST..=NEWEST).contains(&self.needed) {
            return Err(wrong("a version of lzop that is not known"));
        }
        if !(1..=3).contains(&self.method) || self.level > LARGEST_LEVEL || self.filter > LARGEST_FILTER {
            return Err(wrong("a method of compression that is not known"));
        }
        let lacks_sum = |block, data| self.has(block) && !self.has(data);
        if self.has(flags::RESERVED)
            || lacks_sum(flags::ADLER32_OF_BLOCK, flags::ADLER32_OF_DATA)
            || lacks_sum(flags::CRC32_OF_BLOCK, flags::CRC32_OF_DATA)
        {
            return Err(wrong("flags that are not known"));
        }
        if self.has(flags::MULTIPART) { Err(wrong(MULTIPART)) } else { Ok(()) }
    }
}

/// `lzop -d -c` gives the data of all parts and then ends with status 2, at which a restore fails.
const MULTIPART: &str = "it is an archive of several files, which lzop refuses";

impl<R: BufRead> Lzop<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, header: Header::default(), block: Vec::new(), used: 0, state: State::Header }
    }

    /// The next block; an empty one is the end.
    fn next_block(&mut self) -> io::Result<()> {
        (self.block, self.used) = (Vec::new(), 0);
        loop {
            match self.state {
                State::Ended => return Ok(()),
                State::Header => {
                    self.header = self.read_header()?;
                    self.state = State::Blocks;
                }
                State::Blocks => {
                    let size = u32::from_be_bytes(self.bytes()?);
                    if size > 0 {
                        return self.read_block(size);
                    }
                    self.end()?;
                    self.state = State::Ended;
                }
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.input.fill_buf()?.first() == MAGIC.first() {
            return Err(wrong(MULTIPART));
        }
        expect_zeros(&mut self.input)
    }

    fn read_header(&mut self) -> io::Result<Header> {
        if self.bytes()? != MAGIC {
            return Err(wrong("no header of lzop"));
        }
        let mut seen = Vec::new();
        let header = self.fields(&mut seen)?;
        let is_crc32 = header.has(flags::CRC32_OF_HEADER);
        self.expect_sum(is_crc32, &seen, "the checksum of the header is wrong")?;
        header.check()?;
        if header.has(flags::EXTRA_FIELD) {
            self.extra_field(is_crc32)?;
        }
        Ok(header)
    }

    fn fields(&mut self, seen: &mut Vec<u8>) -> io::Result<Header> {
        let mut header = Header { needed: OLDEST, ..Header::default() };
        header.version = u16::from_be_bytes(self.seen(seen)?);
        let has_level = header.version >= WITH_LEVEL;
        // The version of its library.
        self.seen::<2>(seen)?;
        if has_level {
            header.needed = u16::from_be_bytes(self.seen(seen)?);
        }
        [header.method] = self.seen(seen)?;
        if has_level {
            [header.level] = self.seen(seen)?;
        }
        header.flags = u32::from_be_bytes(self.seen(seen)?);
        if header.has(flags::FILTER) {
            header.filter = u32::from_be_bytes(self.seen(seen)?);
        }
        // Mode and time of a file.
        self.seen::<8>(seen)?;
        if has_level {
            self.seen::<4>(seen)?;
        }
        let [length] = self.seen(seen)?;
        for _ in 0..length {
            self.seen::<1>(seen)?;
        }
        Ok(header)
    }

    fn extra_field(&mut self, is_crc32: bool) -> io::Result<()> {
        let length: [u8; 4] = self.bytes()?;
        let size = u32::from_be_bytes(length);
        if size > LARGEST_FIELD {
            return Err(wrong("an extra field of an absurd size"));
        }
        let mut field = length.to_vec();
        field.extend(self.take(size)?);
        self.expect_sum(is_crc32, &field, "the checksum of the extra field is wrong")
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
        undo_filter(&mut self.block, self.header.filter);
        data_sums.expect(&self.block)
    }

    fn sums(&mut self, adler32: u32, crc32: u32) -> io::Result<Sums> {
        let adler32 = if self.header.has(adler32) { Some(u32::from_be_bytes(self.bytes()?)) } else { None };
        let crc32 = if self.header.has(crc32) { Some(u32::from_be_bytes(self.bytes()?)) } else { None };
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

impl<R: BufRead> Read for Lzop<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            self.next_block()?;
        }
        let count = (&self.block[self.used..]).read(buffer)?;
        self.used += count;
        Ok(count)
    }
}

/// What `--filter` was given: each byte is the difference to the one so many places before it.
fn undo_filter(block: &mut [u8], distance: u32) {
    let distance = distance as usize;
    if distance > 0 {
        for at in distance..block.len() {
            block[at] = block[at].wrapping_add(block[at - distance]);
        }
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
