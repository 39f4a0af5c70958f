//! Which version: by id, serial, order or time.

use jiff::{Timestamp, civil, tz::TimeZone};
use restore_common::{procedure::Problem, state::Entry, ui::sanitize};

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// What a read gives.
    Current,
    /// The newest state older than the current version.
    Previous,
    /// The newest with this serial.
    Serial(u64),
    /// The newest that was there at this moment.
    At(Timestamp),
    /// The one whose id is or begins with this.
    Id(String),
}

/// The shortest beginning of an id: a shorter one could be anything.
const SHORTEST: usize = 4;

impl Selector {
    /// Reads it. `now` and `zone` are those of this machine.
    pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Self, Problem> {
        let wrong = |why: &str| {
            Problem::new(format!("`{}` is no version: {why}", sanitize(text))).hint(
                "a version is an id or its first characters, `serial:N`, `current`, `previous`, a time like `2026-01-30T01:00`, or an age like `2h`",
            )
        };
        match text {
            "current" => return Ok(Self::Current),
            "previous" => return Ok(Self::Previous),
            _ => {}
        }
        if let Some(number) = text.strip_prefix("serial:") {
            return number.parse().map(Self::Serial).map_err(|_| wrong("a serial is a number"));
        }
        if let Some(seconds) = age(text) {
            let at = now.checked_sub(jiff::SignedDuration::from_secs(seconds));
            return at.map(Self::At).map_err(|_| wrong("that is too long ago"));
        }
        if let Some(moment) = moment(text, zone) {
            return Ok(Self::At(moment));
        }
        if text.len() >= SHORTEST || text == "null" {
            Ok(Self::Id(text.to_owned()))
        } else {
            Err(wrong("the beginning of an id has at least 4 characters"))
        }
    }

    /// The version that is meant, as its place in the history (newest first). Only what can be read as a state counts.
    pub fn choose(&self, history: &[Entry]) -> Result<usize, Problem> {
        let found = match self {
            Self::Current => history.iter().position(|entry| entry.version.is_current),
            Self::Previous => {
                let current = history.iter().position(|entry| entry.version.is_current).unwrap_or(0);
                let older = history.iter().skip(current + 1).position(|entry| entry.summary().is_some());
                older.map(|place| place + current + 1)
            }
            Self::Serial(serial) => history
                .iter()
                .position(|entry| entry.summary().is_some_and(|summary| summary.serial == *serial)),
            Self::At(moment) => history.iter().position(|entry| entry.version.written <= *moment),
            Self::Id(id) => return by_id(history, id),
        };
        found.ok_or_else(|| self.none(history))
    }

    fn none(&self, history: &[Entry]) -> Problem {
        let what = match self {
            Self::Current => "there is no current version".to_owned(),
            Self::Previous => "there is no state before the current one".to_owned(),
            Self::Serial(serial) => format!("no version has serial {serial}"),
            Self::At(moment) => format!("no version is as old as {moment}"),
            Self::Id(id) => format!("no version has the id `{}`", sanitize(id)),
        };
        let serials = || history.iter().filter_map(Entry::summary).map(|summary| summary.serial);
        let problem = Problem::new(what);
        match serials().min().zip(serials().max()) {
            Some((oldest, newest)) => {
                problem.hint(format!("`--list` shows them: serials {oldest} to {newest}"))
            }
            None => problem.hint("`--list` shows what there is"),
        }
    }
}

fn by_id(history: &[Entry], id: &str) -> Result<usize, Problem> {
    if let Some(exact) = history.iter().position(|entry| entry.version.id == id) {
        return Ok(exact);
    }
    let begins = |(_, entry): &(usize, &Entry)| entry.version.id.starts_with(id);
    let matching: Vec<_> = history.iter().enumerate().filter(begins).collect();
    match matching.as_slice() {
        [(place, _)] => Ok(*place),
        [] => Err(Selector::Id(id.to_owned()).none(history)),
        several => {
            let ids: Vec<_> = several
                .iter()
                .take(5)
                .map(|(_, entry)| format!("`{}`", sanitize(&entry.version.id)))
                .collect();
            let problem = Problem::new(format!(
                "{} versions have ids that begin with `{}`",
                several.len(),
                sanitize(id)
            ));
            Err(problem.hint(format!("say more of it: {}", ids.join(", "))))
        }
    }
}

/// `90s`, `30m`, `2h`, `3d`, `1w` as seconds.
fn age(text: &str) -> Option<i64> {
    let unit = text.chars().last()?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u32>().ok().map(|count| i64::from(count) * each)
}

/// A moment with its offset, or as the clocks here show it: with seconds, with minutes, or a whole day, at its end.
fn moment(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(moment);
    }
    let here = |time: civil::DateTime| zone.to_timestamp(time).ok();
    if let Ok(time) = text.parse::<civil::DateTime>().or_else(|_| format!("{text}:00").parse()) {
        let is_day = text.parse::<civil::Date>().is_ok() && text.len() <= 10;
        return here(if is_day { time.date().at(23, 59, 59, 0) } else { time });
    }
    None
}

#[cfg(test)]
mod tests {
    use restore_common::{
        s3::Version,
        state::{Content, Summary},
    };

    use super::*;

    const NOW: &str = "2026-01-30T12:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn entry(id: &str, serial: Option<u64>, written: &str) -> Entry {
        let version = Version {
            key: "k".into(),
            id: id.into(),
            written: written.parse().unwrap(),
            size: 1,
            is_current: false,
            is_marker: serial.is_none(),
        };
        let summary =
            |serial| Summary { serial, lineage: "l".into(), terraform_version: None, encrypted: false };
        let state = |serial| Content::State { summary: summary(serial), resources: Some(1), changed: None };
        Entry { version, content: serial.map_or(Content::Marker, state) }
    }

    /// Newest first: deleted, 3, 3 (pushed again), 2.
    fn history() -> Vec<Entry> {
        let mut history = vec![
            entry("dddd1111", None, "2026-01-30T11:00:00Z"),
            entry("cccc1111", Some(3), "2026-01-30T10:00:00Z"),
            entry("cccc2222", Some(3), "2026-01-29T10:00:00Z"),
            entry("aaaa1111", Some(2), "2026-01-28T10:00:00Z"),
        ];
        history[0].version.is_current = true;
        history
    }

    fn choose(text: &str) -> Result<usize, String> {
        let selector = Selector::parse(text, now(), &TimeZone::UTC).map_err(|problem| problem.what)?;
        selector.choose(&history()).map_err(|problem| problem.what)
    }

    #[rstest::rstest]
    #[case("current", 0)]
    #[case("previous", 1)]
    #[case("serial:3", 1)]
    #[case("serial:2", 3)]
    #[case("cccc2", 2)]
    #[case("aaaa1111", 3)]
    #[case("2h", 1)]
    #[case("1d", 2)]
    #[case("2026-01-30T10:30", 1)]
    #[case("2026-01-29", 2)]
    #[case("2026-01-29T10:00:00Z", 2)]
    #[case("2026-01-29 10:00", 2)]
    fn versions_are_named_in_many_ways(#[case] text: &str, #[case] place: usize) {
        assert_eq!(choose(text), Ok(place));
    }

    #[rstest::rstest]
    #[case("cccc", "2 versions have ids that begin with `cccc`")]
    #[case("eeee", "no version has the id `eeee`")]
    #[case("serial:9", "no version has serial 9")]
    #[case("serial:x", "`serial:x` is no version: a serial is a number")]
    #[case("ab", "`ab` is no version: the beginning of an id has at least 4 characters")]
    #[case("2020-01-01", "no version is as old as 2020-01-01T23:59:59Z")]
    fn what_is_none_or_several_is_said(#[case] text: &str, #[case] message: &str) {
        assert_eq!(choose(text).unwrap_err(), message);
    }
}
