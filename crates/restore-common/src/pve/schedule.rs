//! Calendar events of Proxmox VE, as far as a backup job's schedule needs them: `21:00`, `sat,sun 02:30`, `mon..fri`,
//! `*/2:00`, `daily`.

use std::time::Duration;

const MINUTES_A_DAY: usize = 24 * 60;
const DAY: Duration = Duration::from_secs(86_400);
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The longest time between two runs; `None` for an event that is not understood here.
pub(super) fn longest_gap(event: &str) -> Option<Duration> {
    let event = event.trim().to_lowercase();
    let days = match event.as_str() {
        "" => return None,
        "minutely" => return Some(Duration::from_secs(60)),
        "hourly" => return Some(Duration::from_secs(3600)),
        "daily" => 1,
        "weekly" => 7,
        "monthly" => 31,
        "quarterly" => 92,
        "semiannually" | "semi-annually" => 184,
        "yearly" | "annually" => 366,
        _ => return gap_of_week(&event),
    };
    Some(DAY * days)
}

/// Days and a time of the day, or one of them. Dates are not understood.
fn gap_of_week(event: &str) -> Option<Duration> {
    let mut days = [true; 7];
    let mut time = "0:0";
    for (position, word) in event.split_whitespace().enumerate() {
        if word.starts_with(|c: char| c.is_ascii_alphabetic()) && position == 0 {
            days = weekdays(word)?;
        } else if time == "0:0" && !word.contains('-') {
            time = word;
        } else {
            return None;
        }
    }
    let (hours, minutes) = time.split_once(':').unwrap_or(("*", time));
    let (hours, minutes) = (numbers(hours, 24)?, numbers(minutes.split(':').next()?, 60)?);
    let runs: Vec<usize> = (0..7 * MINUTES_A_DAY)
        .filter(|at| {
            let minute = at % MINUTES_A_DAY;
            days[at / MINUTES_A_DAY] && hours[minute / 60] && minutes[minute % 60]
        })
        .collect();
    let (first, last) = (runs.first()?, runs.last()?);
    let around = first + 7 * MINUTES_A_DAY - last;
    let gap = runs.windows(2).map(|pair| pair[1] - pair[0]).chain([around]).max()?;
    Some(Duration::from_secs(u64::try_from(gap).ok()? * 60))
}

/// `mon..fri,sun` as a flag a day.
fn weekdays(text: &str) -> Option<[bool; 7]> {
    let number = |name: &str| WEEKDAYS.iter().position(|day| name.starts_with(day));
    let mut days = [false; 7];
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (from, to) = part.split_once("..").unwrap_or((part, part));
        let (from, to) = (number(from)?, number(to)?);
        (0..7).map(|n| (from + n) % 7).take((to + 7 - from) % 7 + 1).for_each(|day| days[day] = true);
    }
    Some(days)
}

/// `*`, `2`, `2,14`, `8..18`, `*/15`, `1/4` or `8..18/2` as a flag a number below `end`.
fn numbers(text: &str, end: usize) -> Option<Vec<bool>> {
    let mut found = vec![false; end];
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range.split_once("..") {
            Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
            None if range == "*" => (0, end - 1),
            None => {
                let from: usize = range.parse().ok()?;
                (from, if step.is_some() { end - 1 } else { from })
            }
        };
        if to >= end {
            return None;
        }
        (from..=to).step_by(step.unwrap_or(1)).for_each(|number| found[number] = true);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("21:00", Some(24.0))]
    #[case("sun 01:00", Some(168.0))]
    #[case("sat,sun 02:30", Some(144.0))]
    #[case("mon..fri 02:00", Some(72.0))]
    #[case("fri..mon 02:00", Some(96.0))]
    #[case("mon", Some(168.0))]
    #[case("2,14:00", Some(12.0))]
    #[case("*/2:00", Some(2.0))]
    #[case("8..18:00", Some(14.0))]
    #[case("*:0/30", Some(0.5))]
    #[case("*/30", Some(0.5))]
    #[case("Saturday 22:00", Some(168.0))]
    #[case("daily", Some(24.0))]
    #[case("monthly", Some(744.0))]
    #[case("2026-01-30 12:00", None)]
    #[case("*-1,15 12:00", None)]
    #[case("25:00", None)]
    #[case("someday", None)]
    #[case("", None)]
    fn the_longest_time_between_two_runs(#[case] event: &str, #[case] hours: Option<f64>) {
        assert_eq!(longest_gap(event).map(|gap| gap.as_secs_f64() / 3600.0), hours, "{event}");
    }
}
