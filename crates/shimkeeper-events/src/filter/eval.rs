// SPDX-License-Identifier: Apache-2.0
//! A compiled filter: what it asks, and how it is printed.

use std::fmt::{self, Write as _};

use regex_lite::{Regex, RegexBuilder};

use super::Adaptor;

/// Memory that the compiled expressions of one request may take together, in bytes; what is more is refused when the filter
/// is parsed. Asking one may take a step for each 30 bytes and each character of the text, and publishing waits for it.
pub(super) const MAX_PATTERN_BYTES: usize = 64 << 10;
/// The least that an expression counts for.
const LEAST_PATTERN_BYTES: usize = 256;
/// How much of a text an expression is asked about: as much as a label may have.
pub(super) const MAX_TEXT_BYTES: usize = 4096;

/// One filter: selectors that must all hold. Its text form reads back as the same filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    selectors: Vec<Selector>,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selector {
    pub(super) path: Vec<String>,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    /// The field is there.
    Present,
    /// It is there and has this value.
    Equal(String),
    /// It is absent, or has another value.
    NotEqual(String),
    /// It is there, and somewhere in its first 4 KiB this expression matches.
    Matches(Pattern),
}

/// A compiled expression. Two are equal if their texts are.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    text: String,
    regex: Regex,
}

// === impl Filter ===

impl Filter {
    pub(super) fn new(mut selectors: Vec<Selector>) -> Self {
        // A short path is a field that is at hand; a longer one may have to be decoded first. Asking the
        // cheap ones first never changes the answer, and mostly saves the decoding.
        selectors.sort_unstable_by_key(|selector| selector.path.len());
        Self { selectors }
    }

    /// Whether every selector holds.
    pub fn matches(&self, subject: &impl Adaptor) -> bool {
        self.selectors.iter().all(|selector| selector.matches(subject))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, selector) in self.selectors.iter().enumerate() {
            let and = if index == 0 { "" } else { "," };
            write!(f, "{and}{selector}")?;
        }
        Ok(())
    }
}

// === impl Selector ===

impl Selector {
    fn matches(&self, subject: &impl Adaptor) -> bool {
        let found = subject.field(&self.path);
        match &self.test {
            Test::Present => found.is_some(),
            Test::Equal(value) => found == Some(value.as_str()),
            Test::NotEqual(value) => found != Some(value.as_str()),
            Test::Matches(pattern) => found.is_some_and(|text| pattern.is_match(text)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, field) in self.path.iter().enumerate() {
            if index > 0 {
                f.write_char('.')?;
            }
            let plain = !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if plain { f.write_str(field)? } else { quote(f, field)? }
        }
        let (operator, value) = match &self.test {
            Test::Present => return Ok(()),
            Test::Equal(value) => ("==", value),
            Test::NotEqual(value) => ("!=", value),
            Test::Matches(pattern) => ("~=", &pattern.text),
        };
        f.write_str(operator)?;
        quote(f, value)
    }
}

fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

// === impl Pattern ===

impl Pattern {
    /// Compiles one that takes no more than the room there is, and takes it away from that. What it takes is not told: it
    /// counts for the size, doubled as often as it must be, that it can be made in.
    pub(super) fn new(text: String, room: &mut usize) -> Result<Self, regex_lite::Error> {
        let mut size = LEAST_PATTERN_BYTES;
        loop {
            match RegexBuilder::new(&text).size_limit(size.min(*room)).build() {
                Ok(regex) => {
                    *room = room.saturating_sub(size);
                    return Ok(Self { text, regex });
                }
                Err(_) if size < *room => size *= 2,
                Err(error) => return Err(error),
            }
        }
    }

    fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(&text[..text.floor_char_boundary(MAX_TEXT_BYTES)])
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
