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
const BLOCK: usize = 256 * 1024;
/// The real reader takes no larger blocks either.
const LARGEST_BLOCK: usize = 64 << 20;

const ADLER_OF_DATA: u32 = 0x001;
const ADLER_OF_PACKED: u32 = 0x002;
const FROM_STDIN: u32 = 0x004;
const TO_STDOUT: u32 = 0x008;
const CRC_OF_DATA: u32 = 0x100;
const CRC_OF_PACKED: u32 = 0x200;
const FILTER: u32 = 0x800;
const CRC_OF_HEADER: u32 = 0x1000;
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
    /// Flags of the file being read; nothing between files.
    flags: Option<u32>,
    first: bool,
    block: Vec<u8>,
    handed_out: usize,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R, name: &str) -> Self {
        let name = name.to_owned();
        Self { input, name, flags: None, first: true, block: Vec::new(), handed_out: 0 }
    }

    fn fail<T>(&self, text: &str) -> io::Result<T> {
        Err(ToolError::error(format!("lzop: {}: {text}", self.name)))
    }

    /// Exactly `length` bytes. Memory grows with what is really there.
    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.input).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(ToolError::error(format!("lzop: unexpected end of file: {}", self.name)));
        }
        Ok(bytes)
    }

    fn word(&mut self) -> io::Result<u32> {
        let bytes = self.bytes(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Reads the header of a file; whether there was one.
    fn header(&mut self) -> io::Result<bool> {
        let mut magic = Vec::new();
        (&mut self.input).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic.is_empty() && !self.first {
            return Ok(false);
        }
        if magic != MAGIC {
            return self.fail("not a lzop file");
        }
        self.first = false;
        let mut header = self.bytes(12)?;
        let flags = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let filter = if flags & FILTER == 0 { 0 } else { 4 };
        header.extend(self.bytes(filter + 13)?);
        let name_length = header.last().copied().unwrap_or_default();
        header.extend(self.bytes(usize::from(name_length))?);
        let checksum = if flags & CRC_OF_HEADER == 0 { adler32(&header) } else { crc32(&header) };
        if self.word()? != checksum {
            return self.fail("header corrupted (checksum error)");
        }
        if !(1..=3).contains(&header[6]) {
            return self.fail("unknown compression method");
        }
        self.flags = Some(flags);
        Ok(true)
    }

    /// Reads the next block, or nothing at the end of the last file.
    fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(flags) = self.flags else {
                if self.header()? {
                    continue;
                }
                return Ok(None);
            };
            match self.word()? as usize {
                0 => self.flags = None,
                size => return self.block_of(size, flags).map(Some),
            }
        }
    }

    fn block_of(&mut self, size: usize, flags: u32) -> io::Result<Vec<u8>> {
        if size > LARGEST_BLOCK {
            return self.fail("lzop file corrupted");
        }
        let stored = self.word()? as usize;
        if stored == 0 || stored > size {
            return self.fail("lzop file corrupted");
        }
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
