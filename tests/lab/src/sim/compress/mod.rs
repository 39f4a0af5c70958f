//! Real compression for archives, and the tools of a node that do it.
//!
//! A decompressor fails with the very line its tool would print, at the place in the data where the tool would
//! stop. [`Pipe`] turns that into what the program behind the tool in a pipeline sees: an end of its input.

use std::fmt;
use std::io::{self, BufReader, Read, Write};

mod gzip;
mod lzo1x;
mod lzop;
mod tools;
mod zstandard;

pub use tools::{lzop_main, zstd_main};

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.zst`
    Zstd,
    /// `.gz`
    Gzip,
    /// `.lzo`, the container of `lzop`.
    Lzo,
    /// `.bz2`: PVE lists such archives but never writes them, and no node of the lab can read them.
    Bzip2,
}

impl Compression {
    /// Tells the compression from the end of a file name.
    pub fn of(file: &str) -> Self {
        match file.rsplit_once('.') {
            Some((_, "zst")) => Self::Zstd,
            Some((_, "gz" | "tgz")) => Self::Gzip,
            Some((_, "lzo")) => Self::Lzo,
            Some((_, "bz2")) => Self::Bzip2,
            _ => Self::None,
        }
    }

    /// The end of the file name with its dot; empty for none.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
            Self::Lzo => ".lzo",
            Self::Bzip2 => ".bz2",
        }
    }

    /// Decompresses `input`. Errors carry the line of the tool, in which `name` is the file or, where the tool
    /// reads a pipe, [`ZSTD_STDIN`] or [`LZOP_STDIN`].
    pub fn reader<'a>(self, input: impl Read + 'a, name: &str) -> io::Result<Box<dyn Read + 'a>> {
        let input = BufReader::with_capacity(1 << 16, input);
        Ok(match self {
            Self::None => Box::new(input),
            Self::Zstd => Box::new(zstandard::Reader::new(input, name)?),
            Self::Gzip => Box::new(gzip::Reader::new(input, name)),
            Self::Lzo => Box::new(lzop::Reader::new(input, name)),
            Self::Bzip2 => return Err(unsupported()),
        })
    }

    /// Compresses into `output`; nothing is complete before [`Compressor::finish`].
    pub fn writer<W: Write>(self, output: W) -> io::Result<Compressor<W>> {
        Ok(match self {
            Self::None => Compressor::None(output),
            Self::Zstd => Compressor::Zstd(zstandard::writer(output)?),
            Self::Gzip => {
                Compressor::Gzip(flate2::write::GzEncoder::new(output, flate2::Compression::default()))
            }
            Self::Lzo => Compressor::Lzo(lzop::Writer::new(output)?),
            Self::Bzip2 => return Err(unsupported()),
        })
    }
}

fn unsupported() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "bzip2 archives are not supported by the lab: use zst, gz or lzo",
    )
}

/// What `zstd` calls its standard input.
pub const ZSTD_STDIN: &str = "/*stdin*\\";
/// What `lzop` calls its standard input.
pub const LZOP_STDIN: &str = "<stdin>";

/// A stream being compressed.
pub enum Compressor<W: Write> {
    /// Passed through.
    None(W),
    /// With a content checksum, as the tool writes it.
    Zstd(zstd::stream::write::Encoder<'static, W>),
    /// With CRC and length.
    Gzip(flate2::write::GzEncoder<W>),
    /// With a checksum for each block.
    Lzo(lzop::Writer<W>),
}

impl<W: Write> Compressor<W> {
    /// Writes what is left and gives the output back.
    pub fn finish(self) -> io::Result<W> {
        let mut output = match self {
            Self::None(output) => output,
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Lzo(writer) => writer.finish()?,
        };
        output.flush()?;
        Ok(output)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(output) => output.write(data),
            Self::Zstd(encoder) => encoder.write(data),
            Self::Gzip(encoder) => encoder.write(data),
            Self::Lzo(writer) => writer.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(output) => output.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Lzo(writer) => writer.flush(),
        }
    }
}

/// The end of a decompressor: its line on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolError {
    /// Without line break at its end; there may be warnings before it.
    pub line: String,
    /// 1, or 2 for a warning of `gzip` or `lzop`, behind which all of the data is there.
    pub status: i32,
}

impl ToolError {
    fn error(line: String) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self { line, status: 1 })
    }

    /// The tool's own words, if this error is one of a decompressor.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line)
    }
}

impl std::error::Error for ToolError {}

/// A pipeline from a decompressor to the program behind it, which sees only an end of data when it fails.
pub struct Pipe<R> {
    input: R,
    failure: Option<io::Error>,
}

impl<R: Read> Pipe<R> {
    /// Puts `input` in front of a pipe.
    pub fn new(input: R) -> Self {
        Self { input, failure: None }
    }

    /// Why the data ended, if not because it was all. To be asked when everything has been read.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }
}

impl<R: Read> Read for Pipe<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.failure.is_some() {
            return Ok(0);
        }
        match self.input.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.failure = Some(error);
                Ok(0)
            }
            read => read,
        }
    }
}
