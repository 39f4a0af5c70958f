//! gzip members, with the verdicts of the `gzip` tool.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::ToolError;

/// Decompresses member after member.
pub(super) struct Reader<R: BufRead> {
    /// Absent once everything was read.
    member: Option<GzDecoder<R>>,
    name: String,
    first: bool,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R, name: &str) -> Self {
        Self { member: Some(GzDecoder::new(input)), name: name.to_owned(), first: true }
    }

    /// Goes on after a member: another one, zeros that are ignored, or garbage that is complained about.
    fn next_member(&mut self, mut input: R) -> io::Result<()> {
        self.first = false;
        let next = input.fill_buf()?;
        if next.starts_with(&[0x1f]) {
            self.member = Some(GzDecoder::new(input));
            return Ok(());
        }
        let mut rest = [0; 4096];
        loop {
            match input.read(&mut rest)? {
                0 => return Ok(()),
                length if rest[..length].iter().all(|&byte| byte == 0) => {}
                _ => {
                    let line = format!("gzip: {}: decompression OK, trailing garbage ignored", self.name);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, ToolError { line, status: 2 }));
                }
            }
        }
    }

    fn verdict(&self, error: &io::Error) -> io::Error {
        let text = match error.kind() {
            io::ErrorKind::UnexpectedEof => "unexpected end of file",
            io::ErrorKind::InvalidInput if error.to_string().contains("header") && self.first => {
                "not in gzip format"
            }
            io::ErrorKind::InvalidInput if error.to_string().contains("checksum") => {
                "invalid compressed data--crc error"
            }
            _ => "invalid compressed data--format violated",
        };
        ToolError::error(format!("gzip: {}: {text}", self.name))
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while let Some(member) = &mut self.member {
            match member.read(buffer) {
                Ok(0) => {}
                Ok(length) => return Ok(length),
                Err(error) => return Err(self.verdict(&error)),
            }
            if let Some(member) = self.member.take() {
                self.next_member(member.into_inner())?;
            }
        }
        Ok(0)
    }
}
