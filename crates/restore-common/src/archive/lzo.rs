//! LZO1X blocks, decompressed.
//!
//! An instruction copies a piece of what came out so far and tells how many bytes to take over as they are. What a short
//! instruction means depends on the one before it.

/// The block makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nonsense;

/// Distances begin behind the reach of a shorter instruction.
const BEHIND_M2: usize = 0x0800;
const BEHIND_M3: usize = 0x4000;

/// What the instruction before left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A copy, and no literal.
    Copy,
    /// A copy, and up to three literals.
    Few,
    /// A run of literals.
    Run,
}

/// Decompresses a block that is known to have `size` bytes.
pub(super) fn decompress(input: &[u8], size: usize) -> Result<Vec<u8>, Nonsense> {
    let mut block = Block { input, at: 0, output: Vec::with_capacity(size), size };
    let mut before = Before::Copy;
    // The first byte may be a run of its own kind.
    if let Some(first) = input.first().filter(|byte| **byte > 17) {
        block.at = 1;
        let count = usize::from(*first) - 17;
        block.literals(count)?;
        before = if count < 4 { Before::Few } else { Before::Run };
    }
    loop {
        let code = usize::from(block.byte()?);
        let (length, distance, literals) = match (code, before) {
            (0..=15, Before::Copy) => {
                let count = 3 + block.length(code, 15)?;
                block.literals(count)?;
                before = Before::Run;
                continue;
            }
            (0..=15, Before::Few) => (2, (usize::from(block.byte()?) << 2) + (code >> 2) + 1, code & 3),
            (0..=15, Before::Run) => {
                (3, (usize::from(block.byte()?) << 2) + (code >> 2) + 1 + BEHIND_M2, code & 3)
            }
            (16..=31, _) => {
                let length = 2 + block.length(code & 7, 7)?;
                let word = block.word()?;
                let distance = ((code & 8) << 11) + (word >> 2);
                if distance == 0 {
                    return block.end(length);
                }
                (length, distance + BEHIND_M3, word & 3)
            }
            (32..=63, _) => {
                let length = 2 + block.length(code & 31, 31)?;
                let word = block.word()?;
                (length, (word >> 2) + 1, word & 3)
            }
            (64..=127, _) => {
                (3 + ((code >> 5) & 1), (usize::from(block.byte()?) << 3) + ((code >> 2) & 7) + 1, code & 3)
            }
            _ => (5 + ((code >> 5) & 3), (usize::from(block.byte()?) << 3) + ((code >> 2) & 7) + 1, code & 3),
        };
        block.copy(distance, length)?;
        block.literals(literals)?;
        before = if literals == 0 { Before::Copy } else { Before::Few };
    }
}

struct Block<'a> {
    input: &'a [u8],
    at: usize,
    output: Vec<u8>,
    size: usize,
}

impl Block<'_> {
    fn byte(&mut self) -> Result<u8, Nonsense> {
        let byte = *self.input.get(self.at).ok_or(Nonsense)?;
        self.at += 1;
        Ok(byte)
    }

    fn word(&mut self) -> Result<usize, Nonsense> {
        Ok(usize::from(u16::from_le_bytes([self.byte()?, self.byte()?])))
    }

    /// A length that may go on: zeros count 255 each, the first other byte ends it.
    fn length(&mut self, short: usize, longest: usize) -> Result<usize, Nonsense> {
        if short != 0 {
            return Ok(short);
        }
        let mut length = longest;
        loop {
            match self.byte()? {
                0 => length += 255,
                byte => return Ok(length + usize::from(byte)),
            }
        }
    }

    fn room_for(&self, count: usize) -> Result<(), Nonsense> {
        if count <= self.size - self.output.len() { Ok(()) } else { Err(Nonsense) }
    }

    fn literals(&mut self, count: usize) -> Result<(), Nonsense> {
        self.room_for(count)?;
        let end = self.at.checked_add(count).ok_or(Nonsense)?;
        self.output.extend_from_slice(self.input.get(self.at..end).ok_or(Nonsense)?);
        self.at = end;
        Ok(())
    }

    /// The piece may reach into itself: then it repeats.
    fn copy(&mut self, distance: usize, length: usize) -> Result<(), Nonsense> {
        self.room_for(length)?;
        let from = self.output.len().checked_sub(distance).ok_or(Nonsense)?;
        if distance >= length {
            self.output.extend_from_within(from..from + length);
        } else {
            for index in from..from + length {
                self.output.push(self.output[index]);
            }
        }
        Ok(())
    }

    /// The end is a copy of three bytes from nowhere, and nothing follows it.
    fn end(self, length: usize) -> Result<Vec<u8>, Nonsense> {
        let whole = length == 3 && self.at == self.input.len() && self.output.len() == self.size;
        if whole { Ok(self.output) } else { Err(Nonsense) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_block_is_taken_whole_or_not_at_all(input in prop::collection::vec(any::<u8>(), 0..80), size in 0_usize..4096) {
            if let Ok(output) = decompress(&input, size) {
                prop_assert_eq!(output.len(), size);
            }
        }
    }
}
