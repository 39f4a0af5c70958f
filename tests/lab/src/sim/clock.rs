//! Dates from seconds since 1970, in UTC unless the seconds are those of a node's own clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}

/// Year, month (0 to 11) and day of the month of a day counted from 1970-01-01.
pub fn civil(days: i64) -> (i64, u8, u8) {
    // Counted from 1 March of year 0 the leap day comes last, which makes month lengths regular.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let january_or_later = i64::from(month >= 10);
    let small = |value: i64| u8::try_from(value).unwrap_or_default();
    (era * 400 + year + january_or_later, small((month + 2) % 12), small(day))
}

/// `2026-01-30 12:00:00`.
pub fn date_time(seconds: i64) -> String {
    let (day, time) = (date(seconds, '-'), clock(seconds, ':'));
    format!("{day} {time}")
}

/// `2026_01_30-12_00_00`, as in the name of a backup.
pub fn stamp(seconds: i64) -> String {
    let (day, time) = (date(seconds, '_'), clock(seconds, '_'));
    format!("{day}-{time}")
}

/// Seconds since 1970 of a stamp in the name of a backup.
pub fn parse_stamp(stamp: &str) -> Option<i64> {
    let (day, time) = stamp.split_once('-')?;
    let numbers = |text: &str| -> Option<[i64; 3]> {
        let numbers: Vec<i64> = text.split('_').map(str::parse).collect::<Result<_, _>>().ok()?;
        numbers.try_into().ok()
    };
    let ([year, month, day], [hour, minute, second]) = (numbers(day)?, numbers(time)?);
    let days = days(year, month, day);
    if civil(days) != (year, u8::try_from(month - 1).ok()?, u8::try_from(day).ok()?) {
        return None;
    }
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The inverse of [`civil`], with months from 1.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

fn date(seconds: i64, separator: char) -> String {
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    format!("{year}{separator}{:02}{separator}{day:02}", month + 1)
}

fn clock(seconds: i64, separator: char) -> String {
    let second = seconds.rem_euclid(86_400);
    format!("{:02}{separator}{:02}{separator}{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_written_and_read() {
        for (seconds, text) in [
            (1_769_774_400, "2026_01_30-12_00_00"),
            (1_709_251_199, "2024_02_29-23_59_59"),
            (0, "1970_01_01-00_00_00"),
        ] {
            assert_eq!(stamp(seconds), text);
            assert_eq!(parse_stamp(text), Some(seconds));
        }
        assert_eq!(date_time(1_769_774_400), "2026-01-30 12:00:00");
        assert_eq!(parse_stamp("2026_02_30-12_00_00"), None);
        assert_eq!(parse_stamp("nonsense"), None);
    }
}
