//! Reads a calendar event: `[WEEKDAYS] [[YEARS-]MONTHS-DAYS] [[HOURS:]MINUTES[:SECONDS]]`.
//!
//! Source: behaviour of `calendar_event.rs` in proxmox-time, which Proxmox VE asks, and "Schedule Format" in its manual.

use std::ops::Range;

/// The years that are looked at. Weekdays and dates repeat every 28 years, so twice that holds every gap, even one of
/// 28 years; what is left is room for events that name years. It ends before 2100, which is no leap year: that a
/// 29 February is once eight years away is left out on purpose.
const YEARS: Range<usize> = 2026..2100;
/// The weekday of the first day of [`YEARS`], as an index of [`WEEKDAYS`].
const FIRST_WEEKDAY: usize = 3;
/// Proxmox refuses later years.
const END_OF_YEARS: usize = 2200;
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// When a job runs: a flag a number. All have to agree, a weekday with the date, too.
pub(super) struct Event {
    weekdays: [bool; 7],
    years: Vec<bool>,
    months: Vec<bool>,
    days: Vec<bool>,
    pub(super) hours: Vec<bool>,
    pub(super) minutes: Vec<bool>,
    pub(super) seconds: Vec<bool>,
}

impl Event {
    /// Reads one; `None` for what Proxmox refuses and for what only its reader takes: `25:00`, `*-*-*12:00`.
    pub(super) fn read(event: &str) -> Option<Self> {
        let event = event.trim();
        // The time zone moves all runs alike, so no gap depends on it.
        let event = event.strip_suffix("UTC").unwrap_or(event).trim_end();
        if event.is_empty() {
            return None;
        }
        let event = spelled_out(event);
        let is_weekdays = |c: char| c.is_ascii_alphabetic() || ",.".contains(c);
        let (weekdays, rest) = event.split_at(event.find(|c| !is_weekdays(c)).unwrap_or(event.len()));
        let (date, time) = date_and_time(rest)?;
        let [years, months, days] = date_fields(date)?;
        let [hours, minutes, seconds] = time_fields(time)?;
        Some(Self {
            weekdays: if weekdays.is_empty() { [true; 7] } else { weekdays_in(weekdays)? },
            years: numbers(years, 0, END_OF_YEARS)?,
            months: numbers(months, 1, 13)?,
            days: numbers(days, 1, 32)?,
            hours: numbers(hours, 0, 24)?,
            minutes: numbers(minutes, 0, 60)?,
            seconds: numbers(seconds, 0, 60)?,
        })
    }

    /// The days it runs on, in order, counted from the first day of [`YEARS`].
    pub(super) fn days(&self) -> impl Iterator<Item = usize> {
        let months = YEARS.flat_map(|year| (1..=12).map(move |month| (year, month)));
        let dates =
            months.flat_map(|(year, month)| (1..=length(year, month)).map(move |day| (year, month, day)));
        let runs_on = |number: usize, (year, month, day): (usize, usize, usize)| {
            let weekday = (FIRST_WEEKDAY + number) % 7;
            self.days[day] && self.weekdays[weekday] && self.months[month] && self.years[year]
        };
        dates.enumerate().filter(move |(number, date)| runs_on(*number, *date)).map(|(number, _)| number)
    }
}

/// The days of a month in [`YEARS`].
fn length(year: usize, month: usize) -> usize {
    match month {
        2 if year.is_multiple_of(4) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// What a special word stands for. Proxmox knows them in small letters only.
fn spelled_out(event: &str) -> &str {
    match event {
        "minutely" => "*:*",
        "hourly" => "*:0",
        "daily" => "0:0",
        "weekly" => "mon",
        "monthly" => "*-1",
        "quarterly" => "1,4,7,10-1",
        "semiannually" | "semi-annually" => "1,7-1",
        "yearly" | "annually" => "1-1",
        other => other,
    }
}

/// A date that is missing is every day, a time that is missing is midnight.
fn date_and_time(text: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [] => Some(("*-*", "0:0")),
        [date] if date.contains('-') => Some((date, "0:0")),
        [time] => Some(("*-*", time)),
        [date, time] => Some((date, time)),
        _ => None,
    }
}

/// Years, months and days.
fn date_fields(date: &str) -> Option<[&str; 3]> {
    let fields: Vec<&str> = date.split('-').collect();
    match fields[..] {
        [months, days] => Some(["*", months, days]),
        [years, months, days] => Some([years, months, days]),
        _ => None,
    }
}

/// Hours, minutes and seconds. A lone number is minutes: `22` is 22 minutes past every hour.
fn time_fields(time: &str) -> Option<[&str; 3]> {
    let fields: Vec<&str> = time.split(':').collect();
    match fields[..] {
        [minutes] => Some(["*", minutes, "0"]),
        // Proxmox reads hours that are none as minutes, `25:00` as `*:25:00`. Who wrote that meant something else.
        [hours, minutes] => Some([hours, minutes, "0"]),
        [hours, minutes, seconds] => Some([hours, minutes, seconds]),
        _ => None,
    }
}

/// `mon..fri,sun` as a flag a day. A range may go past Sunday.
fn weekdays_in(text: &str) -> Option<[bool; 7]> {
    let is_it = |day: &str, name: &str| name == day || name == &day[..3];
    let number = |name: &str| WEEKDAYS.iter().position(|day| is_it(day, &name.to_ascii_lowercase()));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (from, to) = part.split_once("..").unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        (0..7).map(|n| (from + n) % 7).take((to + 7 - from) % 7 + 1).for_each(|day| days[day] = true);
    }
    Some(days)
}

/// `*`, `*/15`, or a list of what [`part`] reads, as a flag a number below `end`.
fn numbers(text: &str, first: usize, end: usize) -> Option<Vec<bool>> {
    if text == "*" {
        return Some(vec![true; end]);
    }
    let mut found = vec![false; end];
    if let Some(step) = text.strip_prefix("*/") {
        let step = number(step, end).filter(|step| *step > 0)?;
        (first..end).step_by(step).for_each(|number| found[number] = true);
        return Some(found);
    }
    for text in text.split(',') {
        let (from, to, step) = part(text, end)?;
        (from..=to).step_by(step).for_each(|number| found[number] = true);
    }
    Some(found)
}

/// `2`, `8..18`, `1/4` or `8..18/2`: the first number, the last one and the step.
fn part(text: &str, end: usize) -> Option<(usize, usize, usize)> {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(number(step, end)?)),
        None => (text, None),
    };
    let (from, to) = match range.split_once("..") {
        Some((from, to)) => (number(from, end)?, number(to, end)?),
        None => {
            let from = number(range, end)?;
            (from, if step.is_some() { end - 1 } else { from })
        }
    };
    // To Proxmox a step of 0 is none: `5/0` is 5.
    let step = step.map_or(1, |step| if step == 0 { end } else { step });
    (from <= to).then_some((from, to, step))
}

fn number(text: &str, end: usize) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number < end)
}
