//! The decompressed bytes, read in whole pieces and counted.

use std::io::{self, Read};

use super::{Damage, Defect, ReadError, lzop::Lzop, source::Source};
use crate::pve::Compression;

/// The largest window of a zstd frame that is followed, as a power of two: that of `zstd -d` without options. More would
/// be a bomb.
const WINDOW: u32 = 27;

/// The decoder of a compression.
pub(super) fn decoder<'s, R: Read>(
    source: &'s mut Source<'_, R>,
    compression: Compression,
) -> Result<Box<dyn Read + 's>, ReadError> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(source).map_err(ReadError::Medium)?;
            decoder.window_log_max(WINDOW).map_err(ReadError::Medium)?;
            Box::new(decoder)
        }
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
        Compression::Lzo => Box::new(Lzop::new(source)),
        Compression::Bzip2 => return Err(ReadError::Unsupported("bzip2")),
    })
}

/// A stream with a place in it.
pub(super) struct Stream<R> {
    input: R,
    at: u64,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, at: 0 }
    }

    /// Bytes before this place.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Fills the buffer as far as there are bytes, and says how far.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Defect> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.input.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(filled, &error)),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    /// What a decoder complains about.
    fn broken(&self, filled: usize, error: &io::Error) -> Defect {
        let damage = match error.kind() {
            io::ErrorKind::UnexpectedEof => Damage::Truncated,
            _ => Damage::Damaged,
        };
        Defect::new(damage, self.at + filled as u64, format!("decompressing fails: {error}"))
    }
}
