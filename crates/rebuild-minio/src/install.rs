//! Where the module will get the server from: whether that still answers.

use std::time::Duration;

use restore_common::{
    contact::at_once,
    homelab::Module,
    probe::{Http, HttpUrl, http_head},
    ui::sanitize,
};

/// How long one of them may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// A place that a module's files name to download something from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The URL, as it may be shown.
    pub url: String,
    /// What came of asking.
    pub answer: Answer,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Yes,
    /// It says that it is not: nothing can be installed from it.
    Gone(u16),
    /// It did not say so or so.
    Unknown(String),
}

impl Source {
    /// `https://… answers 410`.
    pub fn describe(&self) -> String {
        match &self.answer {
            Answer::Yes => format!("`{}` answers", sanitize(&self.url)),
            Answer::Gone(410) => format!("`{}` answers 410 Gone", sanitize(&self.url)),
            Answer::Gone(status) => format!("`{}` answers {status}", sanitize(&self.url)),
            Answer::Unknown(why) => format!("`{}` could not be asked from here: {why}", sanitize(&self.url)),
        }
    }
}

/// Asks every URL of a module, all at the same time.
pub fn ask(module: &Module) -> anyhow::Result<Vec<Source>> {
    at_once(&module.urls, |url| Source { url: shown(url), answer: answer(url) })
}

fn shown(url: &str) -> String {
    HttpUrl::parse(url).map_or_else(|_| url.to_owned(), |url| url.to_string())
}

fn answer(url: &str) -> Answer {
    let Ok(url) = HttpUrl::parse(url) else { return Answer::Unknown("it is no URL".to_owned()) };
    match http_head(&url, LIMIT) {
        Http::Answered { status: 200..=399, .. } => Answer::Yes,
        // What wants a login, another method or less of us may well be there for the installer.
        Http::Answered { status: status @ (404 | 410 | 451), .. } => Answer::Gone(status),
        other => Answer::Unknown(other.to_string()),
    }
}

/// Those that say that they are gone.
pub fn gone(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| matches!(source.answer, Answer::Gone(_)))
}
