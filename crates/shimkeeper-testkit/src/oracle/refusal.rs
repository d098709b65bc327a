// SPDX-License-Identifier: Apache-2.0
//! I10: a refusal has a kind, and is a short printable line.

use std::error::Error;

use shimkeeper_core::{HasKind, Kind};

/// The most bytes of a line.
const LINE_MAX: usize = 1024;

/// Fails unless the error says what kind it is, in one short printable line, every line below is one too, and so is
/// what it says to do next.
///
/// # Panics
/// That is how it fails.
#[track_caller]
pub fn refusal<E: Error + HasKind>(error: &E, hint: Option<&str>) {
    assert_ne!(error.kind(), Kind::Unknown, "{error:?}");
    let mut lines = vec![error.to_string()];
    let mut source = error.source();
    while let Some(below) = source {
        lines.push(below.to_string());
        source = below.source();
    }
    for line in lines.iter().map(String::as_str).chain(hint) {
        assert!(line.len() <= LINE_MAX && !line.is_empty(), "{} bytes: {line}", line.len());
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}
