//! Ctrl-C, SIGTERM and SIGHUP as a wish that work polls, instead of an end at a random point.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Whether the operator wants the program to stop. Clones share one answer.
///
/// Whoever works asks [`Interrupt::requested`] at every point where stopping is safe, and shows
/// [`Interrupt::news`] where it would otherwise be silent.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// Stays true once a signal came.
    requested: Arc<AtomicBool>,
    /// True from a signal until somebody told the operator that it was seen.
    unseen: Arc<AtomicBool>,
    answered: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on. None of them ends the process any more.
    pub fn install() -> io::Result<Self> {
        let interrupt = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(&interrupt.requested))?;
            flag::register(signal, Arc::clone(&interrupt.unseen))?;
        }
        Ok(interrupt)
    }

    /// Asks to stop, as a signal does.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.unseen.store(true, Ordering::SeqCst);
    }

    /// Whether a signal came since [`Interrupt::install`].
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// What to tell the operator about signals that came since the last call: nothing, or a line that differs for the
    /// first and for every later signal.
    pub fn news(&self) -> Option<&'static str> {
        if !self.unseen.swap(false, Ordering::SeqCst) {
            return None;
        }
        Some(if self.answered.swap(true, Ordering::SeqCst) {
            "already stopping; ending now would leave things half done, so please wait for the next safe point"
        } else {
            "interrupted: stopping at the next safe point, then undoing"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_shared_and_stays() {
        let interrupt = Interrupt::default();
        let worker = interrupt.clone();
        assert!(!worker.requested());
        interrupt.request();
        assert!(worker.requested());
        assert!(worker.requested());
    }

    #[test]
    fn each_signal_is_news_once_and_the_second_reads_differently() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.news(), None);
        interrupt.request();
        let first = interrupt.news();
        assert!(first.is_some());
        assert_eq!(interrupt.news(), None);
        interrupt.request();
        let second = interrupt.news();
        assert!(second.is_some());
        assert_ne!(first, second);
    }

    #[test]
    fn a_signal_is_a_wish_and_does_not_end_the_process() {
        let interrupt = Interrupt::install().unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(interrupt.requested());
    }
}
