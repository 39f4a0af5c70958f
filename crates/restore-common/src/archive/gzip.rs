//! The files of `gzip`: members one behind the other, and zeros behind the last one.

use std::io::{self, BufRead as _, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::source::expect_zeros;

/// The first byte of a member.
const MAGIC: u8 = 0x1f;

/// Decompresses what `gzip` wrote.
pub(super) struct Gzip<R> {
    state: State<R>,
}

enum State<R> {
    /// Within a member.
    Member(Box<GzDecoder<BufReader<R>>>),
    /// All was read.
    Ended,
}

impl<R: Read> Gzip<R> {
    pub(super) fn new(input: R) -> Self {
        Self { state: State::member(BufReader::new(input)) }
    }
}

impl<R: Read> State<R> {
    fn member(input: BufReader<R>) -> Self {
        Self::Member(Box::new(GzDecoder::new(input)))
    }

    /// What comes behind a member.
    fn after(mut input: BufReader<R>) -> io::Result<Self> {
        match input.fill_buf()?.first() {
            Some(&MAGIC) => Ok(Self::member(input)),
            _ => expect_zeros(&mut input).map(|()| Self::Ended),
        }
    }
}

impl<R: Read> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let State::Member(member) = &mut self.state else { return Ok(0) };
            match member.read(buffer)? {
                0 if !buffer.is_empty() => {}
                count => return Ok(count),
            }
            let State::Member(member) = std::mem::replace(&mut self.state, State::Ended) else {
                return Ok(0);
            };
            self.state = State::after(member.into_inner())?;
        }
    }
}
