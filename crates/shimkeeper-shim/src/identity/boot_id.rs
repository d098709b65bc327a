// SPDX-License-Identifier: Apache-2.0
//! Which boot: after another one, no process that was written down can be there.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::IdentityError;

/// The kernel's random name of one boot.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(u128);

/// The text is no boot id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a boot id is written as a UUID, in 32 hexadecimal digits and four dashes")]
pub struct ParseBootIdError;

const FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Where the dashes are.
const DASHES: [usize; 4] = [8, 13, 18, 23];
const TEXT_LEN: usize = 36;

// === impl BootId ===

impl BootId {
    /// The current one.
    ///
    /// # Errors
    /// [`IdentityError`] if the kernel's file cannot be read.
    pub fn current() -> Result<Self, IdentityError> {
        // It never changes under a running process.
        static CURRENT: OnceLock<BootId> = OnceLock::new();
        if let Some(id) = CURRENT.get() {
            return Ok(*id);
        }
        let path = Path::new(FILE);
        let text = fs::read_to_string(path)
            .map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
        let id = text.trim_end().parse().map_err(|_| IdentityError::Parse { path: path.to_owned() })?;
        Ok(*CURRENT.get_or_init(|| id))
    }
}

impl FromStr for BootId {
    type Err = ParseBootIdError;
    fn from_str(text: &str) -> Result<Self, ParseBootIdError> {
        if text.len() != TEXT_LEN {
            return Err(ParseBootIdError);
        }
        let mut id = 0;
        for (at, byte) in text.bytes().enumerate() {
            if DASHES.contains(&at) {
                if byte != b'-' {
                    return Err(ParseBootIdError);
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or(ParseBootIdError)?;
            id = id << 4 | u128::from(digit);
        }
        Ok(Self(id))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let (a, b, c) = (&digits[..8], &digits[8..12], &digits[12..16]);
        write!(f, "{a}-{b}-{c}-{}-{}", &digits[16..20], &digits[20..])
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BootId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let text = "0123abcd-0000-4000-8000-00000000000f";
        let id: BootId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::from_str::<BootId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        for bad in
            ["", "0123abcd", "0123abcd-0000-4000-8000-00000000000g", "0123abcd0000-4000-8000-00000000000ff0"]
        {
            assert_eq!(bad.parse::<BootId>(), Err(ParseBootIdError), "{bad}");
        }
    }

    #[test]
    fn the_current_one_is_the_kernels() {
        let text = fs::read_to_string(FILE).unwrap();
        assert_eq!(BootId::current().unwrap().to_string(), text.trim_end());
    }
}
