//! Progress of one piece of work, on standard error.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::LazyLock,
    time::{Duration, Instant},
};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};

use super::{format, sanitize};

/// Without a terminal, a line this often at most.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// A rate is shown once it rests on this much time.
const SETTLED: Duration = Duration::from_secs(1);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar that moves: on a terminal.
    Bar,
    /// Occasional plain lines: into a file or a pipe.
    Lines,
    /// Not at all: with `--json` or `-q`.
    Hidden,
}

impl ProgressMode {
    /// The mode for standard error as it is.
    pub fn choose(json: bool, quiet: bool) -> Self {
        match (json || quiet, io::stderr().is_terminal()) {
            (true, _) => Self::Hidden,
            (false, true) => Self::Bar,
            (false, false) => Self::Lines,
        }
    }
}

/// Columns that stay free behind a bar. A terminal echoes Ctrl-C as `^C`: behind a full line that begins another one, and the
/// bars are not found again when they are to be cleared.
const ECHO: u16 = 4;

/// How often bars are drawn anew in a second, at most.
const RATE: u8 = 20;

/// The bars that are on the screen: one for each piece of work that goes on at the same time.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(|| {
    let screen = Box::new(Narrow(Term::stderr()));
    MultiProgress::with_draw_target(ProgressDrawTarget::term_like_with_hz(screen, RATE))
});

/// A terminal without its last columns.
#[derive(Debug)]
struct Narrow(Term);

impl TermLike for Narrow {
    fn width(&self) -> u16 {
        TermLike::width(&self.0).saturating_sub(ECHO).max(1)
    }

    fn height(&self) -> u16 {
        TermLike::height(&self.0)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        TermLike::flush(&self.0)
    }
}

/// Runs `write` with the bars, if there are any, out of the way.
pub fn suspended<T>(write: impl FnOnce() -> T) -> T {
    SCREEN.suspend(write)
}

/// Progress of one piece of work, from its start to [`Progress::finish`] or drop.
#[derive(Debug)]
pub struct Progress {
    title: String,
    work: Work,
    display: Display,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines { next: Instant },
    Hidden,
}

/// How far the work is.
#[derive(Clone, Debug)]
struct Work {
    started: Instant,
    position: u64,
    /// In bytes, or 100 where only a percentage is known.
    total: Option<u64>,
    in_percent: bool,
    message: String,
}

impl Progress {
    /// Shows that `title` begins: `total` bytes, if that is known.
    pub fn start(mode: ProgressMode, title: &str, total: Option<u64>) -> Self {
        let started = Instant::now();
        let title = sanitize(title).into_owned();
        let work = Work { started, position: 0, total, in_percent: false, message: String::new() };
        let display = match mode {
            ProgressMode::Bar => Display::Bar(bar(&title, total)),
            ProgressMode::Lines => Display::Lines { next: started + LINE_INTERVAL },
            ProgressMode::Hidden => Display::Hidden,
        };
        let mut progress = Self { title, work, display };
        progress.show();
        progress
    }

    /// So many bytes are done.
    pub fn set(&mut self, position: u64) {
        self.work.position = position;
        self.show();
    }

    /// So many percent are done, where the program that works counts that way.
    pub fn set_percent(&mut self, percent: u64) {
        let percent = percent.min(100);
        if self.work.total.is_none() {
            self.work.total = Some(100);
            self.work.in_percent = true;
        }
        let total = if self.work.in_percent { 100 } else { self.work.total.unwrap_or(100) };
        // Divided first: a total may be near the largest number.
        self.set(total / 100 * percent + total % 100 * percent / 100);
    }

    /// Shows what is being done just now, beside the title.
    pub fn message(&mut self, text: &str) {
        self.work.message = sanitize(text).into_owned();
        self.show();
    }

    /// Takes the progress off the screen.
    pub fn finish(self) {
        drop(self);
    }

    fn show(&mut self) {
        let text = self.work.figures(self.work.started.elapsed());
        match &mut self.display {
            Display::Hidden => {}
            Display::Bar(bar) => {
                // Each of these may draw: what decides the layout comes first.
                if let Some(total) = self.work.total {
                    bar.set_length(total);
                }
                bar.set_prefix(text);
                let title = [self.title.as_str(), &self.work.message].join(" ");
                bar.set_message(title.trim_end().to_owned());
                bar.set_position(self.work.position);
            }
            Display::Lines { next } => {
                let now = Instant::now();
                if now >= *next {
                    *next = now + LINE_INTERVAL;
                    // Nothing is lost where nobody reads it.
                    let _ = writeln!(io::stderr(), "{}: {}", self.title, text.trim());
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
            SCREEN.remove(bar);
        }
    }
}

fn bar(title: &str, total: Option<u64>) -> ProgressBar {
    let bar = SCREEN.add(ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()));
    // Where no time left can be told, the time taken shows that work goes on.
    let clock = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        if state.len().is_none() {
            let _ = write!(out, " {}", format::duration(state.elapsed()));
        }
    };
    // The message takes what the figures leave and is cut there, so the line never wraps.
    let style = ProgressStyle::with_template("{spinner} {wide_msg} {prefix}{clock}");
    if let Ok(style) = style {
        bar.set_style(style.with_key("clock", clock));
    }
    bar.set_message(title.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

impl Work {
    /// Share, total, rate and time left in fields of a fixed width, so that nothing jumps while they change:
    /// ` 25 % of    4.0 GiB  102.4 MiB/s      30 s left`.
    fn figures(&self, elapsed: Duration) -> String {
        let Some(total) = self.total.filter(|total| *total > 0) else {
            return if self.position == 0 { String::new() } else { format::bytes(self.position) };
        };
        let percent = u128::from(self.position.min(total)) * 100 / u128::from(total);
        let left =
            self.left(elapsed).map_or_else(String::new, |left| format!("{} left", format::duration(left)));
        if self.in_percent {
            return format!("{percent:>3} % {left:>14}");
        }
        let rate = self.rate(elapsed).map_or_else(String::new, |rate| format!("{}/s", format::bytes(rate)));
        format!("{percent:>3} % of {:>10} {rate:>12} {left:>14}", format::bytes(total))
    }

    /// Per second, over the whole time.
    fn rate(&self, elapsed: Duration) -> Option<u64> {
        let rate = u128::from(self.position) * 1000 / elapsed.as_millis().max(1);
        (elapsed >= SETTLED && self.position > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX))
    }

    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let todo = self.total?.saturating_sub(self.position);
        if elapsed < SETTLED || self.position == 0 {
            return None;
        }
        let millis = elapsed.as_millis() * u128::from(todo) / u128::from(self.position);
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn work(position: u64, total: Option<u64>) -> Work {
        Work { started: Instant::now(), position, total, in_percent: false, message: String::new() }
    }

    #[test]
    fn figures_give_share_rate_and_time_left() {
        let text = work(GIB, Some(4 * GIB)).figures(Duration::from_secs(10));
        assert_eq!(text, " 25 % of    4.0 GiB  102.4 MiB/s      30 s left");
    }

    #[test]
    fn figures_leave_room_for_a_title_in_80_columns_and_keep_their_width() {
        let width = |position, seconds| {
            let text = work(position, Some(999 * GIB)).figures(Duration::from_secs(seconds));
            measure_text_width(&text)
        };
        assert_eq!(width(0, 0), 47);
        assert_eq!(width(GIB, 10), 47);
        assert_eq!(width(998 * GIB, 86_400), 47);
    }

    #[test]
    fn a_rate_is_not_guessed() {
        assert!(!work(GIB, Some(2 * GIB)).figures(Duration::from_millis(10)).contains("/s"));
        assert_eq!(work(0, None).figures(Duration::from_secs(10)), "");
        assert_eq!(work(GIB, None).figures(Duration::from_secs(10)), "1.0 GiB");
        assert_eq!(work(0, Some(0)).figures(Duration::from_secs(10)), "");
    }

    #[test]
    fn percent_counts_alone_or_scales_a_known_total() {
        let mut alone = Progress::start(ProgressMode::Hidden, "check", None);
        alone.set_percent(17);
        assert_eq!(alone.work.figures(Duration::ZERO).trim(), "17 %");
        let mut sized = Progress::start(ProgressMode::Hidden, "back up", Some(u64::MAX));
        sized.set_percent(200);
        assert_eq!(sized.work.position, u64::MAX);
    }
}
