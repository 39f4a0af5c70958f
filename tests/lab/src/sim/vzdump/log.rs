//! The lines of a backup job: in the output of its task, and in the log next to each archive.

use std::path::PathBuf;

use crate::sim::clock;
use crate::sim::node::{Outcome, Task};

/// Where the lines go.
pub(super) struct Log<'a, 't> {
    task: &'a mut Task<'t>,
    quiet: bool,
    /// The log file of the guest being backed up, and its lines with date and time in front.
    guest: Option<(PathBuf, String)>,
}

impl<'a, 't> Log<'a, 't> {
    pub(super) fn new(task: &'a mut Task<'t>, quiet: bool) -> Self {
        Self { task, quiet, guest: None }
    }

    pub(super) fn info(&mut self, text: &str) -> Outcome {
        self.line("INFO", text)
    }

    pub(super) fn error(&mut self, text: &str) -> Outcome {
        self.line("ERROR", text)
    }

    /// Hears of a wait for a lock, for which there may be other words here. A reader that has gone is noticed
    /// with the next line.
    pub(super) fn announcer(&mut self, words: fn(&str) -> &str) -> impl FnMut(&str) {
        move |word| {
            if !word.trim().is_empty() {
                drop(self.info(words(word.trim())));
            }
        }
    }

    /// From here on lines belong to the log of a guest, too.
    pub(super) fn begin_guest(&mut self, file: PathBuf) {
        self.guest = Some((file, String::new()));
    }

    /// The log of the guest, if it got as far as having one.
    pub(super) fn end_guest(&mut self) -> Option<(PathBuf, String)> {
        self.guest.take()
    }

    fn line(&mut self, level: &str, text: &str) -> Outcome {
        if let Some((_, log)) = &mut self.guest {
            log.extend([&clock::date_time(clock::now()), " ", level, ": ", text, "\n"]);
        }
        if self.quiet { Ok(()) } else { self.task.line(&format!("{level}: {text}")) }
    }
}
