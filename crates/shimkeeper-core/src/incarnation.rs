// SPDX-License-Identifier: Apache-2.0
//! One life of an id. Ids are used again, incarnations never: whatever removes or ends something names both.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// One life of a task id.
///
/// Random, so that it is not met again after a restart, a reboot or a wiped state directory. It is also the
/// mark by which processes of a launch are recognised when nothing else is left of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(NonZeroU64);

impl Incarnation {
    /// A new one, never handed out before.
    ///
    /// # Panics
    /// If the kernel has no random numbers, which Linux guarantees after boot.
    pub fn fresh() -> Self {
        loop {
            let number = getrandom::u64().expect("the kernel has random numbers after boot");
            if let Some(number) = NonZeroU64::new(number) {
                return Self(number);
            }
        }
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not sixteen hexadecimal digits of a non-zero number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an incarnation is written as sixteen hexadecimal digits")]
pub struct ParseIncarnationError;

impl FromStr for Incarnation {
    type Err = ParseIncarnationError;
    fn from_str(text: &str) -> Result<Self, ParseIncarnationError> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseIncarnationError);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| ParseIncarnationError)?;
        NonZeroU64::new(number).map(Self).ok_or(ParseIncarnationError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let one = Incarnation::fresh();
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_ne!(one, Incarnation::fresh());
        for bad in ["", "0", "0000000000000000", "+000000000000001", "g000000000000001"] {
            assert_eq!(bad.parse::<Incarnation>(), Err(ParseIncarnationError), "{bad}");
        }
    }
}
