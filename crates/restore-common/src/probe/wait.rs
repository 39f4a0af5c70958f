//! Waiting for something to become true.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use crate::ui::format;

/// How soon a wait notices an interruption.
const SLICE: Duration = Duration::from_millis(25);

/// A wait that has an end.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// What is waited for, to follow "waiting for": `guest 101 to run`.
    pub what: &'a str,
    /// The longest time to wait. Even with none left, it is asked once.
    pub limit: Duration,
    /// The time between two questions.
    pub interval: Duration,
    /// Whether to stop waiting.
    pub interrupted: &'a dyn Fn() -> bool,
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// It became true.
    Ready {
        /// What was found.
        value: T,
        /// How long it took.
        after: Duration,
    },
    /// It did not, within the limit.
    TimedOut,
    /// The operator interrupted.
    Interrupted,
}

impl<T> Waited<T> {
    /// What was found, if anything.
    pub fn ready(self) -> Option<T> {
        match self {
            Self::Ready { value, .. } => Some(value),
            Self::TimedOut | Self::Interrupted => None,
        }
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wait({self})")
    }
}

/// `waiting for guest 101 to run, 2 m 00 s at most`
impl fmt::Display for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for {}, {} at most", self.what, format::duration(self.limit))
    }
}

impl Wait<'_> {
    /// Asks `check` until it gives a value. An error ends the wait: only the caller knows whether it may pass, and then
    /// gives `Ok(None)`. A check should take little time itself, since it is not interrupted.
    pub fn until<T, E>(&self, mut check: impl FnMut() -> Result<Option<T>, E>) -> Result<Waited<T>, E> {
        log::debug!("{self}");
        let started = Instant::now();
        loop {
            if (self.interrupted)() {
                return Ok(Waited::Interrupted);
            }
            if let Some(value) = check()? {
                return Ok(Waited::Ready { value, after: started.elapsed() });
            }
            let left = self.limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(Waited::TimedOut);
            }
            self.pause(self.interval.min(left));
        }
    }

    /// Sleeps, but not through an interruption.
    fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !(self.interrupted)() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::sleep(left.min(SLICE));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn wait(limit: Duration, interval: Duration, interrupted: &dyn Fn() -> bool) -> Wait<'_> {
        Wait { what: "guest 101 to run", limit, interval, interrupted }
    }

    #[test]
    fn it_asks_until_there_is_an_answer() {
        let mut asked = 0;
        let waited = wait(LONG, Duration::ZERO, &|| false).until(|| {
            asked += 1;
            Ok::<_, ()>((asked == 3).then_some(asked))
        });
        assert_eq!(waited.unwrap().ready(), Some(3));
    }

    #[test]
    fn it_ends_at_its_limit_but_asks_once() {
        let mut asked = 0;
        let never = |asked: &mut u32| {
            *asked += 1;
            Ok::<Option<()>, ()>(None)
        };
        assert_eq!(wait(Duration::ZERO, LONG, &|| false).until(|| never(&mut asked)), Ok(Waited::TimedOut));
        assert_eq!(asked, 1);
        let started = Instant::now();
        let short = wait(Duration::from_millis(1), LONG, &|| false);
        assert_eq!(short.until(|| never(&mut asked)), Ok(Waited::TimedOut));
        assert!(started.elapsed() < Duration::from_secs(60), "an interval longer than the limit is cut");
    }

    #[test]
    fn an_error_ends_it() {
        let waited = wait(LONG, LONG, &|| false).until(|| Err::<Option<()>, _>("no connection"));
        assert_eq!(waited, Err("no connection"));
    }

    #[test]
    fn an_interruption_ends_it_in_the_middle_of_a_pause() {
        let polls = Cell::new(0);
        let interrupted = || {
            polls.set(polls.get() + 1);
            polls.get() > 2
        };
        let started = Instant::now();
        let waited = wait(LONG, LONG, &interrupted).until(|| Ok::<Option<()>, ()>(None));
        assert_eq!(waited, Ok(Waited::Interrupted));
        assert!(started.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn it_says_what_it_waits_for_and_how_long() {
        let wait = wait(Duration::from_secs(120), LONG, &|| false);
        assert_eq!(wait.to_string(), "waiting for guest 101 to run, 2 m 00 s at most");
    }
}
