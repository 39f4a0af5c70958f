//! Standard output as the C library keeps it for a pipe: what a signal kills takes with it what was not yet written.

use std::io::Write;

use super::Error;

/// So much goes into a pipe at a time.
const BUFFER: usize = 4096;

/// How a command ends early.
pub(super) enum Failure {
    Vma(Error),
    /// Nobody reads standard output any more.
    Sigpipe,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Vma(error)
    }
}

pub(super) fn refused<T>(text: impl Into<Vec<u8>>) -> Result<T, Failure> {
    Err(Failure::Vma(Error::Refused(text.into())))
}

/// Standard output, and what is not yet in it.
pub(super) struct Output<'a> {
    stdout: &'a mut dyn Write,
    pending: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(super) fn new(stdout: &'a mut dyn Write) -> Self {
        Self { stdout, pending: Vec::new() }
    }

    pub(super) fn print(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.pending.extend_from_slice(text);
        // A full buffer is written when the next byte comes.
        let full = self.pending.len().saturating_sub(1) / BUFFER * BUFFER;
        let full: Vec<u8> = self.pending.drain(..full).collect();
        self.stdout.write_all(&full).map_err(|_| Failure::Sigpipe)
    }

    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let pending = std::mem::take(&mut self.pending);
        self.stdout.write_all(&pending).and_then(|()| self.stdout.flush()).map_err(|_| Failure::Sigpipe)
    }

    /// For whoever watches a restore and waits for each line.
    pub(super) fn say(&mut self, text: &[u8]) -> Result<(), Failure> {
        self.print(text)?;
        self.flush()
    }
}
