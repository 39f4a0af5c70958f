//! Which backups a `prune-backups` setting keeps.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

type Period = fn(i64) -> i64;

/// The periods in the order in which they claim backups, and how a time is turned into one of them.
const PERIODS: [(&str, Period); 6] = [
    ("keep-last", |time| time),
    ("keep-hourly", |time| time.div_euclid(3600)),
    ("keep-daily", day),
    // Weeks begin on Monday; day 0 was a Thursday.
    ("keep-weekly", |time| (day(time) + 3).div_euclid(7)),
    ("keep-monthly", |time| month(time)),
    ("keep-yearly", |time| month(time).div_euclid(12)),
];

fn day(time: i64) -> i64 {
    time.div_euclid(86_400)
}

fn month(time: i64) -> i64 {
    let (year, month, _) = crate::sim::clock::civil(day(time));
    year * 12 + i64::from(month)
}

/// A retention setting, such as `keep-last=3,keep-daily=7`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::sim) struct Retention(BTreeMap<String, u32>);

impl Retention {
    /// Reads a property string. Unknown keys were refused when it was given.
    pub(in crate::sim) fn parse(text: &str) -> Self {
        let pairs = text.split(',').filter_map(|pair| pair.trim().split_once('='));
        Self(pairs.filter_map(|(key, count)| Some((key.to_owned(), count.parse().ok()?))).collect())
    }

    /// Whether nothing is ever removed.
    pub(in crate::sim) fn keeps_all(&self) -> bool {
        self.0.get("keep-all").is_some_and(|&all| all != 0) || self.limit() == 0
    }

    /// How many backups there can be of a guest at most.
    pub(in crate::sim) fn limit(&self) -> u32 {
        PERIODS.iter().filter_map(|(key, _)| self.0.get(*key)).sum()
    }

    /// Picks from the times of a guest's unprotected backups those that are not kept.
    pub(in crate::sim) fn to_remove(&self, times: &[i64]) -> Vec<i64> {
        let mut newest_first = times.to_vec();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        let mut kept = HashSet::new();
        let mut passed_over = HashSet::new();
        for (key, period) in PERIODS {
            let count = self.0.get(key).copied().unwrap_or(0) as usize;
            let covered: HashSet<i64> = kept.iter().map(|&time| period(time)).collect();
            let mut claimed = HashSet::new();
            for &time in &newest_first {
                let id = period(time);
                if kept.contains(&time) || passed_over.contains(&time) || covered.contains(&id) {
                    continue;
                }
                if claimed.contains(&id) {
                    passed_over.insert(time);
                } else if claimed.len() < count {
                    claimed.insert(id);
                    kept.insert(time);
                } else {
                    break;
                }
            }
        }
        newest_first.reverse();
        newest_first.retain(|time| !kept.contains(time));
        newest_first
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|(key, count)| format!("{key}={count}")).collect();
        f.write_str(&pairs.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn keep_last_keeps_the_newest() {
        let retention = Retention::parse("keep-last=2");
        assert_eq!(retention.to_remove(&[30, 10, 20]), [10]);
        assert_eq!(retention.to_remove(&[30]), Vec::<i64>::new());
        assert_eq!((retention.limit(), retention.keeps_all()), (2, false));
    }

    #[test]
    fn longer_periods_only_claim_what_shorter_ones_left() {
        // Two a day for five days: the newest by keep-last, then one for each of the two days before.
        let times: Vec<i64> = (0..10).map(|half| half * DAY / 2).collect();
        let kept: Vec<i64> = [9, 7, 5].map(|half| half * DAY / 2).to_vec();
        let removed = Retention::parse("keep-last=1,keep-daily=2").to_remove(&times);
        assert_eq!(removed, times.iter().copied().filter(|time| !kept.contains(time)).collect::<Vec<_>>());
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_the_first() {
        // 1970-01-04 was a Sunday, 1970-01-05 a Monday.
        assert_eq!(Retention::parse("keep-weekly=9").to_remove(&[2 * DAY, 3 * DAY, 4 * DAY]), [2 * DAY]);
        assert_eq!(Retention::parse("keep-monthly=9").to_remove(&[29 * DAY, 30 * DAY, 31 * DAY]), [29 * DAY]);
        assert_eq!(Retention::parse("keep-yearly=1").to_remove(&[364 * DAY, 365 * DAY]), [364 * DAY]);
        assert_eq!(Retention::parse("keep-hourly=1").to_remove(&[0, HOUR - 1, HOUR]), [0, HOUR - 1]);
    }

    #[test]
    fn nothing_set_and_keep_all_keep_everything() {
        assert!(Retention::parse("").keeps_all());
        assert!(Retention::parse("keep-all=1").keeps_all());
        assert_eq!(Retention::parse("keep-last=3,keep-daily=7").to_string(), "keep-daily=7, keep-last=3");
    }
}
