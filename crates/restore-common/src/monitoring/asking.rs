//! How a service is asked: again and again, until the answer is one that stays.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use serde::de::DeserializeOwned;

use super::{Service, Stack};
use crate::{
    probe::{Http, Login, Wait, Waited, http},
    procedure::CheckStatus,
    ui::{format, sanitize},
};

/// How long one question may take, and the pause between two.
const ATTEMPT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);

/// How often the operator is told that something is still waited for, at most.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// The longest piece of somebody else's words that is shown.
const LONGEST: usize = 200;

/// What a look came to.
pub(super) enum Look<T> {
    /// As it should be.
    Is(T),
    /// Not yet: what was seen.
    NotYet(String),
    /// It will not be by itself: what was seen.
    IsNot(String),
}

impl<T> Look<T> {
    /// Goes on with what is as it should be.
    pub(super) fn and_then<U>(self, next: impl FnOnce(T) -> Look<U>) -> Look<U> {
        match self {
            Self::Is(value) => next(value),
            Self::NotYet(saw) => Look::NotYet(saw),
            Self::IsNot(saw) => Look::IsNot(saw),
        }
    }
}

/// What a check saw.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: &'static str,
    pub(super) status: CheckStatus,
    pub(super) saw: String,
    /// What is there, by name, where that was told.
    pub(super) names: Option<BTreeSet<String>>,
    pub(super) took: Duration,
}

impl Seen {
    fn new(id: &'static str, status: CheckStatus, saw: impl Into<String>) -> Self {
        Self { id, status, saw: saw.into(), names: None, took: Duration::ZERO }
    }

    pub(super) fn passed(id: &'static str, saw: impl Into<String>) -> Self {
        Self::new(id, CheckStatus::Passed, saw)
    }

    pub(super) fn failed(id: &'static str, saw: impl Into<String>) -> Self {
        Self::new(id, CheckStatus::Failed, saw)
    }

    /// It was not asked, because something else failed that is reported.
    pub(super) fn skipped(id: &'static str, why: impl Into<String>) -> Self {
        Self::new(id, CheckStatus::Skipped, why)
    }

    /// A look that passed when it came to something.
    pub(super) fn of(id: &'static str, looked: Result<String, String>) -> Self {
        match looked {
            Ok(saw) => Self::passed(id, saw),
            Err(saw) => Self::failed(id, saw),
        }
    }

    #[must_use]
    pub(super) fn with(mut self, names: BTreeSet<String>) -> Self {
        self.names = Some(names);
        self
    }

    /// What a look saw, with the time that it took.
    pub(super) fn timed(look: impl FnOnce() -> Self) -> Self {
        let began = Instant::now();
        let seen = look();
        Self { took: began.elapsed(), ..seen }
    }

    /// What was there before and is not any more speaks against it.
    pub(super) fn compare(&mut self, gone: &[String]) {
        if !gone.is_empty() {
            self.status = CheckStatus::Failed;
            self.saw = format!("{}; there before, and gone: {}", self.saw, listed(gone));
        }
    }
}

/// Asks the services of a stack, with one limit for all of them.
pub(super) struct Asker<'a> {
    pub(super) stack: &'a Stack,
    started: Instant,
    limit: Duration,
    stop: &'a AtomicBool,
    said: Sender<String>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        stack: &'a Stack,
        started: Instant,
        limit: Duration,
        stop: &'a AtomicBool,
        said: Sender<String>,
    ) -> Self {
        Self { stack, started, limit, stop, said }
    }

    /// Looks until the answer is one that stays, or time is up: then the last one counts.
    pub(super) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Look<T>) -> Result<T, String> {
        let (mut last, told) = (String::new(), Cell::new(None::<Instant>));
        let left = self.limit.saturating_sub(self.started.elapsed());
        let interrupted = || self.stop.load(Ordering::Relaxed);
        let wait = Wait { what, limit: left, interval: PAUSE, interrupted: &interrupted };
        let waited = wait.until(|| match look() {
            Look::Is(value) => Ok(Some(value)),
            Look::IsNot(saw) => Err(saw),
            Look::NotYet(saw) => {
                if !left.is_zero() && told.get().is_none_or(|at| at.elapsed() >= SAY_EVERY) {
                    told.set(Some(Instant::now()));
                    // Nobody listens any more when the proof is over.
                    let _ = self.said.send(format!("{what}: {saw}"));
                }
                last = saw;
                Ok(None)
            }
        })?;
        match waited {
            Waited::Ready { value, .. } => Ok(value),
            Waited::TimedOut if left.is_zero() => Err(last),
            Waited::TimedOut => Err(format!("{last}, for {}", format::duration(self.limit))),
            Waited::Interrupted if last.is_empty() => Err("interrupted before it was asked".to_owned()),
            Waited::Interrupted => Err(format!("interrupted, last seen: {last}")),
        }
    }

    /// What a path of a service answers.
    pub(super) fn get(&self, service: &Service, path: &str, login: Option<&Login>) -> Http {
        match service.at(path) {
            Ok(url) => http(&url, &self.stack.manner(login), ATTEMPT),
            Err(reason) => Http::Broken(reason.to_owned()),
        }
    }

    /// A path that answers with status 200.
    pub(super) fn ok(&self, service: &Service, path: &str, login: Option<&Login>) -> Look<Vec<u8>> {
        judged(self.get(service, path, login))
    }

    /// A path that answers with a document.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        service: &Service,
        path: &str,
        login: Option<&Login>,
    ) -> Look<T> {
        self.ok(service, path, login).and_then(|body| match serde_json::from_slice(&body) {
            Ok(document) => Look::Is(document),
            Err(error) => Look::IsNot(format!("its answer to `{path}` cannot be read: {error}")),
        })
    }
}

/// What an answer means for somebody who wants a 200.
fn judged(answer: Http) -> Look<Vec<u8>> {
    match answer {
        Http::Answered { status: 200, body } => Look::Is(body),
        Http::Answered { status, body } => {
            let saw = format!("status {status}{}", words_of(&body));
            // A proxy in front of a service that is not there yet says so with a 5xx.
            if status >= 500 { Look::NotYet(saw) } else { Look::IsNot(saw) }
        }
        Http::Untrusted(reason) => Look::IsNot(reason),
        unanswered @ (Http::Broken(_) | Http::NotOpen(_)) => Look::NotYet(unanswered.to_string()),
    }
}

/// `: the first line of a body`; nothing of what is no text for people.
pub(super) fn words_of(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(alias = "error")]
        message: String,
    }
    let text = String::from_utf8_lossy(body);
    let message = serde_json::from_str::<Message>(&text).map(|said| said.message);
    let text = message.unwrap_or_else(|_| text.into_owned());
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    if line.is_empty() || line.starts_with('<') { String::new() } else { format!(": {}", short(line)) }
}

/// Somebody else's words: one line, harmless, not long.
pub(super) fn short(words: &str) -> String {
    let line = sanitize(words.trim());
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.into_owned(),
    }
}

/// Names for people: the first ones, and how many more there are.
pub(super) fn listed<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> String {
    const MOST: usize = 8;
    let names: Vec<String> = names.into_iter().map(|name| short(name.as_ref())).collect();
    match names.len().checked_sub(MOST) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Tcp;

    fn kind(answer: Http) -> &'static str {
        match judged(answer) {
            Look::Is(_) => "is",
            Look::NotYet(_) => "not yet",
            Look::IsNot(_) => "is not",
        }
    }

    #[test]
    fn only_what_may_get_better_by_itself_is_waited_for() {
        let answered = |status| Http::Answered { status, body: Vec::new() };
        assert_eq!(kind(answered(200)), "is");
        for waited in [answered(503), answered(502), Http::NotOpen(Tcp::Refused), Http::Broken(String::new())]
        {
            assert_eq!(kind(waited), "not yet");
        }
        for wrong in [answered(401), answered(404), answered(302), Http::Untrusted(String::new())] {
            assert_eq!(kind(wrong), "is not");
        }
    }

    #[test]
    fn what_others_say_is_one_harmless_line() {
        assert_eq!(
            words_of(b"{\"message\":\"Invalid username or password\"}"),
            ": Invalid username or password"
        );
        assert_eq!(words_of(b"<html>\n"), "");
        assert_eq!(words_of(b"\n a\x1b[31m\nb"), ": a\\x1b[31m");
        assert_eq!(listed(["a", "b"]), "a, b");
        assert!(listed((0..20).map(|n| n.to_string())).ends_with("7 and 12 more"));
    }
}
