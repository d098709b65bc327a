// SPDX-License-Identifier: Apache-2.0
//! Durations as Go writes them, because people copy them from containerd's files: `300ms`, `1.5s`, `2m30s`.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer};

const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads one; `None` for what is none, is negative, or is longer than five centuries.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() || total == 0 && rest.len() == text.len() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (_, nanos) = UNITS.iter().find(|(unit, _)| *unit == &after[..end])?;
        total = total.checked_add(scaled(number, *nanos)?)?;
        rest = &after[end..];
    }
    Some(Duration::from_nanos(total))
}

/// A decimal number times `unit`, rounded down.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // No more digits than an hour has nanoseconds.
    let fraction = &fraction[..fraction.len().min(13)];
    let part = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    let part = part * u128::from(unit) / 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_mul(unit)?.checked_add(u64::try_from(part).ok()?)
}

/// Writes one so that it reads the same again.
pub(super) fn format(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS.iter().rev().filter(|(unit, _)| *unit != "us") {
        let count = rest / u128::from(*nanos);
        rest %= u128::from(*nanos);
        if count > 0 {
            // A string takes whatever it is given.
            let _ = write!(text, "{count}{unit}");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || format!("{text:?} is no duration; one is written like \"10s\", \"1m30s\" or \"500ms\"");
    parse(&text).ok_or_else(|| serde::de::Error::custom(wrong()))
}

/// The same where there may be none.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_writes_is_read() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1m30s", 90_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("300ms", 300_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("7ns", 7),
            ("1s1s", 2_000_000_000),
        ];
        for (text, nanos) in good {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "5", "s", "-1s", "1 s", "1d", "1.2.3s", ".s", "1s!", "9999999999999h", "五s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for nanos in [0, 1, 1_500, 500_000_000, 90_000_000_000, 3_600_000_000_000, 3_661_001_002_003] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&format(duration)), Some(duration), "{}", format(duration));
        }
        assert_eq!(format(Duration::from_secs(90)), "1m30s");
    }
}
