//! zstd frames, checked in the steps of the `zstd` tool.

use std::io::{self, BufRead, Read, Write};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::ToolError;

const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
/// A frame that the tool passes over begins with one of sixteen numbers, of which this is the first.
const SKIPPABLE: u32 = 0x184d_2a50;

/// Compresses with the tool's default level and with the checksum that its library leaves out by default.
pub(super) fn writer<W: Write>(output: W) -> io::Result<zstd::stream::write::Encoder<'static, W>> {
    let mut encoder = zstd::stream::write::Encoder::new(output, 3)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// Decompresses frame after frame.
pub(super) struct Reader<R> {
    input: R,
    name: String,
    decoder: Decoder<'static>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    FirstFrame,
    BetweenFrames,
    InFrame,
    End,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R, name: &str) -> io::Result<Self> {
        Ok(Self { input, name: name.to_owned(), decoder: Decoder::new()?, state: State::FirstFrame })
    }

    /// Looks at the first bytes of a frame, as the tool does before it calls the library.
    fn begin_frame(&mut self) -> io::Result<()> {
        let first = self.state == State::FirstFrame;
        let mut magic = Vec::with_capacity(MAGIC.len());
        (&mut self.input).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic.is_empty() && !first {
            self.state = State::End;
            return Ok(());
        }
        if magic.is_empty() {
            return Err(ToolError::error(format!("zstd: {}: unexpected end of file ", self.name)));
        }
        let Some(number) = magic.first_chunk().copied().map(u32::from_le_bytes) else {
            return Err(ToolError::error(format!("zstd: {}: unknown header ", self.name)));
        };
        if magic != MAGIC && number & !0xf != SKIPPABLE {
            return Err(ToolError::error(format!("zstd: {}: unsupported format ", self.name)));
        }
        self.decoder.reinit()?;
        let mut input = InBuffer::around(magic.as_slice());
        self.decoder.run(&mut input, &mut OutBuffer::around(&mut [][..]))?;
        self.state = State::InFrame;
        Ok(())
    }

    /// Decompresses some of the frame; 0 bytes may also mean that its header needs more input.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.input.fill_buf()?;
        let at_end = available.is_empty();
        let mut input = InBuffer::around(available);
        let mut output = OutBuffer::around(buffer);
        let run = self.decoder.run(&mut input, &mut output);
        let (consumed, produced) = (input.pos(), output.pos());
        self.input.consume(consumed);
        match run {
            Ok(0) => self.state = State::BetweenFrames,
            Ok(_) if at_end && produced == 0 => {
                return Err(ToolError::error(format!(
                    "{} : Read error (39) : premature end ",
                    short(&self.name)
                )));
            }
            Ok(_) => {}
            Err(error) => {
                return Err(ToolError::error(format!(
                    "{} : Decoding error (36) : {error} ",
                    short(&self.name)
                )));
            }
        }
        Ok(produced)
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::End => return Ok(0),
                State::FirstFrame | State::BetweenFrames => self.begin_frame()?,
                State::InFrame => match self.step(buffer)? {
                    0 => {}
                    produced => return Ok(produced),
                },
            }
        }
    }
}

/// The tool shows only the last 20 bytes of a name in these messages.
fn short(name: &str) -> String {
    let bytes = name.as_bytes();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(20)..]).into_owned()
}
