//! The file format of `lzop`: a header, then blocks with their own checksums, each handed out whole or not at
//! all.

use std::io::{self, Read, Write};

use super::{ToolError, lzo1x};

const MAGIC: [u8; 9] = [0x89, b'L', b'Z', b'O', 0, b'\r', b'\n', 0x1a, b'\n'];
/// What `lzop` 1.04 writes: its version, that of the library, and the oldest that can read it.
const VERSIONS: [u16; 3] = [0x1040, 0x20a0, 0x0940];
const METHOD_LZO1X_1: u8 = 1;
const LEVEL: u8 = 5;
const MODE: u32 = 0o100_644;
/// What `lzop` makes, and all that it has room for.
const BLOCK: usize = 256 * 1024;
/// Sizes that the format allows.
const LARGEST_BLOCK: usize = 64 << 20;
const SPLIT: usize = 0xffff_ffff;
/// The first version that was published, and the first whose headers have a level.
const FIRST_VERSION: u32 = 0x0900;
const WITH_LEVEL: u32 = 0x0940;
const MOST_FILTERS: u32 = 16;
/// How a shell tells of a program that SIGABRT ended.
const ABORTED: i32 = 128 + 6;

const ADLER_OF_DATA: u32 = 0x001;
const ADLER_OF_PACKED: u32 = 0x002;
const FROM_STDIN: u32 = 0x004;
const TO_STDOUT: u32 = 0x008;
const EXTRA_FIELD: u32 = 0x040;
const CRC_OF_DATA: u32 = 0x100;
const CRC_OF_PACKED: u32 = 0x200;
const MULTIPART: u32 = 0x400;
const FILTER: u32 = 0x800;
const CRC_OF_HEADER: u32 = 0x1000;
const RESERVED: u32 = 0x000f_c000;
const UNIX: u32 = 0x0300_0000;

/// Compresses a stream.
pub struct Writer<W: Write> {
    output: W,
    block: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut output: W) -> io::Result<Self> {
        let mut header = Vec::new();
        header.extend(VERSIONS.iter().flat_map(|version| version.to_be_bytes()));
        header.extend([METHOD_LZO1X_1, LEVEL]);
        header.extend((ADLER_OF_DATA | FROM_STDIN | TO_STDOUT | UNIX).to_be_bytes());
        header.extend(MODE.to_be_bytes());
        // A stream has no time of last change and no name.
        header.extend([0; 9]);
        output.write_all(&MAGIC)?;
        output.write_all(&header)?;
        output.write_all(&adler32(&header).to_be_bytes())?;
        Ok(Self { output, block: Vec::with_capacity(BLOCK) })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.flush_block()?;
        self.output.write_all(&[0; 4])?;
        Ok(self.output)
    }

    fn flush_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = lzo1x::compress(&self.block);
        let stored = if packed.len() < self.block.len() { &packed } else { &self.block };
        for length in [self.block.len(), stored.len()] {
            self.output.write_all(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes())?;
        }
        self.output.write_all(&adler32(&self.block).to_be_bytes())?;
        self.output.write_all(stored)?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&data[..taken]);
        if self.block.len() == BLOCK {
            self.flush_block()?;
        }
        Ok(taken)
    }

    /// Keeps the block that is not full: `lzop` never writes a short one before the end.
    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Decompresses file after file of a stream.
pub(super) struct Reader<R> {
    input: R,
    name: String,
    /// Header of the file being read; nothing between files.
    header: Option<Header>,
    first: bool,
    is_multipart: bool,
    warnings: Vec<&'static str>,
    block: Vec<u8>,
    handed_out: usize,
}

#[derive(Clone, Copy)]
struct Header {
    method: u32,
    level: u32,
    flags: u32,
    filter: u32,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R, name: &str) -> Self {
        Self {
            input,
            name: name.to_owned(),
            header: None,
            first: true,
            is_multipart: false,
            warnings: Vec::new(),
            block: Vec::new(),
            handed_out: 0,
        }
    }

    fn fail<T>(&self, text: &str) -> io::Result<T> {
        self.end_with(Some(format!("lzop: {}: {text}", self.name)), 1)
    }

    /// The last words, behind all warnings before them.
    fn end_with<T>(&self, last: Option<String>, status: i32) -> io::Result<T> {
        let warning = |text: &&str| format!("lzop: {}: warning: {text}", self.name);
        let lines: Vec<String> = self.warnings.iter().map(warning).chain(last).collect();
        Err(io::Error::new(io::ErrorKind::InvalidData, ToolError { line: lines.join("\n"), status }))
    }

    /// Exactly `length` bytes. Memory grows with what is really there.
    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return self.end_with(Some(format!("lzop: unexpected end of file: {}", self.name)), 1);
        }
        Ok(bytes)
    }

    fn word(&mut self) -> io::Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A number of a header, counted in its checksum.
    fn field(&mut self, seen: &mut Vec<u8>, length: usize) -> io::Result<u32> {
        let bytes = self.bytes(length)?;
        let number = bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
        seen.extend(bytes);
        Ok(number)
    }

    /// Begins a file; whether there was one.
    fn begin(&mut self) -> io::Result<bool> {
        let mut magic = Vec::new();
        (&mut self.input).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic != MAGIC && !self.first {
            self.trailing(&magic)?;
            return Ok(false);
        }
        if magic != MAGIC {
            return self.fail("not a lzop file");
        }
        let header = self.header()?;
        if (!self.first || header.flags & MULTIPART != 0) && !self.is_multipart {
            self.is_multipart = true;
            self.warnings.push("this is a multipart archive (try option '-N')");
        }
        self.first = false;
        self.header = Some(header);
        Ok(true)
    }

    /// What follows the last file: zeros, or garbage that is complained about.
    fn trailing(&mut self, start: &[u8]) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut all_zeros = start.iter().all(|&byte| byte == 0);
        while all_zeros {
            match self.input.read(&mut buffer)? {
                0 => return Ok(()),
                length => all_zeros = buffer[..length].iter().all(|&byte| byte == 0),
            }
        }
        self.warnings.push("ignoring trailing garbage in lzop file");
        Ok(())
    }

    fn header(&mut self) -> io::Result<Header> {
        let mut seen = Vec::new();
        let header = self.fields(&mut seen)?;
        if self.word()? != checksum(header.flags, &seen) {
            return self.fail("header corrupted (checksum error)");
        }
        if !(1..=3).contains(&header.method) {
            return self.fail("unknown compression method -- get a newer version of lzop");
        }
        if header.level > 9 {
            return self.fail("unknown compression level -- get a newer version of lzop");
        }
        if header.flags & RESERVED != 0 {
            return self.fail("unknown header flags -- get a newer version of lzop");
        }
        if header.flags & EXTRA_FIELD != 0 {
            self.extra_field(header.flags)?;
        }
        self.assert_sums(header.flags)?;
        Ok(header)
    }

    fn fields(&mut self, seen: &mut Vec<u8>) -> io::Result<Header> {
        let version = self.field(seen, 2)?;
        if version < FIRST_VERSION {
            return self.fail("header corrupted");
        }
        let has_level = version >= WITH_LEVEL;
        self.field(seen, 2)?;
        if has_level {
            let needed = self.field(seen, 2)?;
            if needed > u32::from(VERSIONS[0]) {
                return self.fail("you need a newer version of lzop");
            }
            if needed < FIRST_VERSION {
                return self.fail("header corrupted");
            }
        }
        let method = self.field(seen, 1)?;
        let level = if has_level { self.field(seen, 1)? } else { 0 };
        let flags = self.field(seen, 4)?;
        let filter = if flags & FILTER == 0 { 0 } else { self.field(seen, 4)? };
        // Mode and time, and a name.
        let length = if has_level { 12 } else { 8 };
        seen.extend(self.bytes(length)?);
        let name = self.field(seen, 1)?;
        seen.extend(self.bytes(name as usize)?);
        Ok(Header { method, level, flags, filter })
    }

    fn extra_field(&mut self, flags: u32) -> io::Result<()> {
        let mut seen = Vec::new();
        let length = self.field(&mut seen, 4)?;
        seen.extend(self.bytes(length as usize)?);
        if self.word()? == checksum(flags, &seen) { Ok(()) } else { self.fail("header corrupted") }
    }

    /// The tool aborts on checksums of packed data that has none of its own.
    fn assert_sums(&self, flags: u32) -> io::Result<()> {
        for (of_packed, of_data, line, name) in
            [(ADLER_OF_PACKED, ADLER_OF_DATA, 211, "ADLER32"), (CRC_OF_PACKED, CRC_OF_DATA, 213, "CRC32")]
        {
            if flags & of_packed != 0 && flags & of_data == 0 {
                let words =
                    format!("lzop: src/p_lzo.c:{line}: lzo_enter: Assertion `h->flags & F_{name}_D' failed.");
                return self.end_with(Some(words), ABORTED);
            }
        }
        Ok(())
    }

    /// Reads the next block, or nothing at the end of the last file.
    fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(header) = self.header else {
                if self.begin()? {
                    continue;
                }
                return if self.warnings.is_empty() { Ok(None) } else { self.end_with(None, 2) };
            };
            match self.word()? as usize {
                0 => self.header = None,
                size => return self.block_of(size, header).map(Some),
            }
        }
    }

    /// Both lengths of a block.
    fn stored_size(&mut self, size: usize) -> io::Result<usize> {
        if size == SPLIT {
            return self.fail("this file is a split lzop file");
        }
        if size > LARGEST_BLOCK {
            return self.fail("lzop file corrupted");
        }
        let stored = self.word()? as usize;
        if stored == 0 || stored > size {
            return self.fail("lzop file corrupted");
        }
        if size > BLOCK {
            return self.fail("block size too small -- recompile lzop");
        }
        Ok(stored)
    }

    fn block_of(&mut self, size: usize, header: Header) -> io::Result<Vec<u8>> {
        let flags = header.flags;
        let stored = self.stored_size(size)?;
        let of_data = self.checksums(flags & ADLER_OF_DATA != 0, flags & CRC_OF_DATA != 0)?;
        let packed = stored < size;
        let of_packed =
            self.checksums(packed && flags & ADLER_OF_PACKED != 0, packed && flags & CRC_OF_PACKED != 0)?;
        let bytes = self.bytes(stored)?;
        if !of_packed.hold_for(&bytes) {
            return self.fail("Checksum error (lzop file corrupted)");
        }
        let data = if packed {
            match lzo1x::decompress(&bytes, size) {
                Ok(data) => data,
                Err(lzo1x::Violation) => return self.fail("Compressed data violation"),
            }
        } else {
            bytes
        };
        if header.filter > MOST_FILTERS {
            return self.end_with(Some("lzop: <unknown>: Invalid filter".into()), 1);
        }
        let data = unfiltered(data, header.filter as usize);
        if !of_data.hold_for(&data) {
            return self.fail("Checksum error");
        }
        Ok(data)
    }

    fn checksums(&mut self, adler: bool, crc: bool) -> io::Result<Checksums> {
        let mut word = |present: bool| if present { self.word().map(Some) } else { Ok(None) };
        Ok(Checksums { adler: word(adler)?, crc: word(crc)? })
    }
}

/// Adds up again what the tool subtracted: each byte has its own sum with every `distance`th before it.
fn unfiltered(mut data: Vec<u8>, distance: usize) -> Vec<u8> {
    for offset in 0..distance {
        data.iter_mut().skip(offset).step_by(distance).fold(0_u8, |sum, byte| {
            *byte = byte.wrapping_add(sum);
            *byte
        });
    }
    data
}

struct Checksums {
    adler: Option<u32>,
    crc: Option<u32>,
}

impl Checksums {
    fn hold_for(&self, data: &[u8]) -> bool {
        self.adler.is_none_or(|sum| sum == adler32(data)) && self.crc.is_none_or(|sum| sum == crc32(data))
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.handed_out == self.block.len() && !buffer.is_empty() {
            self.handed_out = 0;
            self.block.clear();
            match self.next_block()? {
                Some(block) => self.block = block,
                None => return Ok(0),
            }
        }
        let rest = &self.block[self.handed_out..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.handed_out += length;
        Ok(length)
    }
}

/// The checksum of a header or of its extra field.
fn checksum(flags: u32, data: &[u8]) -> u32 {
    if flags & CRC_OF_HEADER == 0 { adler32(data) } else { crc32(data) }
}

fn adler32(data: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut a, mut b) = (1, 0);
    // So many sums fit into 32 bits before they must be reduced.
    for chunk in data.chunks(5552) {
        for &byte in chunk {
            a += u32::from(byte);
            b += a;
        }
        a %= MODULUS;
        b %= MODULUS;
    }
    b << 16 | a
}

fn crc32(data: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(data);
    crc.sum()
}
