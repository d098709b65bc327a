// SPDX-License-Identifier: Apache-2.0
//! How the command fails: an exit code, one line that says what is wrong, one that says what to do.
//!
//! ```text
//! shimkeeper: start the container web: executable file "nginx" not found in $PATH
//!   hint: check the command's name, or give its path in the container
//! ```

use std::borrow::Cow;
use std::error::Error;
use std::io::Write;

use shimkeeper_core::{HasKind, Kind, chain};

/// The failure is ours, or the runtime's; the container's process never ran.
pub(crate) const EXIT_FAILURE: u8 = 125;

/// What is said of one failure takes at most about a kilobyte: beyond this many bytes the middle is left out.
const LONGEST_WHAT: usize = 800;

/// A failure as the user gets to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit_code: u8,
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, what: impl AsRef<str>, hint: impl Into<String>) -> Self {
        Self { exit_code: EXIT_FAILURE, kind, what: one_line(what.as_ref()), hint: Some(hint.into()) }
    }

    /// An error with everything that led to it.
    pub(crate) fn of(error: &(impl Error + HasKind), hint: Option<&str>) -> Self {
        let what = one_line(&chain(error));
        Self { exit_code: EXIT_FAILURE, kind: error.kind(), what, hint: hint.map(one_line) }
    }

    /// What the library could not do.
    pub(crate) fn of_library(error: &shimkeeper::Error) -> Self {
        Self::of(error, error.hint())
    }

    /// A failed system call on behalf of `what`.
    pub(crate) fn io(what: impl AsRef<str>, error: &std::io::Error, hint: impl Into<String>) -> Self {
        Self::new(Kind::of_io(error), format!("{}: {error}", what.as_ref()), hint)
    }

    /// Whether it is for want of an answer, and not the answer.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self.kind, Kind::DeadlineExceeded | Kind::Unavailable)
    }

    /// Tells it on standard error.
    pub(crate) fn print(&self) {
        say(&shortened(&self.what, LONGEST_WHAT), self.hint.as_deref());
    }
}

/// One remark on standard error, in the form of every other.
pub(crate) fn say(what: &str, hint: Option<&str>) {
    let hint = hint.map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    let text = format!("shimkeeper: {what}\n{hint}");
    // Nobody is left to be told that standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// A shim's text may hold anything; on a terminal only one line of plain text is welcome.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(plain).collect()
}

/// The reason is at the end of a chain of errors, and whom it is about at its beginning.
fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let head = text.floor_char_boundary(longest / 2);
    let tail = text.ceil_char_boundary(text.len() - longest / 2);
    Cow::Owned(format!("{} […] {}", &text[..head], &text[tail..]))
}

/// Tells of a failure, if it is one; answers the exit code.
pub(crate) fn told(outcome: Result<(), Failure>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            EXIT_FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|layer| layer as _)
        }
    }

    impl HasKind for Layer {
        fn kind(&self) -> Kind {
            Kind::NotFound
        }
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let mut texts = texts.iter().rev();
        let last = Layer(texts.next().unwrap(), None);
        texts.fold(last, |inner, text| Layer(text, Some(Box::new(inner))))
    }

    #[test]
    fn what_is_long_loses_its_middle() {
        assert_eq!(shortened("short", 8), "short");
        assert_eq!(shortened("abcd and much more wxyz", 8), "abcd […] wxyz");
        assert_eq!(shortened(&"ü".repeat(100), 9), "üü […] üü");
    }

    #[test]
    fn a_failure_is_one_line_whatever_the_shim_said() {
        let failure = Failure::of(&layers(&["create", "bad\nthings\x1b[31m"]), Some("look\nthere"));
        assert_eq!(failure.what, "create: bad things [31m");
        assert_eq!(failure.hint.as_deref(), Some("look there"));
        assert_eq!((failure.exit_code, failure.kind), (125, Kind::NotFound));
    }
}
