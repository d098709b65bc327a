// SPDX-License-Identifier: Apache-2.0
//! Moments as text, in the form of RFC 3339. Written in UTC and to the nanosecond; read with any offset.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::to_parts;

const DAY: i64 = 86_400;

/// The moment in UTC: `2026-11-29T07:30:00.000000000Z`. Only years of four digits read back.
pub fn to_rfc3339(at: SystemTime) -> String {
    let (seconds, nanos) = to_parts(at);
    let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The moment that a text names, or `None` if it names none. Here 1970 is a moment like any other.
pub fn from_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.split_once(['T', 't'])?;
    let (year, month, day) = three(date, '-', [4, 2, 2])?;
    let zone = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone);
    let (clock, fraction) = clock.split_once('.').map_or((clock, None), |(clock, rest)| (clock, Some(rest)));
    let (hour, minute, second) = three(clock, ':', [2, 2, 2])?;
    // A leap second is taken for the first of the next minute.
    if hour > 23 || minute > 59 || second > 60 || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let days = days_since_1970(year, month, day);
    if civil(days) != (year, month, day) {
        return None;
    }
    let seconds = days * DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    start?.checked_add(Duration::from_nanos(fraction.map_or(Some(0), nanos)?))
}

/// Seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = zone.split_at_checked(1)?;
    if sign.eq_ignore_ascii_case("z") {
        return rest.is_empty().then_some(0);
    }
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    let seconds = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if sign == "-" { -seconds } else { seconds })
}

/// Digits after the point as nanoseconds; those beyond the ninth are dropped.
fn nanos(fraction: &str) -> Option<u64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    nine.parse().ok()
}

fn three(text: &str, separator: char, widths: [usize; 3]) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(separator);
    let mut next = |width| digits(parts.next()?, width);
    let found = (next(widths[0])?, next(widths[1])?, next(widths[2])?);
    parts.next().is_none().then_some(found)
}

fn digits(text: &str, width: usize) -> Option<i64> {
    (text.len() == width && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The date of a day counted from 1970-01-01. Years are taken to begin in March, so that the leap day is the last
/// of its year, and months then follow a pattern of 153 days for five.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The other way round. The parts need make no date; the day then belongs to another month.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month_from_march) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::super::from_parts;
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let at = |seconds| to_rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(at(951_868_800), "2000-03-01T00:00:00.000000000Z");
        assert_eq!(at(4_107_542_399), "2100-02-28T23:59:59.000000000Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00.000000000Z", "2100 is no leap year");
        assert_eq!(to_rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31T23:59:59.000000000Z");
    }

    #[test]
    fn every_day_of_two_centuries_reads_back() {
        for day in -36_525..36_525 {
            let at = from_parts(day * DAY + 3_601, 7).unwrap();
            assert_eq!(from_rfc3339(&to_rfc3339(at)), Some(at), "{}", to_rfc3339(at));
        }
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        let noon = from_rfc3339("2026-11-29T12:00:00Z").unwrap();
        for same in
            ["2026-11-29T13:30:00+01:30", "2026-11-29T11:00:00.0-01:00", "2026-11-29t12:00:00.0000000009z"]
        {
            assert_eq!(from_rfc3339(same), Some(noon), "{same}");
        }
        assert_eq!(from_rfc3339("1970-01-01T00:00:00Z"), Some(UNIX_EPOCH));
        assert_eq!(
            to_rfc3339(from_rfc3339("0001-01-01T00:00:00Z").unwrap()),
            "0001-01-01T00:00:00.000000000Z"
        );
        let later = from_rfc3339("2026-11-29T12:00:00.25Z").unwrap();
        assert_eq!(later.duration_since(noon).unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for bad in [
            "",
            "2026-11-29",
            "2026-11-29T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-11-29T24:00:00Z",
            "2026-11-29T12:00:00+1:00",
            "2026-11-29T12:00:00.Z",
            "2026-11-29T12:00:00Zjunk",
            "+026-11-29T12:00:00Z",
            "2026-11-29T12:00:00.1é5Z",
        ] {
            assert_eq!(from_rfc3339(bad), None, "{bad:?}");
        }
    }
}
