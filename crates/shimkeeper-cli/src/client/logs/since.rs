// SPDX-License-Identifier: Apache-2.0
//! `--since`: a moment, or how long ago it was.

use std::time::SystemTime;

use shimkeeper_core::time::from_rfc3339;

use crate::run::units::parse_duration;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since(pub(in crate::client) SystemTime);

pub(crate) fn parse_since(text: &str) -> Result<Since, String> {
    let ago = || parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    from_rfc3339(text).or_else(ago).map(Since).ok_or_else(|| {
        format!("{text:?} is no time: expected one as in 2026-01-31T12:00:00Z, or 10m for ten minutes ago")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_or_how_long_ago() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(parse_since("2023-11-14T22:13:20Z"), Ok(Since(at)));
        let ago = SystemTime::now().duration_since(parse_since("1h").unwrap().0).unwrap();
        assert!((3599..3700).contains(&ago.as_secs()), "{ago:?}");
        for wrong in ["", "yesterday", "-1h", "2023-11-14"] {
            assert!(parse_since(wrong).is_err(), "{wrong}");
        }
    }
}
