//! Where a script's own output begins.
//!
//! `sshd` gives a script to the login shell, and Debian's bash reads `~/.bashrc` before it: a greeting in there would be
//! taken for a part of the answer. So every script first says that it begins, on both streams, and what was printed
//! before is passed over. It says so in bash only: another shell could understand half of a script that changes things.

use super::shell::{Event, text};

/// What a script says before anything else, and the end of its line.
const MARK: &[u8] = b"pve-restore begins\n";

/// The script behind its mark. That bash runs it is asked in words that other shells know as well.
pub(super) fn marked(script: &str) -> String {
    format!("[ \"$BASH_VERSION\" ] || exit 1\necho pve-restore begins\necho pve-restore begins >&2\n{script}")
}

/// What was heard of both streams of a script before it began.
#[derive(Default)]
pub(super) struct Login {
    out: Before,
    err: Before,
}

impl Login {
    /// What of an event is the script's own.
    pub(super) fn own<'a>(&mut self, event: Event<'a>) -> Option<Event<'a>> {
        match event {
            Event::Stdout(bytes) => self.out.own(bytes).map(Event::Stdout),
            Event::Stderr(bytes) => self.err.own(bytes).map(Event::Stderr),
            Event::Quiet => Some(Event::Quiet),
        }
    }

    /// The last words of a login that ended without the script, `None` when the script began.
    pub(super) fn last_words(self) -> Option<String> {
        let words = |before: Before| text(before.heard).trim().replace('\n', " / ");
        match (self.out.is_over, words(self.err), words(self.out)) {
            (true, ..) => None,
            (false, err, out) if err.is_empty() => Some(out),
            (false, err, _) => Some(err),
        }
    }
}

/// One stream until the mark.
#[derive(Default)]
struct Before {
    heard: Vec<u8>,
    is_over: bool,
}

impl Before {
    /// How much of it is kept, for the message when no mark comes.
    const KEPT: usize = 1024;

    fn own<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.is_over {
            return Some(bytes);
        }
        self.heard.extend_from_slice(bytes);
        let Some(mark) = self.heard.windows(MARK.len()).position(|here| here == MARK) else {
            self.heard.drain(..self.heard.len().saturating_sub(Self::KEPT));
            return None;
        };
        self.is_over = true;
        let rest = self.heard.len() - mark - MARK.len();
        Some(&bytes[bytes.len() - rest..]).filter(|own| !own.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a stream that comes in pieces of this size.
    fn own(stream: &[u8], piece: usize) -> (Vec<u8>, Option<String>) {
        let (mut login, mut own) = (Login::default(), Vec::new());
        for bytes in stream.chunks(piece) {
            if let Some(Event::Stdout(bytes)) = login.own(Event::Stdout(bytes)) {
                own.extend_from_slice(bytes);
            }
        }
        (own, login.last_words())
    }

    #[rstest::rstest]
    #[case::nothing_before(b"pve-restore begins\n[]\n", b"[]\n")]
    #[case::a_greeting(b"Welcome!\npve-restore begins\n[]\n", b"[]\n")]
    #[case::one_without_an_end(b"> pve-restore beginspve-restore begins\n\n", b"\n")]
    #[case::the_mark_again(b"pve-restore begins\npve-restore begins\n", b"pve-restore begins\n")]
    #[case::no_answer(b"pve-restore begins\n", b"")]
    fn what_comes_before_the_mark_is_passed_over(#[case] stream: &[u8], #[case] expected: &[u8]) {
        for piece in 1..=stream.len() {
            assert_eq!(own(stream, piece), (expected.to_vec(), None), "in pieces of {piece}");
        }
    }

    #[test]
    fn of_a_stream_without_a_mark_the_end_is_kept() {
        let long = [b"noise ".repeat(10_000), b"\nnot available\n".to_vec()].concat();
        let (own, words) = own(&long, 4096);
        assert!(own.is_empty());
        let words = words.unwrap();
        assert!(words.ends_with("noise  / not available") && words.len() <= Before::KEPT + 2, "{words}");
    }
}
