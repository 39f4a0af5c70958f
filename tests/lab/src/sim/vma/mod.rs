//! The VMA archive format, version 1, as Proxmox's own program reads and writes it.
//!
//! [`Reader`] makes every check of the real reader, in its order and with its words, and like the real one it
//! does not notice changed payload. [`Writer`] makes archives the real reader accepts. [`command::main`] is the
//! `vma` program around them. Everything streams: memory does not depend on the size of an archive.
//!
//! Names in an archive are bytes. The program shows and uses them as they are; a [`Header`] is for those who make
//! archives or look into good ones, and has text.

use std::fmt;

pub mod command;
mod extract;
mod header;
mod output;
mod parsed;
mod reader;
mod totals;
mod writer;

pub use header::{Config, Device, Header, VMSTATE};
pub use reader::{Disk, Reader, Target};
pub use totals::{Progress, Totals};
pub use writer::{Writer, random_uuid, write_disks};

/// The unit of the block masks, in bytes.
pub const BLOCK: usize = 4096;
/// The unit of the slots of an extent, in bytes.
pub const CLUSTER: usize = 16 * BLOCK;
/// Disk sizes count in sectors, in bytes.
pub const SECTOR: u64 = 512;

const VMA_FIXED: usize = 12288;
const EXTENT_HEADER: usize = 512;
const SLOTS: usize = 59;
const CLUSTER_BYTES: u64 = CLUSTER as u64;

/// Why `vma` gave up. Its messages quote names as they are, text or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The archive cannot be opened, its header is wrong, or a target does not fit.
    Refused(Vec<u8>),
    /// The data after the header is wrong, or could not be written.
    Data(Vec<u8>),
    /// An assertion of the real program: where, and which condition.
    Assertion(&'static str),
    /// The real program divides by the number of whole clusters to show its progress.
    DivisionByZero,
    /// The real program reads where it has no memory.
    OutsideOfMemory,
}

impl Error {
    /// The exit status that a shell sees.
    pub fn status(&self) -> i32 {
        match self {
            Self::Refused(_) | Self::Data(_) => 133,
            Self::Assertion(_) => 134,
            Self::DivisionByZero => 136,
            Self::OutsideOfMemory => 139,
        }
    }

    /// The line on standard error as text; `verb` is what was being done, `verify` or `restore`.
    pub fn line(&self, verb: &str) -> Option<String> {
        self.message(verb).map(|line| String::from_utf8_lossy(&line).into_owned())
    }

    /// The line on standard error.
    fn message(&self, verb: &str) -> Option<Vec<u8>> {
        match self {
            Self::Refused(text) => Some([b"vma: ", text.as_slice()].concat()),
            Self::Data(text) => Some([format!("vma: {verb} failed - ").as_bytes(), text].concat()),
            Self::Assertion(place) => Some(format!("vma: {place} failed.").into_bytes()),
            Self::DivisionByZero | Self::OutsideOfMemory => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Data(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Assertion(place) => write!(f, "{place} failed"),
            Self::DivisionByZero => f.write_str("division by zero"),
            Self::OutsideOfMemory => f.write_str("segmentation fault"),
        }
    }
}

impl std::error::Error for Error {}

/// MD5 over `bytes` as if the 16 bytes at `field` were zero.
fn md5_without(bytes: &[u8], field: usize) -> [u8; 16] {
    use md5::{Digest, Md5};
    let mut md5 = Md5::new();
    md5.update(&bytes[..field]);
    md5.update([0; 16]);
    md5.update(&bytes[field + 16..]);
    md5.finalize().into()
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be32(bytes, at)) << 32 | u64::from(be32(bytes, at + 4))
}
