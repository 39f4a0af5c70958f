//! Dates from seconds since 1970; the lab's nodes keep UTC.

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
