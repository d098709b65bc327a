// SPDX-License-Identifier: Apache-2.0
//! An error in words, for a log, an answer or a terminal.

use std::error::Error;

/// The error and what caused it, from the outermost inwards, on one line. A cause whose text the outer one already ends
/// with, as some libraries do it, is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let inner = cause.to_string();
        if !text.ends_with(&inner) {
            text = format!("{text}: {inner}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn every_cause_is_told_once() {
        let full = Said("no space left", None);
        assert_eq!(chain(&full), "no space left");
        let write = Said("cannot write: no space left", Some(Box::new(full)));
        let record = Said("the record is lost", Some(Box::new(write)));
        assert_eq!(chain(&record), "the record is lost: cannot write: no space left");
    }
}
