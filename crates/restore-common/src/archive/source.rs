//! The bytes of the file: counted, hashed, and watched for the end that the caller wishes.

use std::{
    io::{self, BufRead, Read},
    mem,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{Scope, ScopedJoinHandle},
};

use sha2::{Digest as _, Sha256};

use super::{Damage, Defect, Progress, ReadError};
use crate::pve::{Compression, GuestKind};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Chunks that may wait for the hasher.
const WAITING: usize = 8;

/// How streams and archives begin.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
const GZIP: &[u8] = b"\x1f\x8b";
const LZOP: &[u8] = b"\x89LZO\0\r\n\x1a\n";
const BZIP2: &[u8] = b"BZh";
const VMA: &[u8] = b"VMA\0";

/// How a frame of zstd begins that holds no data: `pzstd` puts one in front. The lowest four bits of its first byte are free.
const SKIPPABLE: [u8; 4] = *b"\x50\x2a\x4d\x18";

/// What a tar is called.
const TAR: &str = "tar";

/// Where the word `ustar` stands in a tar.
const USTAR: std::ops::Range<usize> = 257..262;

/// Hashes on a thread of its own: a hash costs about as much as decompressing.
pub(super) struct Hasher<'scope>(ScopedJoinHandle<'scope, [u8; 32]>);

/// Where the hasher gets its bytes from.
pub(super) type Chunks = SyncSender<Arc<Vec<u8>>>;

impl<'scope> Hasher<'scope> {
    pub(super) fn start(scope: &'scope Scope<'scope, '_>) -> (Chunks, Self) {
        let (chunks, waiting) = sync_channel::<Arc<Vec<u8>>>(WAITING);
        let thread = scope.spawn(move || {
            let mut sha256 = Sha256::new();
            for chunk in waiting {
                sha256.update(chunk.as_slice());
            }
            sha256.finalize().into()
        });
        (chunks, Self(thread))
    }

    /// The hash of all chunks; their sender must be gone.
    pub(super) fn finish(self) -> [u8; 32] {
        match self.0.join() {
            Ok(hash) => hash,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The file.
pub(super) struct Source<'a, R> {
    input: R,
    progress: Progress<'a>,
    chunks: Option<Chunks>,
    chunk: Arc<Vec<u8>>,
    /// How much of the chunk was handed on.
    used: usize,
    /// Bytes that were read from the input.
    read: u64,
    failure: Option<ReadError>,
}

impl<'a, R: Read> Source<'a, R> {
    pub(super) fn new(input: R, progress: Progress<'a>, chunks: Option<Chunks>) -> Self {
        Self { input, progress, chunks, chunk: Arc::default(), used: 0, read: 0, failure: None }
    }

    /// Bytes that were read.
    pub(super) fn position(&self) -> u64 {
        self.read
    }

    /// Why reading had to end, whatever a decoder made of it.
    pub(super) fn failure(&mut self) -> Option<ReadError> {
        self.failure.take()
    }

    /// Looks at the first bytes: an empty file, and one that is something else, are told apart from a damaged one.
    pub(super) fn expect_magic(&mut self, kind: GuestKind, compression: Compression) -> Result<(), Defect> {
        if self.refill().is_err() {
            return Ok(());
        }
        let head = self.chunk.as_slice();
        if head.is_empty() {
            return Err(Defect::new(Damage::Empty, 0, "the file is empty"));
        }
        let (wanted, name) = match (compression, kind) {
            (Compression::Zstd, _) => (ZSTD, "zstd"),
            (Compression::Gzip, _) => (GZIP, "gzip"),
            (Compression::Lzo, _) => (LZOP, "lzop"),
            (Compression::Bzip2, _) => (BZIP2, "bzip2"),
            (Compression::None, GuestKind::Qemu) => (VMA, "VMA"),
            // An old tar says nothing at its beginning: the checksums of its headers tell.
            (Compression::None, GuestKind::Lxc) => (&b""[..], TAR),
        };
        let foreign = match looks_like(head) {
            _ if !wanted.is_empty() && head.starts_with(wanted) => return Ok(()),
            _ if compression == Compression::Zstd && is_skippable(head) => return Ok(()),
            Some(other) if other != name => Some(other),
            _ if wanted.is_empty() => return Ok(()),
            _ => None,
        };
        if wanted.starts_with(head) {
            return Err(Defect::new(Damage::Truncated, 0, format!("it ends after {} bytes", head.len())));
        }
        Err(match foreign {
            Some(other) => Defect::new(Damage::Foreign, 0, format!("it is {other}, not {name}")),
            None => Defect::new(Damage::Damaged, 0, format!("it does not begin as {name} does")),
        })
    }

    /// The next chunk, when all of this one was handed on. An empty one is the end.
    fn refill(&mut self) -> io::Result<()> {
        if self.failure.is_some() {
            return Err(io::Error::other("the file cannot be read on"));
        }
        // The hasher is done with the last one as a rule, and it is filled again.
        let mut chunk = Arc::try_unwrap(mem::take(&mut self.chunk)).unwrap_or_default();
        self.used = 0;
        chunk.clear();
        chunk.reserve_exact(CHUNK);
        if let Err(error) = self.input.by_ref().take(CHUNK as u64).read_to_end(&mut chunk) {
            self.failure = Some(ReadError::Medium(error));
            return Err(io::Error::other("the file cannot be read on"));
        }
        self.read += chunk.len() as u64;
        self.chunk = Arc::new(chunk);
        if let Some(chunks) = &self.chunks {
            // It only ends before its sender when it panics, which is told when it is joined.
            let _ = chunks.send(Arc::clone(&self.chunk));
        }
        if (self.progress)(self.read).is_break() {
            self.failure = Some(ReadError::Stopped);
            return Err(io::Error::other("stopped"));
        }
        Ok(())
    }
}

/// What the first bytes of a file say that it is.
fn looks_like(head: &[u8]) -> Option<&'static str> {
    if head.get(USTAR) == Some(b"ustar") {
        return Some(TAR);
    }
    let known = [(ZSTD, "zstd"), (GZIP, "gzip"), (LZOP, "lzop"), (BZIP2, "bzip2"), (VMA, "VMA")];
    known.into_iter().find_map(|(magic, name)| head.starts_with(magic).then_some(name))
}

fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [first, rest @ ..] if first & 0xf0 == SKIPPABLE[0] && rest.starts_with(&SKIPPABLE[1..]))
}

/// Reads to the end. Zeros behind a stream are padding, of a tape or a block device, and decompressors take them so.
pub(super) fn expect_zeros(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let padding = input.fill_buf()?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is something behind its end"));
        }
        match padding.len() {
            0 => return Ok(()),
            count => input.consume(count),
        }
    }
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: Read> BufRead for Source<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() {
            self.refill()?;
        }
        Ok(&self.chunk[self.used..])
    }

    fn consume(&mut self, count: usize) {
        self.used += count;
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    /// A medium that fails behind its first bytes.
    struct Bad(usize);

    impl Read for Bad {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::Error::other("bad sector"));
            }
            let count = buffer.len().min(self.0);
            self.0 -= count;
            buffer[..count].fill(1);
            Ok(count)
        }
    }

    #[test]
    fn a_medium_that_failed_fails_again_for_who_asks_again() {
        let mut go_on = |_| ControlFlow::Continue(());
        let mut source = Source::new(Bad(CHUNK), &mut go_on, None);
        let mut bytes = vec![0; CHUNK];
        source.read_exact(&mut bytes).unwrap();
        for _ in 0..2 {
            assert!(source.read(&mut bytes).is_err());
        }
        assert!(matches!(source.failure(), Some(ReadError::Medium(_))));
    }
}
