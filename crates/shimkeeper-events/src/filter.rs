// SPDX-License-Identifier: Apache-2.0
//! Filters: small expressions over named fields, in containerd's language.
//!
//! ```text
//! filter    := "" | selector ("," selector)*       all must hold; "" always does
//! selector  := fieldpath [ op value ]              without op: the field is present
//! fieldpath := field ("." field)*                  field := [A-Za-z0-9_]+ | quoted
//! op        := "==" | "!=" | "~="                  value := quoted | visible characters but ',' and space
//! quoted    := "…" with Go's escapes; as value of ~= also /…/ and |…|
//! ```
//!
//! Of several filters one is enough. Compiled once, they are then asked about anything that is an [`Adaptor`]:
//! events here, containers and leases elsewhere. `lexer` reads characters, `parser` applies the grammar, `eval`
//! asks.

use std::fmt;
use std::sync::Arc;

use shimkeeper_core::{HasKind, Kind};

mod eval;
mod lexer;
mod parser;

pub use eval::Filter;

/// Most filters in one request. The language has no use for more, and each is asked about every event.
const MAX_FILTERS: usize = 256;
/// Longest filter, in bytes.
const MAX_FILTER_BYTES: usize = 16 * 1024;

/// Anything a filter can be asked about.
pub trait Adaptor {
    /// The value of a field, or `None` if there is no such field or it is not set. The path has at least one
    /// part; in a map, the rest of the path joined with dots is the key ([`map_key`]).
    fn field(&self, path: &[String]) -> Option<&str>;
}

/// Filters of which one is enough; none at all means everything. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters(Arc<[Filter]>);

/// Why a text is no filter. The position is shown as `[before >|X|< after]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text does not follow the grammar.
    #[error("{}: {problem}", mark(.input, *.at))]
    Syntax {
        /// The filter.
        input: String,
        /// Where the trouble starts, in bytes.
        at: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// The value of a `~=` is no regular expression, or costs too much, by itself or with those before it.
    #[error("{}: {problem}", mark(.input, *.at))]
    Pattern {
        /// The filter.
        input: String,
        /// Where the expression starts, in bytes.
        at: usize,
        /// What the expression compiler says.
        problem: String,
    },
    /// The filter is longer than 16 KiB.
    #[error("filter is {len} bytes long, at most {MAX_FILTER_BYTES} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// There are more than 256 filters.
    #[error("more than {MAX_FILTERS} filters")]
    TooMany,
}

/// What is wrong with a filter's syntax. The words are those that clients of the original know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field was due.
    #[error("expected field or quoted")]
    ExpectedField,
    /// A value was due.
    #[error("expected value or quoted")]
    ExpectedValue,
    /// An operator was due.
    #[error(r#"expected an operator ("=="|"!="|"~=")"#)]
    ExpectedOperator,
    /// A run of operator characters that is no operator.
    #[error("unsupported operator {0:?}")]
    UnsupportedOperator(String),
    /// Something follows a complete selector that is no comma.
    #[error("unexpected input: {0}")]
    UnexpectedInput(char),
    /// A quote without its end.
    #[error("quoted literal not terminated")]
    NotTerminated,
    /// `/` or `|` as a quote where only `"` is one.
    #[error("invalid quote encountered")]
    InvalidQuote,
    /// A backslash and a character that make no escape.
    #[error("illegal escape sequence")]
    IllegalEscape,
    /// An escape by number without enough digits, or naming no character.
    #[error("illegal numeric escape sequence")]
    IllegalNumericEscape,
    /// Escapes that make up bytes which are no UTF-8.
    #[error("unquoted text is not valid UTF-8")]
    NotUtf8,
    /// A NUL character.
    #[error("unexpected null")]
    Null,
}

/// The key that a path names in a map: its parts joined with dots.
pub fn map_key(path: &[String]) -> std::borrow::Cow<'_, str> {
    match path {
        [one] => one.as_str().into(),
        parts => parts.join(".").into(),
    }
}

fn compile(text: &str, room: &mut usize) -> Result<Filter, FilterError> {
    if text.len() > MAX_FILTER_BYTES {
        return Err(FilterError::TooLong { len: text.len() });
    }
    parser::parse(text, room)
}

fn mark(input: &str, at: usize) -> String {
    let (before, rest) = input.split_at_checked(at).unwrap_or((input, ""));
    let mut after = rest.chars();
    match after.next() {
        Some(here) => format!("[{before} >|{here}|< {}]", after.as_str()),
        None => format!("[{input}]"),
    }
}

// === impl Filters ===

impl Filters {
    /// The filters that everything passes.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Compiles filters.
    ///
    /// # Errors
    /// [`FilterError`] for the first that is none. A `~=` whose expression does not compile is an error too:
    /// the original accepts it and then silently matches nothing.
    pub fn parse<I>(texts: I) -> Result<Self, FilterError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let (mut filters, mut room) = (Vec::new(), eval::MAX_PATTERN_BYTES);
        for text in texts {
            if filters.len() == MAX_FILTERS {
                return Err(FilterError::TooMany);
            }
            filters.push(compile(text.as_ref(), &mut room)?);
        }
        Ok(Self(filters.into()))
    }

    /// Whether one of the filters holds, or there are none.
    pub fn matches(&self, subject: &impl Adaptor) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| filter.matches(subject))
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut room = eval::MAX_PATTERN_BYTES;
        compile(text, &mut room)
    }
}

impl fmt::Display for Filters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, filter) in self.0.iter().enumerate() {
            let or = if index == 0 { "" } else { " or " };
            write!(f, "{or}{filter}")?;
        }
        Ok(())
    }
}

impl HasKind for FilterError {
    fn kind(&self) -> Kind {
        Kind::InvalidArgument
    }
}

#[cfg(test)]
mod tests;
