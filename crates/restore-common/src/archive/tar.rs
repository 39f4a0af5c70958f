//! tar as vzdump writes it: GNU and POSIX headers, long names, sparse files, extended attributes.

mod extended;

use std::io::Read;

use self::extended::Extended;
use super::{Contents, Damage, Defect, Extent, stream::Stream};

const BLOCK: usize = 512;
const CONFIG: &[u8] = b"./etc/vzdump/pct.conf";
/// A configuration is not larger.
const LARGEST_TEXT: u64 = 1 << 20;

/// Reads an archive.
pub(super) fn read<R: Read>(stream: &mut Stream<R>, extent: Extent) -> Result<Contents, Defect> {
    let mut contents = Contents::default();
    let (mut global, mut extended) = (Extended::default(), Extended::default());
    loop {
        let at = stream.at();
        let Some(header) = Header::next(stream)? else { break };
        let size = header.size(at)?;
        match header.kind() {
            b'g' => {
                global.read(stream, size)?;
                continue;
            }
            b'x' | b'X' => {
                extended = Extended::default();
                extended.read(stream, size)?;
                continue;
            }
            b'L' | b'K' => {
                skip(stream, size)?;
                continue;
            }
            b'M' => return Err(Defect::new(Damage::Damaged, at, "a member that begins in another archive")),
            b'S' => header.skip_sparse_map(stream)?,
            _ => {}
        }
        let stored = if header.has_content() { extended.size.or(global.size).unwrap_or(size) } else { 0 };
        extended = Extended::default();
        contents.members += 1;
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

    /// The sum of the bytes, its own as blanks. Some old programs added them as signed ones.
    fn sum_is_right(&self) -> bool {
        let mut bytes = self.0;
        bytes[148..156].fill(b' ');
        let unsigned: i64 = bytes.iter().map(|byte| i64::from(*byte)).sum();
        let signed: i64 = bytes.iter().map(|byte| i64::from(byte.cast_signed())).sum();
        let told = start_of_number(&self.0[148..156]).and_then(octal).and_then(|sum| i64::try_from(sum).ok());
        told.is_some_and(|told| told == unsigned || told == signed)
    }

    fn kind(&self) -> u8 {
        self.0[156]
    }

    /// Whether data of its size follows. Links, devices, folders and pipes may say a size, but have none.
    fn has_content(&self) -> bool {
        !matches!(self.kind(), b'1'..=b'6')
    }

    fn size(&self, at: u64) -> Result<u64, Defect> {
        // What a hard link says is the size of the file that it stands for, and not looked at.
        if self.kind() == b'1' {
            return Ok(0);
        }
        let size = start_of_number(&self.0[124..136]).and_then(|field| match field {
            [0x80, rest @ ..] => base_256(rest),
            _ => octal(field),
        });
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

/// Where the number of a field begins: behind a NUL that overflowed from the field before it, and behind blanks. There has
/// to be more than blanks.
fn start_of_number(field: &[u8]) -> Option<&[u8]> {
    let field = field.strip_prefix(b"\0").unwrap_or(field).trim_ascii_start();
    if field.is_empty() { None } else { Some(field) }
}

/// A number in octal digits, up to a NUL, a blank or the end. No digit is 0.
fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| !matches!(byte, b'0'..=b'7')).unwrap_or(field.len());
    let (digits, rest) = field.split_at(end);
    if rest.first().is_some_and(|byte| *byte != 0 && !byte.is_ascii_whitespace()) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number << 3 | u64::from(digit - b'0')))
}

/// A number in bytes, for what does not fit into octal digits.
fn base_256(field: &[u8]) -> Option<u64> {
    field.iter().try_fold(0_u64, |number, byte| Some(number.checked_mul(256)? | u64::from(*byte)))
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
