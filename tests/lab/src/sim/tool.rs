//! What a simulated command-line tool sees of the world.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// Exit status of a tool killed by SIGPIPE, as a shell sees it.
pub const SIGPIPE_STATUS: i32 = 141;

/// The streams of one tool, and where the node's paths really are.
pub struct Tool<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// Turns a path on the node into the real one.
    pub map: &'a dyn Fn(&str) -> PathBuf,
}

impl Tool<'_> {
    /// Prints one line on standard error. A reader that has gone away changes nothing.
    pub fn complain(&mut self, line: &str) {
        drop(writeln!(self.stderr, "{line}"));
    }
}

/// Opens a file argument for reading. Takes the parts of a [`Tool`], so that its output stays free to use.
pub fn open_input<'t>(
    path: &str,
    stdin: &'t mut dyn Read,
    map: &dyn Fn(&str) -> PathBuf,
) -> io::Result<Box<dyn Read + 't>> {
    if is_stdin(path) {
        return Ok(Box::new(stdin));
    }
    Ok(Box::new(File::open(map(path))?))
}

/// Whether a file argument stands for standard input.
pub fn is_stdin(path: &str) -> bool {
    path == "-" || path == "/dev/stdin"
}

/// The words of the C library for an error, without Rust's `(os error N)`.
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The streams of one command.
pub struct Io<'a> {
    /// Standard input.
    pub stdin: &'a mut dyn Read,
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
}

impl Io<'_> {
    /// Prints one line on standard output. A reader that has gone away changes nothing.
    pub fn line(&mut self, line: &str) {
        drop(writeln!(self.stdout, "{line}"));
    }

    /// Prints one line on standard error. A reader that has gone away changes nothing.
    pub fn complain(&mut self, line: &str) {
        drop(writeln!(self.stderr, "{line}"));
    }
}
