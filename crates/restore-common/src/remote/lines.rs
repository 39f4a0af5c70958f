//! Bytes that arrive in pieces, as lines.

use std::{collections::VecDeque, ops::ControlFlow};

/// A line that is longer is passed on in parts: nothing a node prints may fill the operator's memory.
const LONGEST: usize = 64 * 1024;

/// Cuts a stream into lines. A carriage return ends one too: that is how programs redraw their progress.
#[derive(Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    after_return: bool,
}

impl Lines {
    /// Passes on the lines that `bytes` end.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        on_line: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for &byte in bytes {
            let second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            if second_half {
                continue;
            }
            if byte != b'\n' && byte != b'\r' {
                self.partial.push(byte);
            }
            if byte == b'\n' || byte == b'\r' || self.partial.len() == LONGEST {
                self.pass_on(on_line)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Passes on what is left at the end of the stream.
    pub(super) fn finish(&mut self, on_line: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.partial.is_empty() { ControlFlow::Continue(()) } else { self.pass_on(on_line) }
    }

    fn pass_on(&mut self, on_line: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let flow = on_line(&String::from_utf8_lossy(&self.partial));
        self.partial.clear();
        flow
    }
}

/// The last lines of a stream.
#[derive(Default)]
pub(super) struct LastLines(VecDeque<String>);

impl LastLines {
    const COUNT: usize = 40;

    pub(super) fn push(&mut self, line: &str) {
        if self.0.len() == Self::COUNT {
            self.0.pop_front();
        }
        self.0.push_back(line.to_owned());
    }

    pub(super) fn join(self) -> String {
        self.0.into_iter().fold(String::new(), |text, line| text + &line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut seen = Vec::new();
        let mut keep = |line: &str| {
            seen.push(line.to_owned());
            ControlFlow::Continue(())
        };
        let mut lines = Lines::default();
        for piece in pieces {
            assert!(lines.feed(piece, &mut keep).is_continue());
        }
        assert!(lines.finish(&mut keep).is_continue());
        seen
    }

    #[test]
    fn pieces_make_whole_lines() {
        assert_eq!(lines(&[b"on", b"e\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
        assert_eq!(lines(&[b"caf\xc3", b"\xa9\n\xff\n"]), ["café", "\u{fffd}"]);
        assert!(lines(&[b""]).is_empty());
    }

    #[test]
    fn a_carriage_return_ends_a_line_and_two_bytes_end_it_once() {
        assert_eq!(lines(&[b"1%\r2%\r", b"\ndone\r", b"\n"]), ["1%", "2%", "done"]);
    }

    #[test]
    fn an_endless_line_is_passed_on_in_parts() {
        let long = vec![b'x'; LONGEST + 1];
        assert_eq!(lines(&[&long]).iter().map(String::len).collect::<Vec<_>>(), [LONGEST, 1]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut last = LastLines::default();
        (0..100).for_each(|n| last.push(&n.to_string()));
        let text = last.join();
        assert!(text.starts_with("60\n") && text.ends_with("99\n"), "{text}");
    }
}
