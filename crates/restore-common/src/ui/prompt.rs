//! Questions to the operator.

use std::{
    io::{self, BufRead, IsTerminal as _, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use super::sanitize_styled;
use crate::interrupt::Interrupt;

/// How often a waiting question looks for Ctrl-C.
const POLL: Duration = Duration::from_millis(50);

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A clear yes.
    Yes,
    /// Anything else, the end of input included.
    No,
    /// There is no terminal to ask on; nothing was asked.
    Refused,
    /// Ctrl-C instead of an answer.
    Interrupted,
}

type Input = Box<dyn BufRead + Send>;
type Lines = Receiver<io::Result<String>>;

/// Asks on standard error and reads from standard input.
pub struct Prompt {
    source: Option<Input>,
    lines: Option<Lines>,
    output: Box<dyn Write + Send>,
    on_terminal: bool,
    interrupt: Interrupt,
}

impl Prompt {
    /// A prompt on the terminal, where both standard input and standard error are one.
    pub fn new(interrupt: Interrupt) -> Self {
        let input = Box::new(io::BufReader::new(io::stdin()));
        Self::with(input, Box::new(io::stderr()), Self::is_possible(), interrupt)
    }

    /// Whether there is a terminal to ask on.
    pub fn is_possible() -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// A prompt over any reader and writer.
    pub fn with(
        input: Box<dyn BufRead + Send>,
        output: Box<dyn Write + Send>,
        on_terminal: bool,
        interrupt: Interrupt,
    ) -> Self {
        Self { source: Some(input), lines: None, output, on_terminal, interrupt }
    }

    /// Asks `question [y/N]`: yes is `y` or `yes`.
    pub fn confirm(&mut self, question: &str) -> Answer {
        self.ask(&format!("{question} [y/N] "), |line| {
            line.eq_ignore_ascii_case("y") || line.eq_ignore_ascii_case("yes")
        })
    }

    /// Asks for `word` to be typed, before something is destroyed: yes is exactly that word.
    pub fn type_word(&mut self, question: &str, word: &str) -> Answer {
        self.ask(&format!("{question} type `{word}` to go on: "), |line| line == word)
    }

    fn ask(&mut self, question: &str, is_yes: impl Fn(&str) -> bool) -> Answer {
        if !self.on_terminal {
            return Answer::Refused;
        }
        // A question that cannot be shown has not been asked.
        if write!(self.output, "{}", sanitize_styled(question)).and_then(|()| self.output.flush()).is_err() {
            return Answer::Refused;
        }
        if let Some(line) = self.line() {
            return if is_yes(line.trim()) { Answer::Yes } else { Answer::No };
        }
        // Nobody ended the line of the question. Where this fails the terminal is gone.
        let _ = writeln!(self.output);
        if self.interrupt.requested() { Answer::Interrupted } else { Answer::No }
    }

    /// The next line; `None` at the end of input and when interrupted.
    fn line(&mut self) -> Option<String> {
        if let Some(source) = self.source.take() {
            self.lines = Some(lines_of(source));
        }
        let lines = self.lines.as_ref()?;
        while !self.interrupt.requested() {
            match lines.recv_timeout(POLL) {
                Ok(line) => return line.ok(),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        None
    }
}

/// The lines of `input`, read by a thread of its own: a read of the terminal cannot be interrupted, but waiting for one
/// can.
fn lines_of(mut input: Input) -> Lines {
    let (sender, lines) = channel();
    thread::spawn(move || {
        loop {
            let mut line = String::new();
            let read = input.read_line(&mut line);
            let ended = !matches!(read, Ok(1..));
            if ended || sender.send(read.map(|_| line)).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    fn prompt(typed: &'static str) -> Prompt {
        Prompt::with(Box::new(typed.as_bytes()), Box::new(io::sink()), true, Interrupt::default())
    }

    #[rstest::rstest]
    #[case("y\n", Answer::Yes)]
    #[case(" YES \n", Answer::Yes)]
    #[case("y", Answer::Yes)]
    #[case("\n", Answer::No)]
    #[case("n\n", Answer::No)]
    #[case("yep\n", Answer::No)]
    #[case("", Answer::No)]
    fn only_a_clear_yes_is_one(#[case] typed: &'static str, #[case] expected: Answer) {
        assert_eq!(prompt(typed).confirm("restore?"), expected);
    }

    #[rstest::rstest]
    #[case("101\n", Answer::Yes)]
    #[case("1011\n", Answer::No)]
    #[case("y\n", Answer::No)]
    #[case("", Answer::No)]
    fn destroying_takes_the_word_itself(#[case] typed: &'static str, #[case] expected: Answer) {
        assert_eq!(prompt(typed).type_word("VM 101 will be overwritten:", "101"), expected);
    }

    #[test]
    fn questions_follow_one_another_on_one_input() {
        let mut prompt = prompt("101\ny\n");
        assert_eq!(prompt.type_word("overwrite:", "101"), Answer::Yes);
        assert_eq!(prompt.confirm("lose the snapshots?"), Answer::Yes);
        assert_eq!(prompt.confirm("more?"), Answer::No);
    }

    #[test]
    fn bytes_that_are_not_text_are_no() {
        let input: &'static [u8] = b"\xff\xfe\n";
        let mut prompt = Prompt::with(Box::new(input), Box::new(io::sink()), true, Interrupt::default());
        assert_eq!(prompt.confirm("restore?"), Answer::No);
    }

    /// What was written, to be looked at.
    struct Screen(Sender<Vec<u8>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn without_a_terminal_nothing_is_asked() {
        let (sender, screen) = channel();
        let input: &'static [u8] = b"y\n";
        let output = Box::new(Screen(sender));
        let mut prompt = Prompt::with(Box::new(input), output, false, Interrupt::default());
        assert_eq!(prompt.confirm("restore?"), Answer::Refused);
        drop(prompt);
        assert_eq!(screen.iter().count(), 0);
    }

    #[test]
    fn the_question_says_what_it_takes() {
        let (sender, screen) = channel();
        let input: &'static [u8] = b"";
        let mut prompt = Prompt::with(Box::new(input), Box::new(Screen(sender)), true, Interrupt::default());
        prompt.confirm("restore it?");
        prompt.type_word("VM 101 will be overwritten:", "101");
        drop(prompt);
        let shown = String::from_utf8(screen.iter().flatten().collect()).unwrap();
        assert_eq!(shown, "restore it? [y/N] \nVM 101 will be overwritten: type `101` to go on: \n");
    }

    /// Never ends and never says anything: an operator who thinks.
    struct Silence(Receiver<()>);

    impl io::Read for Silence {
        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(0)
        }
    }

    #[test]
    fn ctrl_c_ends_the_waiting() {
        let (_keeps_it_open, wait) = channel();
        let interrupt = Interrupt::default();
        let input = Box::new(io::BufReader::new(Silence(wait)));
        let mut prompt = Prompt::with(input, Box::new(io::sink()), true, interrupt.clone());
        let asking = thread::spawn(move || prompt.confirm("restore?"));
        interrupt.request();
        assert_eq!(asking.join().unwrap(), Answer::Interrupted);
    }
}
