//! The archive of a restore, and the pipeline that reads it.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use crate::sim::compress::{Compression, LZOP_STDIN, Pipe, ToolError, ZSTD_STDIN};
use crate::sim::node::Task;
use crate::sim::vma::Reader;
use crate::sim::{Failure, Node, Outcome, Parsed};

/// An archive.
pub(super) struct Source {
    /// Its path on the node, or `-`.
    path: String,
    /// Whether it lies in a storage.
    in_storage: bool,
    compression: Compression,
}

/// Raised when nobody reads the output any more.
#[derive(Clone, Default)]
pub(super) struct Stop(Rc<Cell<bool>>);

impl Stop {
    pub(super) fn set(&self) {
        self.0.set(true);
    }
}

impl Source {
    /// Finds an archive by volume ID or path.
    pub(super) fn find(node: &Node, archive: &str) -> Outcome<Self> {
        let source = |path: String, in_storage| {
            let compression = Compression::of(&path);
            Self { path, in_storage, compression }
        };
        if archive == "-" {
            return Ok(source("-".into(), false));
        }
        if archive.starts_with('/') || !archive.contains(':') {
            return if node.path(archive).is_file() && archive.starts_with('/') {
                Ok(source(archive.into(), node.volid_of(archive).is_some()))
            } else {
                Err(Failure::with_status(format!("can't find file '{archive}'"), 2))
            };
        }
        let place = node.place(archive)?;
        node.usable_storage(&place.storage.id)?;
        if !node.path(&place.path).is_file() {
            return Err(Failure::new(format!("volume '{archive}' does not exist")));
        }
        Ok(source(place.path, true))
    }

    /// Reads the configuration for trial, for an archive in a storage. A failure is only told.
    pub(super) fn try_config(&self, node: &Node, task: &mut Task<'_>) -> Outcome {
        if !self.in_storage || !self.is_vma() {
            return Ok(());
        }
        let input = File::open(node.path(&self.path))?;
        let mut pipe = Pipe::new(self.compression.reader(input, &self.path)?);
        let Err(error) = Reader::open(&mut pipe) else { return Ok(()) };
        let words = match pipe.failure() {
            Some(failure) => {
                format!("Failed to extract config from VMA archive: {}\n", tool_line(failure))
            }
            None => {
                if let Some(line) = error.line("config") {
                    task.line(&line)?;
                }
                format!("command 'vma config {}' failed: got signal {}", self.path, error.status() - 128)
            }
        };
        task.line(&format!("Could not extract backed up config: {words}\n\nSkipping early checks!"))
    }

    fn is_vma(&self) -> bool {
        self.path == "-"
            || self.path.trim_end_matches(self.compression.suffix()).strip_suffix(".vma").is_some()
    }

    /// Refuses what is not a backup of a VM.
    pub(super) fn require_vma(&self) -> Outcome {
        if self.is_vma() {
            return Ok(());
        }
        let path = &self.path;
        Err(Failure::new(format!("ERROR: file '{path}' does not look like a QemuServer vzdump backup")))
    }

    /// Whether `vma` reads from a pipe; that decides how the shell tells its end.
    pub(super) fn is_piped(&self, call: &Parsed) -> bool {
        self.compression != Compression::None || call.number("bwlimit").is_some_and(|limit| limit > 0)
    }

    /// The pipeline as the task shows it.
    pub(super) fn pipeline(&self, work: &str, limit: Option<u64>) -> String {
        let mut parts = Vec::new();
        let mut file = self.path.as_str();
        if let Some(limit) = limit.filter(|_| file != "-") {
            parts.push(format!("cstream -t {} -- {file}", limit * 1024));
            file = "-";
        }
        let tool = match self.compression {
            Compression::None => None,
            Compression::Zstd => Some("zstd -q -d -c"),
            Compression::Gzip => Some("zcat"),
            Compression::Lzo => Some("lzop -d -c"),
            Compression::Bzip2 => Some("bzcat -q"),
        };
        if let Some(tool) = tool {
            parts.push(format!("{tool} {file}"));
            file = "-";
        }
        parts.push(format!("vma extract -v -r {work}.fifo {file} {work}"));
        parts.join(" | ")
    }

    /// Opens the pipeline up to `vma`.
    pub(super) fn open<'s>(
        &self,
        node: &'s Node,
        stdin: &'s mut dyn Read,
        limit: Option<u64>,
        stop: &Stop,
    ) -> Outcome<Pipe<Box<dyn Read + 's>>> {
        let input: Box<dyn Read + 's> = match self.path.as_str() {
            "-" => Box::new(stdin),
            path => Box::new(File::open(node.path(path))?),
        };
        let name = match (limit, self.compression) {
            (Some(_), Compression::Zstd) => ZSTD_STDIN,
            (Some(_), Compression::Lzo) => LZOP_STDIN,
            (Some(_), Compression::Gzip) => "stdin",
            _ => &self.path,
        };
        let guarded = Guarded { input, node, stop: stop.clone(), rate: limit.map(Rate::new) };
        Ok(Pipe::new(self.compression.reader(guarded, name)?))
    }
}

/// The line that a decompressor prints when it fails.
pub(super) fn tool_line(error: &io::Error) -> String {
    ToolError::of(error).map_or_else(|| error.to_string(), |tool| tool.line.clone())
}

/// The exit status of a decompressor that failed.
pub(super) fn tool_status(error: &io::Error) -> i32 {
    ToolError::of(error).map_or(1, |tool| tool.status)
}

/// An input that ends when the restore is to end, and is read no faster than allowed.
struct Guarded<'n, R> {
    input: R,
    node: &'n Node,
    stop: Stop,
    rate: Option<Rate>,
}

impl<R: Read> Read for Guarded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.0.get() || self.node.is_interrupted() || self.node.is_killed() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let read = self.input.read(buffer)?;
        if let Some(rate) = &mut self.rate {
            rate.wait(read);
        }
        Ok(read)
    }
}

struct Rate {
    per_second: u64,
    start: Instant,
    done: u64,
}

impl Rate {
    fn new(kib: u64) -> Self {
        Self { per_second: kib * 1024, start: Instant::now(), done: 0 }
    }

    /// Waits until `bytes` more are allowed.
    fn wait(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let due = Duration::from_millis(self.done * 1000 / self.per_second);
        thread::sleep(due.saturating_sub(self.start.elapsed()));
    }
}
