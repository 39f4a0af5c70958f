//! The log: on standard error, a line a message.

use std::io::{self, Write};

use console::Style;
use log::{Level, LevelFilter};

use super::{progress, sanitize_lines};

/// How much is said beside the report: `-q`, nothing, `-v`, `-vv`.
pub fn level(verbose: u8, quiet: bool) -> LevelFilter {
    match (quiet, verbose) {
        (true, _) => LevelFilter::Error,
        (false, 0) => LevelFilter::Warn,
        (false, 1) => LevelFilter::Info,
        (false, 2) => LevelFilter::Debug,
        (false, _) => LevelFilter::Trace,
    }
}

/// Starts logging. A second call changes nothing.
pub fn init_log(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(level);
    // The HTTP library would say whole URLs and answers, whatever is in them.
    for library in ["ureq", "ureq_proto"] {
        builder.filter_module(library, LevelFilter::Off);
    }
    builder.target(env_logger::Target::Pipe(Box::new(AroundProgress)));
    builder.format(|out, record| {
        let text = record.args().to_string();
        writeln!(out, "{}", line(record.level(), &text))
    });
    // Fails only when a logger is there already.
    let _ = builder.try_init();
}

fn line(level: Level, text: &str) -> String {
    let (word, style) = match level {
        Level::Error => ("error", Style::new().red().bold()),
        Level::Warn => ("warning", Style::new().yellow().bold()),
        Level::Info => ("info", Style::new().cyan()),
        Level::Debug => ("debug", Style::new().dim()),
        Level::Trace => ("trace", Style::new().dim()),
    };
    format!("{} {}", style.for_stderr().apply_to(format_args!("{word}:")), sanitize_lines(text))
}

/// Standard error, with a progress bar out of the way while it is written to.
struct AroundProgress;

impl Write for AroundProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::suspended(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(0, true, LevelFilter::Error)]
    #[case(2, true, LevelFilter::Error)]
    #[case(0, false, LevelFilter::Warn)]
    #[case(1, false, LevelFilter::Info)]
    #[case(2, false, LevelFilter::Debug)]
    #[case(9, false, LevelFilter::Trace)]
    fn levels(#[case] verbose: u8, #[case] quiet: bool, #[case] expected: LevelFilter) {
        assert_eq!(level(verbose, quiet), expected);
    }

    #[test]
    fn a_message_cannot_drive_the_terminal() {
        let line = line(Level::Warn, "node said \x1b[2J");
        assert_eq!(console::strip_ansi_codes(&line), "warning: node said \\x1b[2J");
    }
}
