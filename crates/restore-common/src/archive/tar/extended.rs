//! Extended headers of a tar: records about the member that follows, of any length.

use std::io::Read;

use super::{
    super::{Damage, Defect, stream::Stream},
    BLOCK, ends_within, skip,
};

/// So much of a record is kept: a size takes less.
const KEPT: usize = 64;

/// What an extended header says about the member that follows, or a global one about all.
#[derive(Default)]
pub(super) struct Extended {
    pub(super) size: Option<u64>,
}

impl Extended {
    /// Reads records `LENGTH KEY=VALUE\n`; the length counts all of it.
    pub(super) fn read<R: Read>(&mut self, stream: &mut Stream<R>, size: u64) -> Result<(), Defect> {
        let mut text = Text::new(stream, size);
        while let Some(record) = text.record()? {
            if let Some(value) = record.strip_prefix(b"size=") {
                self.size = Some(number(value).ok_or_else(|| text.wrong())?);
            }
        }
        text.finish()
    }
}

/// Digits up to the end of a record. `tar` takes no sign, and nothing that is no length of a file.
fn number(value: &[u8]) -> Option<u64> {
    let digits = value.strip_suffix(b"\n").filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The content of an extended header, a block at a time.
struct Text<'s, R> {
    stream: &'s mut Stream<R>,
    /// Where it begins.
    start: u64,
    size: u64,
    /// How much of it was looked at.
    read: u64,
    block: [u8; BLOCK],
    /// How much of the block was looked at.
    used: usize,
}

impl<'s, R: Read> Text<'s, R> {
    fn new(stream: &'s mut Stream<R>, size: u64) -> Self {
        Self { start: stream.at(), stream, size, read: 0, block: [0; BLOCK], used: BLOCK }
    }

    fn wrong(&self) -> Defect {
        Defect::new(Damage::Damaged, self.start, "an extended header makes no sense")
    }

    /// The beginning of the next record, behind its length. A NUL in place of a length is the end, too.
    fn record(&mut self) -> Result<Option<Vec<u8>>, Defect> {
        let start = self.read;
        let Some(first) = self.behind_blanks()?.filter(|first| *first != 0) else { return Ok(None) };
        let length = self.length(first)?;
        let end = start.checked_add(length).filter(|end| *end <= self.size).ok_or_else(|| self.wrong())?;
        let mut kept = Vec::with_capacity(KEPT);
        let (mut divider, mut last) = (None, 0);
        while self.read < end {
            last = self.byte()?.unwrap_or_default();
            divider = divider.or(Some(last).filter(|byte| matches!(byte, b'=' | 0)));
            let is_indent = kept.is_empty() && is_blank(last);
            if kept.len() < KEPT && !is_indent {
                kept.push(last);
            }
        }
        if divider == Some(b'=') && last == b'\n' { Ok(Some(kept)) } else { Err(self.wrong()) }
    }

    /// The length from its first digit on, and the blank behind it.
    fn length(&mut self, first: u8) -> Result<u64, Defect> {
        let (mut length, mut next) = (Some(0_u64), Some(first));
        while let Some(digit @ b'0'..=b'9') = next {
            length = length.and_then(|length| length.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            next = self.byte()?;
        }
        let is_number = first.is_ascii_digit() && next.is_some_and(is_blank);
        length.filter(|_| is_number).ok_or_else(|| self.wrong())
    }

    fn behind_blanks(&mut self) -> Result<Option<u8>, Defect> {
        loop {
            let byte = self.byte()?;
            if !byte.is_some_and(is_blank) {
                return Ok(byte);
            }
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, Defect> {
        if self.read == self.size {
            return Ok(None);
        }
        if self.used == BLOCK {
            if self.stream.fill(&mut self.block)? < BLOCK {
                return Err(ends_within(self.start));
            }
            self.used = 0;
        }
        let byte = self.block[self.used];
        self.used += 1;
        self.read += 1;
        Ok(Some(byte))
    }

    /// Passes over what follows the last record.
    fn finish(self) -> Result<(), Defect> {
        let passed = self.stream.at() - self.start;
        skip(self.stream, self.size.saturating_sub(passed))
    }
}
