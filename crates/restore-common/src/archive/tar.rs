//! tar as vzdump writes it: GNU and POSIX headers, long names, sparse files, extended attributes.

use std::io::Read;

use super::{Contents, Damage, Defect, Extent, stream::Stream};

const BLOCK: usize = 512;
const CONFIG: &[u8] = b"./etc/vzdump/pct.conf";
/// A configuration, or a header of extended attributes, is not larger.
const LARGEST_TEXT: u64 = 1 << 20;

/// Reads an archive.
pub(super) fn read<R: Read>(stream: &mut Stream<R>, extent: Extent) -> Result<Contents, Defect> {
    let mut contents = Contents::default();
    let mut extended = Extended::default();
    loop {
        let at = stream.at();
        let Some(header) = Header::next(stream)? else { break };
        let size = match extended.size {
            Some(size) if !header.is_extension() => size,
            _ => header.size(at)?,
        };
        match header.kind() {
            b'x' | b'g' => {
                let text = take(stream, size)?;
                if header.kind() == b'x' {
                    extended = Extended::read(&text, at)?;
                }
                continue;
            }
            b'L' | b'K' => {
                skip(stream, size)?;
                continue;
            }
            b'S' => header.skip_sparse_map(stream)?,
            _ => {}
        }
        extended = Extended::default();
        contents.members += 1;
        // A hard link says how large the file is that it stands for; nothing of that follows.
        let stored = if header.kind() == b'1' { 0 } else { size };
        if header.is_named(CONFIG) {
            contents.config = Some(String::from_utf8_lossy(&take(stream, stored)?).into_owned());
            if extent == Extent::Head {
                return Ok(contents);
            }
        } else if extent == Extent::Head {
            // vzdump puts the configuration first.
            return Ok(contents);
        } else {
            skip(stream, stored)?;
        }
        // Only now it is known to be no lie.
        contents.data += stored;
    }
    drain(stream)?;
    Ok(contents)
}

struct Header([u8; BLOCK]);

impl Header {
    /// The next header, or `None` at the end: two blocks of zeros.
    fn next<R: Read>(stream: &mut Stream<R>) -> Result<Option<Self>, Defect> {
        let at = stream.at();
        let cut = |reason| Err(Defect::new(Damage::Truncated, at, reason));
        let mut block = [0; BLOCK];
        match stream.fill(&mut block)? {
            BLOCK => {}
            0 => return cut("the archive has no end: it was cut off between two members"),
            _ => return cut("the archive ends within a header"),
        }
        if block != [0; BLOCK] {
            let header = Self(block);
            return if header.sum_is_right() {
                Ok(Some(header))
            } else {
                Err(Defect::new(Damage::Damaged, at, "the checksum of a tar header is wrong"))
            };
        }
        if stream.fill(&mut block)? < BLOCK {
            return cut("the archive ends within its end mark");
        }
        if block != [0; BLOCK] {
            return Err(Defect::new(Damage::Damaged, at, "a lone block of zeros between two members"));
        }
        Ok(None)
    }

    fn sum_is_right(&self) -> bool {
        let outside = |index: usize| !(148..156).contains(&index);
        let byte =
            |(index, byte): (usize, &u8)| if outside(index) { u64::from(*byte) } else { u64::from(b' ') };
        let sum: u64 = self.0.iter().enumerate().map(byte).sum();
        octal(&self.0[148..156]) == Some(sum)
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Whether it says something about the member that follows.
    fn is_extension(&self) -> bool {
        matches!(self.kind(), b'x' | b'g' | b'L' | b'K')
    }

    fn size(&self, at: u64) -> Result<u64, Defect> {
        let field = &self.0[124..136];
        let size = if field[0] & 0x80 == 0 { octal(field) } else { base_256(field) };
        size.ok_or_else(|| Defect::new(Damage::Damaged, at, "the size of a member makes no sense"))
    }

    /// Short names stand in the header itself.
    fn is_named(&self, name: &[u8]) -> bool {
        let field = self.0[..100].split(|byte| *byte == 0).next().unwrap_or_default();
        field == name || name.strip_prefix(b"./") == Some(field)
    }

    /// The map of an old sparse file may go on in blocks of its own.
    fn skip_sparse_map<R: Read>(&self, stream: &mut Stream<R>) -> Result<(), Defect> {
        let mut more = self.0[482] != 0;
        while more {
            let mut block = [0; BLOCK];
            let at = stream.at();
            if stream.fill(&mut block)? < BLOCK {
                return Err(Defect::new(
                    Damage::Truncated,
                    at,
                    "the archive ends within the map of a sparse file",
                ));
            }
            more = block[504] != 0;
        }
        Ok(())
    }
}

/// A number in octal digits, between blanks and ended by a blank or NUL. No digit is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

/// A number in bytes, for what does not fit into octal digits. A negative one is no size.
fn base_256(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x40 != 0 {
        return None;
    }
    let start = u64::from(first & 0x3f);
    rest.iter().try_fold(start, |number, byte| Some(number.checked_mul(256)? | u64::from(*byte)))
}

/// What an extended header says about the member that follows.
#[derive(Default)]
struct Extended {
    size: Option<u64>,
}

impl Extended {
    /// Records `LENGTH KEY=VALUE\n`; the length counts all of it.
    fn read(mut text: &[u8], at: u64) -> Result<Self, Defect> {
        let wrong = || Defect::new(Damage::Damaged, at, "an extended header makes no sense");
        let mut extended = Self::default();
        while !text.is_empty() {
            let blank = text.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let length = number(&text[..blank]).and_then(|n| usize::try_from(n).ok()).ok_or_else(wrong)?;
            let record = text.get(blank + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(wrong)?;
            if let Some(value) = record.strip_prefix(b"size=") {
                extended.size = Some(number(value).ok_or_else(wrong)?);
            }
            text = &text[length..];
        }
        Ok(extended)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The content of a member that is text.
fn take<R: Read>(stream: &mut Stream<R>, size: u64) -> Result<Vec<u8>, Defect> {
    let at = stream.at();
    let length = usize::try_from(size).ok().filter(|_| size <= LARGEST_TEXT);
    let length = length.ok_or_else(|| Defect::new(Damage::Damaged, at, "a text of an absurd size"))?;
    let mut text = vec![0; length.next_multiple_of(BLOCK)];
    if stream.fill(&mut text)? < text.len() {
        return Err(ends_within(at));
    }
    text.truncate(length);
    Ok(text)
}

fn skip<R: Read>(stream: &mut Stream<R>, size: u64) -> Result<(), Defect> {
    let at = stream.at();
    let wrong = || Defect::new(Damage::Damaged, at, "the size of a member makes no sense");
    let stored = size.checked_next_multiple_of(BLOCK as u64).ok_or_else(wrong)?;
    if stream.skip(stored)? < stored {
        return Err(ends_within(at));
    }
    Ok(())
}

fn ends_within(at: u64) -> Defect {
    Defect::new(Damage::Truncated, at, "the archive ends within a member")
}

/// What follows the end is filled up with zeros.
fn drain<R: Read>(stream: &mut Stream<R>) -> Result<(), Defect> {
    let mut buffer = [0; 16 * BLOCK];
    loop {
        let at = stream.at();
        let filled = stream.fill(&mut buffer)?;
        if filled == 0 {
            return Ok(());
        }
        if buffer[..filled].iter().any(|byte| *byte != 0) {
            return Err(Defect::new(Damage::Damaged, at, "there is something behind the end of the archive"));
        }
    }
}
