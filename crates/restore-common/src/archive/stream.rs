//! The decompressed bytes, read in whole pieces and counted.

use std::io::{self, Read};

use super::{Damage, Defect, ReadError, gzip::Gzip, lzop::Lzop, source::Source};
use crate::pve::Compression;

/// The largest window of a zstd frame that is followed, as a power of two: 32 MiB, which is what it takes in memory. All
/// levels of `zstd` up to 19 stay at 8 MiB, and vzdump asks for none of those above.
const WINDOW: u32 = 25;

/// What the decoder says when a frame wants more.
const TOO_WIDE: &str = "Frame requires too much memory for decoding";

/// The decoder of a compression.
pub(super) fn decoder<'s, R: Read>(
    source: &'s mut Source<'_, R>,
    compression: Compression,
) -> Result<Box<dyn Read + 's>, ReadError> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source).map_err(ReadError::Medium)?;
            decoder.window_log_max(WINDOW).map_err(ReadError::Medium)?;
            Box::new(decoder)
        }
        Compression::Gzip => Box::new(Gzip::new(source)),
        Compression::Lzo => Box::new(Lzop::new(source)),
        Compression::Bzip2 => return Err(ReadError::Unsupported("bzip2")),
    })
}

/// Bytes that are skipped at once.
const SKIPPED: usize = 16 << 10;

/// A stream with a place in it.
pub(super) struct Stream<R> {
    input: R,
    at: u64,
    is_too_wide: bool,
}

impl<R: Read> Stream<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, at: 0, is_too_wide: false }
    }

    /// Bytes before this place.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Whether it wants more memory than is given, so that nothing is known of what follows.
    pub(super) fn is_too_wide(&self) -> bool {
        self.is_too_wide
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

    /// Passes over so many bytes as far as they are there, and says how many were.
    pub(super) fn skip(&mut self, count: u64) -> Result<u64, Defect> {
        let mut buffer = [0; SKIPPED];
        let mut left = count;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let filled = self.fill(&mut buffer[..wanted])?;
            left -= filled as u64;
            if filled < wanted {
                break;
            }
        }
        Ok(count - left)
    }

    /// What a decoder complains about.
    fn broken(&mut self, filled: usize, error: &io::Error) -> Defect {
        self.is_too_wide = error.to_string() == TOO_WIDE;
        let damage = match error.kind() {
            io::ErrorKind::UnexpectedEof => Damage::Truncated,
            _ => Damage::Damaged,
        };
        Defect::new(damage, self.at + filled as u64, format!("decompressing fails: {error}"))
    }
}
