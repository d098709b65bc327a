// SPDX-License-Identifier: Apache-2.0
//! Time on the wire: seconds and nanoseconds since 1970, with Go's zero time as "never".

use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod rfc3339;

pub use rfc3339::{from_rfc3339, to_rfc3339};

/// Seconds of Go's zero time (1 January of year 1), which shims send for "not yet".
pub const GO_ZERO_SECONDS: i64 = -62_135_596_800;

/// A moment as seconds and nanoseconds since 1970.
pub fn to_parts(at: SystemTime) -> (i64, i32) {
    let nanos_of = |d: Duration| i32::try_from(d.subsec_nanos()).unwrap_or(0);
    let secs_of = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => (secs_of(after), nanos_of(after)),
        Err(before) => {
            let before = before.duration();
            match nanos_of(before) {
                0 => (-secs_of(before), 0),
                nanos => (-secs_of(before) - 1, 1_000_000_000 - nanos),
            }
        }
    }
}

/// The moment, or `None` for Go's zero time, 1970 itself (an unset message) and what is no
/// moment at all.
pub fn from_parts(seconds: i64, nanos: i32) -> Option<SystemTime> {
    if (seconds, nanos) == (0, 0) || seconds <= GO_ZERO_SECONDS || !(0..1_000_000_000).contains(&nanos) {
        return None;
    }
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let start = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    start?.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back() {
        for (seconds, nanos) in [(1, 0), (1_700_000_000, 999_999_999), (-1, 0), (-2, 500_000_000)] {
            assert_eq!(to_parts(from_parts(seconds, nanos).unwrap()), (seconds, nanos));
        }
    }

    #[test]
    fn never_is_none() {
        assert_eq!(from_parts(GO_ZERO_SECONDS, 0), None);
        assert_eq!(from_parts(0, 0), None);
        assert_eq!(from_parts(i64::MIN, 0), None);
        assert_eq!(from_parts(5, -1), None);
        assert_eq!(from_parts(i64::MAX, 1_000_000_000), None);
    }
}
