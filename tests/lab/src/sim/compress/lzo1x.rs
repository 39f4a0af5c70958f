//! The LZO1X data format, as far as `lzop` uses it.
//!
//! An instruction copies earlier output ("match") and says how many literals follow. The two lowest bits of its
//! second to last byte hold up to three literals; longer runs are instructions of their own.

/// The compressed data makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation;

const SHORTEST_MATCH: usize = 4;
const M2_LONGEST: usize = 8;
const M2_FARTHEST: usize = 0x0800;
const M3_LONGEST: usize = 33;
const M3_FARTHEST: usize = 0x4000;
const M4_LONGEST: usize = 9;
const M4_FARTHEST: usize = 0xbfff;
const END: [u8; 3] = [0x11, 0, 0];
const HASH_BITS: u32 = 14;

/// Compresses a block.
pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(input.len() / 2);
    let mut table = vec![usize::MAX; 1 << HASH_BITS];
    let (mut at, mut literals) = (0, 0);
    while at + SHORTEST_MATCH <= input.len() {
        let candidate = std::mem::replace(&mut table[hash(&input[at..])], at);
        let length = match candidate {
            usize::MAX => 0,
            from if at - from > M4_FARTHEST => 0,
            from => common_prefix(&input[from..], &input[at..]),
        };
        if length < SHORTEST_MATCH {
            // The longer nothing repeats, the larger the steps: incompressible data must not cost much.
            at += 1 + (at - literals) / 64;
            continue;
        }
        put_literals(&mut output, &input[literals..at]);
        put_match(&mut output, length, at - candidate);
        at += length;
        literals = at;
    }
    put_literals(&mut output, &input[literals..]);
    output.extend(END);
    output
}

fn hash(data: &[u8]) -> usize {
    let word = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn put_literals(output: &mut Vec<u8>, literals: &[u8]) {
    let length = literals.len();
    match (length, output.len()) {
        (0, _) => return,
        (..=238, 0) => output.push(low_byte(17 + length)),
        (..=3, end) => output[end - 2] |= low_byte(length),
        (..=18, _) => output.push(low_byte(length - 3)),
        _ => {
            output.push(0);
            put_long(output, length - 18);
        }
    }
    output.extend_from_slice(literals);
}

fn put_match(output: &mut Vec<u8>, length: usize, distance: usize) {
    if length <= M2_LONGEST && distance <= M2_FARTHEST {
        let distance = distance - 1;
        output.push(low_byte((length - 1) << 5 | (distance & 7) << 2));
        output.push(low_byte(distance >> 3));
        return;
    }
    let (marker, longest, distance) = if distance <= M3_FARTHEST {
        (32, M3_LONGEST, distance - 1)
    } else {
        let distance = distance - M3_FARTHEST;
        (16 | distance >> 11 & 8, M4_LONGEST, distance)
    };
    if length <= longest {
        output.push(low_byte(marker | (length - 2)));
    } else {
        output.push(low_byte(marker));
        put_long(output, length - longest);
    }
    output.push(low_byte(distance << 2));
    output.push(low_byte(distance >> 6));
}

/// A length that does not fit into its instruction: zeros for 255 each, then the rest.
fn put_long(output: &mut Vec<u8>, mut length: usize) {
    while length > 255 {
        output.push(0);
        length -= 255;
    }
    output.push(low_byte(length));
}

fn low_byte(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

/// Decompresses a block that must become exactly `size` bytes.
pub(super) fn decompress(input: &[u8], size: usize) -> Result<Vec<u8>, Violation> {
    let mut block = Block { input, at: 0, output: Vec::with_capacity(size), size };
    block.run()?;
    if block.at != input.len() || block.output.len() != size {
        return Err(Violation);
    }
    Ok(block.output)
}

/// What the last instruction left behind decides what small instructions mean.
#[derive(Clone, Copy)]
enum After {
    /// A match without literals.
    Match,
    /// A match with one to three literals.
    FewLiterals,
    /// A literal run.
    Run,
}

struct Block<'a> {
    input: &'a [u8],
    at: usize,
    output: Vec<u8>,
    size: usize,
}

impl Block<'_> {
    fn run(&mut self) -> Result<(), Violation> {
        let mut after = self.first_literals()?;
        loop {
            let code = self.byte()?;
            let (length, distance, literals) = match (code, after) {
                (64.., _) => {
                    let distance = 1 + (code >> 2 & 7) + (self.byte()? << 3);
                    ((code >> 5) + 1, distance, code)
                }
                (32.., _) => {
                    let length = self.length(code & 31, M3_LONGEST)?;
                    let low = self.word()?;
                    (length, 1 + (low >> 2), low)
                }
                (16.., _) => {
                    let length = self.length(code & 7, M4_LONGEST)?;
                    let low = self.word()?;
                    let distance = (code & 8) << 11 | low >> 2;
                    if distance == 0 {
                        return if length == 3 { Ok(()) } else { Err(Violation) };
                    }
                    (length, M3_FARTHEST + distance, low)
                }
                (_, After::Match) => {
                    let length = match code {
                        0 => self.long(18)?,
                        code => code + 3,
                    };
                    self.literals(length)?;
                    after = After::Run;
                    continue;
                }
                (_, After::FewLiterals) => (2, 1 + (code >> 2) + (self.byte()? << 2), code),
                (_, After::Run) => (3, 1 + M2_FARTHEST + (code >> 2) + (self.byte()? << 2), code),
            };
            self.copy(length, distance)?;
            after = self.few_literals(literals & 3)?;
        }
    }

    /// A block may begin with literals in a form of its own.
    fn first_literals(&mut self) -> Result<After, Violation> {
        match self.input.first() {
            Some(&code @ 18..) => {
                self.at = 1;
                let count = usize::from(code) - 17;
                if count <= 3 {
                    return self.few_literals(count);
                }
                self.literals(count)?;
                Ok(After::Run)
            }
            _ => Ok(After::Match),
        }
    }

    fn few_literals(&mut self, count: usize) -> Result<After, Violation> {
        self.literals(count)?;
        Ok(if count == 0 { After::Match } else { After::FewLiterals })
    }

    fn byte(&mut self) -> Result<usize, Violation> {
        let byte = *self.input.get(self.at).ok_or(Violation)?;
        self.at += 1;
        Ok(usize::from(byte))
    }

    fn word(&mut self) -> Result<usize, Violation> {
        Ok(self.byte()? | self.byte()? << 8)
    }

    /// The length of a match from the bits of its instruction.
    fn length(&mut self, bits: usize, longest: usize) -> Result<usize, Violation> {
        if bits == 0 { self.long(longest) } else { Ok(bits + 2) }
    }

    fn long(&mut self, base: usize) -> Result<usize, Violation> {
        let mut length = base;
        loop {
            match self.byte()? {
                0 if length <= self.size => length += 255,
                0 => return Err(Violation),
                rest => return Ok(length + rest),
            }
        }
    }

    fn literals(&mut self, count: usize) -> Result<(), Violation> {
        let literals = self.input.get(self.at..self.at + count).ok_or(Violation)?;
        self.room(count)?;
        self.output.extend_from_slice(literals);
        self.at += count;
        Ok(())
    }

    /// Copies byte by byte: a match may reach into its own output.
    fn copy(&mut self, length: usize, distance: usize) -> Result<(), Violation> {
        let from = self.output.len().checked_sub(distance).ok_or(Violation)?;
        self.room(length)?;
        for at in from..from + length {
            self.output.push(self.output[at]);
        }
        Ok(())
    }

    fn room(&self, count: usize) -> Result<(), Violation> {
        if self.output.len() + count > self.size { Err(Violation) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random bytes, the same in every run.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn every_mixture_of_noise_and_repetition_survives() {
        for seed in 1..200 {
            let length = noise(seed, 4).iter().fold(0, |sum, &byte| sum * 5 + usize::from(byte));
            let mut data = noise(seed, length);
            // Few distinct bytes make short matches; a repeated piece makes long and far ones.
            for (i, byte) in data.iter_mut().enumerate() {
                if (i >> 9) % 3 == 0 {
                    *byte %= 3;
                }
            }
            data.extend_from_within(length / 3..);
            let packed = compress(&data);
            assert_eq!(decompress(&packed, data.len()), Ok(data), "seed {seed}");
        }
    }

    #[test]
    fn damage_is_a_violation_or_other_data_but_never_a_panic() {
        let data = [noise(1, 900), vec![7; 900], noise(1, 900)].concat();
        let packed = compress(&data);
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut damaged = packed.clone();
                damaged[at] ^= 1 << bit;
                if let Ok(other) = decompress(&damaged, data.len()) {
                    assert_eq!(other.len(), data.len(), "bit {bit} of byte {at}");
                }
            }
            assert_eq!(decompress(&packed[..at], data.len()), Err(Violation), "cut at {at}");
        }
    }
}
