//! Numbers as an operator reads them.

use std::time::Duration;

use jiff::{Timestamp, tz::Offset};

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes: `0 B`, `1023 B`, `1.0 KiB`, `32.0 GiB`.
#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while value >= 1023.95 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A time taken or left: `0.4 s`, `9.9 s`, `42 s`, `2 m 05 s`, `1 h 02 m`, `3 d 04 h`.
pub fn duration(time: Duration) -> String {
    let tenths = (time.as_millis() + 50) / 100;
    if tenths < 100 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = time.as_secs() + u64::from(time.subsec_millis() >= 500);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {:02} s", seconds % 60),
        (0, _, _) => format!("{hours} h {:02} m", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

/// How long ago `then` was at `now` (both seconds since the UNIX epoch): `just now`, `5 minutes ago`, `1 day ago`,
/// `in 2 hours` when clocks differ.
pub fn age(then: i64, now: i64) -> String {
    let seconds = now.abs_diff(then);
    let (count, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let text = counted(count, unit);
    if then > now { format!("in {text}") } else { format!("{text} ago") }
}

/// `1 disk`, `2 disks`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A moment (seconds since the UNIX epoch) as a clock shows it that is `utc_offset` seconds ahead of UTC:
/// `2026-01-30 12:00:00`. A moment past the calendar is shown as its number.
pub fn node_time(seconds: i64, utc_offset: i32) -> String {
    let moment = Timestamp::from_second(seconds).ok().zip(Offset::from_seconds(utc_offset).ok());
    match moment {
        Some((timestamp, offset)) => offset.to_datetime(timestamp).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case(0, "0 B")]
    #[case(1023, "1023 B")]
    #[case(1024, "1.0 KiB")]
    #[case(1_048_575, "1.0 MiB")]
    #[case(34_359_738_368, "32.0 GiB")]
    #[case(u64::MAX, "16.0 EiB")]
    fn sizes(#[case] count: u64, #[case] shown: &str) {
        assert_eq!(bytes(count), shown);
    }

    #[rstest::rstest]
    #[case(0, "0.0 s")]
    #[case(49, "0.0 s")]
    #[case(9_940, "9.9 s")]
    #[case(9_960, "10 s")]
    #[case(59_600, "1 m 00 s")]
    #[case(125_000, "2 m 05 s")]
    #[case(3_720_000, "1 h 02 m")]
    #[case(273_600_000, "3 d 04 h")]
    fn times_taken(#[case] millis: u64, #[case] shown: &str) {
        assert_eq!(duration(Duration::from_millis(millis)), shown);
    }

    #[rstest::rstest]
    #[case(59, "just now")]
    #[case(60, "1 minute ago")]
    #[case(7_199, "1 hour ago")]
    #[case(3 * 86_400, "3 days ago")]
    #[case(-7_200, "in 2 hours")]
    fn ages(#[case] seconds: i64, #[case] shown: &str) {
        assert_eq!(age(1_769_774_400 - seconds, 1_769_774_400), shown);
    }

    #[rstest::rstest]
    #[case(1_769_774_400, 0, "2026-01-30 12:00:00")]
    #[case(1_769_774_400, 3_600, "2026-01-30 13:00:00")]
    #[case(1_769_774_400, -43_200, "2026-01-30 00:00:00")]
    #[case(i64::MAX, 0, "@9223372036854775807")]
    fn node_clocks(#[case] seconds: i64, #[case] offset: i32, #[case] shown: &str) {
        assert_eq!(node_time(seconds, offset), shown);
    }
}
