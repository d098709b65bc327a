// SPDX-License-Identifier: Apache-2.0
//! Sizes, processor shares and durations as people write them; exact, without floating point.

use std::time::Duration;

/// Bytes: a number with one of `b k m g t`, in powers of 1024, as docker has it.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size: expected a number with k, m, g or t, as in 64m");
    let (number, unit) = split_unit(text.trim());
    let unit = unit.to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err(wrong()),
    };
    scaled(number, 1 << shift).ok_or_else(wrong)
}

/// Processors: a number, possibly with a fraction; in thousandths.
pub(crate) fn parse_cpus(text: &str) -> Result<u32, String> {
    let millicpus = scaled(text, 1000).and_then(|number| u32::try_from(number).ok());
    let wrong = || format!("{text:?} is not a number of processors: expected one as in 0.5 or 2");
    millicpus.filter(|number| *number > 0).ok_or_else(wrong)
}

/// A duration: numbers with `ms s m h`, one after the other; a number alone means seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: expected one as in 90s, 1m30s or 500ms");
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_unit(rest);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit_ms = match &after[..end] {
            "ms" => 1,
            "s" => 1000,
            "" if rest.len() == text.trim().len() => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(wrong()),
        };
        let part = scaled(number, unit_ms).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part).ok_or_else(wrong)?;
        rest = &after[end..];
    }
    if total_ms == 0 { Err(wrong()) } else { Ok(Duration::from_millis(total_ms)) }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A decimal number times `unit`, rounded down.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(9)];
    let parse = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let denominator = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator = u128::from(parse(whole)?) * denominator + u128::from(parse(fraction)?);
    u64::try_from(numerator * u128::from(unit) / denominator).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let good = [
            ("0", 0),
            ("1024", 1024),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("512b", 512),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("2t", 2 << 40),
        ];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "m", "-1", "1x", "1 m", "1..5", "1e3", ".", "99999999999999999999", "20000000t", "ib"]
        {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn processors() {
        assert_eq!(parse_cpus("1"), Ok(1000));
        assert_eq!(parse_cpus("0.5"), Ok(500));
        assert_eq!(parse_cpus("1.2345"), Ok(1234));
        for text in ["", "0", "0.0001", "-1", "two", "1m", "5000000"] {
            assert!(parse_cpus(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations() {
        let good = [
            ("90", 90_000),
            ("90s", 90_000),
            ("0.25", 250),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("2h5ms", 7_200_005),
        ];
        for (text, ms) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "0", "0s", "s", "1d", "1m30", "-1s", "1 s", "9999999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
