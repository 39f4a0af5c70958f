//! How often a backup job runs, by its calendar event: `21:00`, `sat,sun 02:30`, `*/2:00`, `sat *-1..7 15:00`, `daily`.
//!
//! What the event says counts. A node leaves out a run at the beginning of a unit when a step, or a listed day, leads past
//! the end of the one before: `*/5:00` runs at 20:00 and next at 05:00, `*-1,30` not on 1 March. A backup that is missed
//! for that is missed.

mod event;

use std::time::Duration;

use event::Event;

/// The longest time between two runs; `None` for an event that is not understood, and for one that runs once or never.
///
/// A day has 24 hours here, also the one on which clocks are changed. Runs before 2026 are over and do not count.
pub(super) fn longest_gap(event: &str) -> Option<Duration> {
    let event = Event::read(event)?;
    let minute = Runs::ONE.repeated(flagged(&event.seconds), 1)?;
    let hour = minute.repeated(flagged(&event.minutes), 60)?;
    let day = hour.repeated(flagged(&event.hours), 60 * 60)?;
    let all = day.repeated(event.days(), 24 * 60 * 60)?;
    u64::try_from(all.gap).ok().filter(|gap| *gap > 0).map(Duration::from_secs)
}

/// Whether a run may begin at this time of the day, whatever day it is.
pub(super) fn runs_at(event: &str, hour: i8, minute: i8) -> bool {
    let is_on = |flags: &[bool], number: i8| {
        usize::try_from(number).ok().and_then(|number| flags.get(number)).is_some_and(|flag| *flag)
    };
    Event::read(event).is_some_and(|event| is_on(&event.hours, hour) && is_on(&event.minutes, minute))
}

/// The runs within a minute, an hour, a day or all years, in seconds from its beginning.
struct Runs {
    first: usize,
    last: usize,
    /// The longest time between two of them; nothing if there is only one.
    gap: usize,
}

impl Runs {
    const ONE: Self = Self { first: 0, last: 0, gap: 0 };

    /// The same runs in each of these units of a longer time; `None` without a unit.
    fn repeated(&self, units: impl Iterator<Item = usize>, seconds: usize) -> Option<Self> {
        let mut units = units.peekable();
        let first = *units.peek()?;
        let (mut last, mut apart) = (first, 0);
        for unit in units {
            apart = apart.max(unit - last);
            last = unit;
        }
        let between = if apart == 0 { 0 } else { apart * seconds + self.first - self.last };
        Some(Self {
            first: first * seconds + self.first,
            last: last * seconds + self.last,
            gap: self.gap.max(between),
        })
    }
}

fn flagged(flags: &[bool]) -> impl Iterator<Item = usize> {
    flags.iter().enumerate().filter(|(_, flag)| **flag).map(|(number, _)| number)
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
    #[case("22", Some(1.0))]
    #[case("mon..fri 22", Some(49.0))]
    #[case("mon..fri 8..17,22:0/15", Some(57.25))]
    #[case("8:00/15", Some(23.25))]
    #[case("8..18/5:00", Some(14.0))]
    #[case("*/5:00", Some(5.0))]
    #[case("1/0:00", Some(24.0))]
    #[case("mon..mon", Some(168.0))]
    #[case("MON..Wednesday 1:00", Some(120.0))]
    #[case("sat15:00", Some(168.0))]
    #[case("2:3:4", Some(24.0))]
    #[case("*:*:0/36", Some(0.01))]
    #[case("mon 12:00 UTC", Some(168.0))]
    #[case("12:00UTC", Some(24.0))]
    #[case("25:00", None)]
    #[case("someday", None)]
    #[case("", None)]
    fn the_longest_time_between_two_runs(#[case] event: &str, #[case] hours: Option<f64>) {
        assert_eq!(longest_gap(event).map(|gap| gap.as_secs_f64() / 3600.0), hours, "{event}");
    }

    #[rstest::rstest]
    #[case("21:00", true)]
    #[case("sun 20..22:0/30", true)]
    #[case("*:0", true)]
    #[case("0", true)]
    #[case("21:30", false)]
    #[case("22:00", false)]
    #[case("someday", false)]
    fn the_time_of_the_day_of_a_run(#[case] event: &str, #[case] runs: bool) {
        assert_eq!(runs_at(event, 21, 0), runs, "{event}");
    }

    #[rstest::rstest]
    #[case("sat *-1..7 15:00", 35.0)]
    #[case("sat *-1..7 */6:00", 34.25)]
    #[case("mon,wed *-*-1..7 02:00", 33.0)]
    #[case("sun *-25..31 3:30", 63.0)]
    #[case("fri *-13", 427.0)]
    #[case("mon *-*-* 02:00", 7.0)]
    #[case("*-*-01 03:00", 31.0)]
    #[case("*-1,15 12:00", 17.0)]
    #[case("*-05", 31.0)]
    #[case("*-1..7/2 1:00", 25.0)]
    #[case("*-*/2", 2.0)]
    #[case("*-1,30", 29.0)]
    #[case("*-30 04:00", 60.0)]
    #[case("*-31", 61.0)]
    #[case("*-*-31", 61.0)]
    #[case("*/3-1", 92.0)]
    #[case("1,7-1..3 12:30:15", 182.0)]
    #[case("02-29", 1461.0)]
    #[case("mon *-02-29", 10_227.0)]
    #[case("2027..2029-*-* 02:00", 1.0)]
    #[case("2026/2-01-01", 731.0)]
    #[case("*-*-* 00:00 UTC", 1.0)]
    fn dates(#[case] event: &str, #[case] days: f64) {
        assert_eq!(longest_gap(event).map(|gap| gap.as_secs_f64() / 86_400.0), Some(days), "{event}");
    }

    #[rstest::rstest]
    #[case("minutely", "*-*-* *:*:00")]
    #[case("hourly", "*-*-* *:00:00")]
    #[case("daily", "*-*-* 00:00:00")]
    #[case("weekly", "mon *-*-* 00:00:00")]
    #[case("monthly", "*-*-01 00:00:00")]
    #[case("quarterly", "*-01,04,07,10-01 00:00:00")]
    #[case("semiannually", "*-01,07-01 00:00:00")]
    #[case("semi-annually", "*-01,07-01 00:00:00")]
    #[case("yearly", "*-01-01 00:00:00")]
    #[case("annually UTC", "*-01-01 00:00:00")]
    fn words_are_what_the_manual_says(#[case] word: &str, #[case] event: &str) {
        assert_eq!(longest_gap(word), longest_gap(event), "{word}");
        assert!(longest_gap(word).is_some(), "{word}");
    }

    #[rstest::rstest]
    fn once_or_never(
        #[values(
            "2026-01-30 12:00",
            "2027-01-30",
            "2015-10-21",
            "2015..2025-*-* 03:00",
            "2024,2026-01-01",
            "*-02-30 01:00",
            "*-04-31",
            "2027-02-29",
            "*-0",
            "0-1",
            "2199-1-1"
        )]
        event: &str,
    ) {
        assert!(Event::read(event).is_some(), "{event}");
        assert_eq!(longest_gap(event), None, "{event}");
    }

    #[rstest::rstest]
    fn what_proxmox_refuses(
        #[values(
            "*-13-01",
            "*-32",
            "2200-1-1",
            "1-2-3-4 1:00",
            "7..1-1",
            "mon *-",
            "-1",
            "1-",
            "*-*~1",
            "5..1:00",
            "*/0",
            "*/60",
            "*,5",
            "5,*",
            "*/2,5",
            "+5",
            "1..",
            "..5",
            "/5",
            "12:60",
            "12:30:60",
            "1:2:3:4",
            "mon,",
            ",mon",
            "mon..",
            "mon..fry",
            "monda 1:00",
            "mon tue 1:00",
            "1:00 mon",
            "12:00 *-1",
            "*-1 12:00 13:00",
            "Daily",
            "12:00 utc",
            "UTC"
        )]
        event: &str,
    ) {
        assert!(Event::read(event).is_none(), "{event}");
    }
}
