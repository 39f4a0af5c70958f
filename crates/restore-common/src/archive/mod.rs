//! vzdump archives read natively: every byte once, in constant memory, with no program of a node.
//!
//! [`read_to_end`] decompresses, walks the structure and hashes the file in one pass. What `vma extract` or `pct restore`
//! would refuse is refused here, and so is what they only notice too late: a cluster that is missing, an archive that was
//! cut where it looks whole. A plain `.vma` or `.tar` has no checksum over its data: what changed there is told by the
//! SHA-256, once it was recorded.

mod clusters;
mod gzip;
mod lzo;
mod lzop;
mod source;
mod stream;
mod tar;
mod vma;

use std::{
    fmt,
    io::{self, Read},
    ops::ControlFlow,
    thread,
};

use crate::pve::{Compression, GuestKind};

pub use vma::Device;

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The guest's configuration, where the archive has one.
    pub config: Option<String>,
    /// The disks of a VM.
    pub devices: Vec<Device>,
    /// How many members the archive of a container has.
    pub members: u64,
    /// Bytes of guest data, without zeros that are only described.
    pub data: u64,
}

/// An archive that was read to its end and is as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// What it holds.
    pub contents: Contents,
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
}

/// What kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// There is nothing in it.
    Empty,
    /// It is something else than its name says.
    Foreign,
    /// It ends too early.
    Truncated,
    /// Something in it is wrong.
    Damaged,
    /// It is sound as far as it goes, but clusters of a disk are not in it.
    Incomplete,
}

/// What is wrong with an archive, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What kind.
    pub damage: Damage,
    /// Bytes of the decompressed archive before the place; of the file for [`Damage::Empty`] and [`Damage::Foreign`].
    pub offset: u64,
    /// What was found there.
    pub reason: String,
}

impl Defect {
    fn new(damage: Damage, offset: u64, reason: impl Into<String>) -> Self {
        Self { damage, offset, reason: reason.into() }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {})", self.reason, self.offset)
    }
}

/// Why an archive was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The archive is not as it should be.
    #[error("{0}")]
    Defect(Defect),
    /// The file could not be read: that says nothing about what it holds.
    #[error("cannot be read: {0}")]
    Medium(#[source] io::Error),
    /// The caller asked to stop.
    #[error("stopped")]
    Stopped,
    /// It wants more memory than is given to one archive.
    #[error(
        "its zstd stream asks for a window of more than 32 MiB, as only `zstd --long` or `--ultra` make them; check it \
         with `zstd -t --long=31 FILE`"
    )]
    TooWide,
    /// Nobody here can decompress it.
    #[error("{0} cannot be decompressed here")]
    Unsupported(&'static str),
}

impl From<Defect> for ReadError {
    fn from(defect: Defect) -> Self {
        Self::Defect(defect)
    }
}

/// Hears how many bytes of the file were read, and may ask to stop.
pub type Progress<'a> = &'a mut (dyn FnMut(u64) -> ControlFlow<()> + Send);

/// Reads an archive to its end.
pub fn read_to_end(
    input: impl Read + Send,
    kind: GuestKind,
    compression: Compression,
    progress: Progress<'_>,
) -> Result<Whole, ReadError> {
    thread::scope(|scope| {
        let (chunks, hasher) = source::Hasher::start(scope);
        let mut source = source::Source::new(input, progress, Some(chunks));
        let contents = walk(&mut source, kind, compression, Extent::All);
        let size = source.position();
        let failed = source.failure();
        drop(source);
        let sha256 = hasher.finish();
        match failed {
            Some(error) => Err(error),
            None => Ok(Whole { contents: contents?, size, sha256 }),
        }
    })
}

/// Reads as much of an archive as its header and configuration take.
pub fn read_head(input: impl Read, kind: GuestKind, compression: Compression) -> Result<Contents, ReadError> {
    let mut go_on = |_| ControlFlow::Continue(());
    let mut source = source::Source::new(input, &mut go_on, None);
    let contents = walk(&mut source, kind, compression, Extent::Head);
    match source.failure() {
        Some(error) => Err(error),
        None => contents,
    }
}

/// How much of an archive is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Up to its configuration.
    Head,
    /// To its end.
    All,
}

fn walk<R: Read>(
    source: &mut source::Source<'_, R>,
    kind: GuestKind,
    compression: Compression,
    extent: Extent,
) -> Result<Contents, ReadError> {
    source.expect_magic(kind, compression)?;
    let mut stream = stream::Stream::new(stream::decoder(source, compression)?);
    let contents = match kind {
        GuestKind::Qemu => vma::read(&mut stream, extent),
        GuestKind::Lxc => tar::read(&mut stream, extent),
    };
    contents.map_err(|defect| if stream.is_too_wide() { ReadError::TooWide } else { defect.into() })
}
