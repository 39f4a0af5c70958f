//! Times as Docker writes them.

use crate::sim::clock;

/// `3 hours`, `About a minute`.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// `2026-01-30 01:00:04 +0000 UTC`.
pub(super) fn listed(milliseconds: u64) -> String {
    format!("{} +0000 UTC", clock::date_time(seconds(milliseconds)))
}

/// `2026-01-30T01:00:04.123Z`; the year 1 for what never was.
pub(super) fn precise(milliseconds: u64) -> String {
    if milliseconds == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    let text = clock::date_time(seconds(milliseconds)).replace(' ', "T");
    format!("{text}.{:03}Z", milliseconds % 1000)
}

fn seconds(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(999, "Less than a second")]
    #[case(59_999, "59 seconds")]
    #[case(60_000, "About a minute")]
    #[case(3_599_000, "59 minutes")]
    #[case(5_399_000, "About an hour")]
    #[case(3 * 3_600_000, "3 hours")]
    #[case(47 * 3_600_000, "47 hours")]
    #[case(48 * 3_600_000, "2 days")]
    #[case(14 * 86_400_000, "2 weeks")]
    fn a_duration_is_rounded_as_docker_does(#[case] milliseconds: u64, #[case] expected: &str) {
        assert_eq!(duration(milliseconds), expected);
    }

    #[test]
    fn a_time_that_never_was_is_in_the_year_one() {
        assert_eq!(precise(0), "0001-01-01T00:00:00Z");
        assert_eq!(precise(1_769_734_804_007), "2026-01-30T01:00:04.007Z");
        assert_eq!(listed(1_769_734_804_007), "2026-01-30 01:00:04 +0000 UTC");
    }
}
