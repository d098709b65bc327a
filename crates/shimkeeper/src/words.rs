// SPDX-License-Identifier: Apache-2.0
//! What shims say in words: cut and escaped for people, and read where their code says nothing.
//!
//! Shims answer most failures as "unknown" and put the reason into a text. The text is passed on as it is; the kind is
//! what a program decides on, so the reasons that are met in practice get one.

use std::fmt::{self, Write};

use shimkeeper_core::Kind;

/// Longest line of an error, in bytes.
const MAX_LINE: usize = 1024;

/// Put where something was cut.
const CUT: &str = " …";

/// Texts of containerd's shims and of the OCI runtimes below them. The first that is found counts.
const KNOWN: [(&str, Kind); 20] = [
    ("no space left on device", Kind::ResourceExhausted),
    ("disk quota exceeded", Kind::ResourceExhausted),
    ("too many open files", Kind::ResourceExhausted),
    ("cannot allocate memory", Kind::ResourceExhausted),
    ("resource temporarily unavailable", Kind::ResourceExhausted),
    ("cannot start a", Kind::FailedPrecondition),
    ("cannot delete a", Kind::FailedPrecondition),
    ("cannot pause", Kind::FailedPrecondition),
    ("cannot resume", Kind::FailedPrecondition),
    ("cannot exec in a", Kind::FailedPrecondition),
    ("cannot checkpoint a", Kind::FailedPrecondition),
    ("cannot update a", Kind::FailedPrecondition),
    ("cannot resize a", Kind::FailedPrecondition),
    ("cannot kill a", Kind::FailedPrecondition),
    ("process already finished", Kind::NotFound),
    ("executable file not found", Kind::NotFound),
    ("no such file or directory", Kind::InvalidArgument),
    ("is a directory", Kind::InvalidArgument),
    ("permission denied", Kind::PermissionDenied),
    ("invalid argument", Kind::InvalidArgument),
];

/// The kind of a failure that came with this kind and these words.
pub(crate) fn refine(kind: Kind, words: &str) -> Kind {
    let said = || {
        let words = words.to_ascii_lowercase();
        KNOWN.iter().find(|(text, _)| words.contains(text)).map(|(_, kind)| *kind)
    };
    match kind {
        Kind::Unknown => said().unwrap_or(kind),
        // A shim's binary has no code to say it with.
        Kind::FailedPrecondition => said().filter(|kind| *kind == Kind::ResourceExhausted).unwrap_or(kind),
        _ => kind,
    }
}

/// Writes what `write` writes as one printable line of bounded length.
pub(crate) fn one_line(
    f: &mut fmt::Formatter<'_>,
    write: impl FnOnce(&mut dyn Write) -> fmt::Result,
) -> fmt::Result {
    let mut line = Line { to: f, room: MAX_LINE - CUT.len(), is_cut: false };
    write(&mut line)
}

struct Line<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    room: usize,
    is_cut: bool,
}

impl Line<'_, '_> {
    fn push(&mut self, text: &str) -> fmt::Result {
        if let Some(left) = self.room.checked_sub(text.len()) {
            self.room = left;
            self.to.write_str(text)
        } else {
            self.is_cut = true;
            self.to.write_str(CUT)
        }
    }
}

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.is_cut {
                break;
            }
            if c.is_control() {
                self.push(&c.escape_default().to_string())?;
            } else {
                self.push(c.encode_utf8(&mut [0; 4]))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Said(String);

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            one_line(f, |f| f.write_str(&self.0))
        }
    }

    #[test]
    fn a_line_is_one_and_short() {
        assert_eq!(Said("a\nb\u{1b}[2J".into()).to_string(), "a\\nb\\u{1b}[2J");
        for piece in ["x", "ä", "\n", "\u{1b}"] {
            let line = Said(piece.repeat(3000)).to_string();
            assert!(line.len() <= MAX_LINE && line.ends_with(CUT), "{}", line.len());
            assert!(!line.chars().any(char::is_control));
        }
        let fits = "x".repeat(MAX_LINE - CUT.len());
        assert_eq!(Said(fits.clone()).to_string(), fits);
    }

    #[test]
    fn words_count_only_where_the_code_says_nothing() {
        let full = "mkdir /run/x: No space left on device: unknown";
        assert_eq!(refine(Kind::Unknown, full), Kind::ResourceExhausted);
        assert_eq!(refine(Kind::FailedPrecondition, full), Kind::ResourceExhausted);
        assert_eq!(refine(Kind::NotFound, full), Kind::NotFound);
        assert_eq!(refine(Kind::Unknown, "cannot start a running process"), Kind::FailedPrecondition);
        assert_eq!(refine(Kind::Unknown, "something else"), Kind::Unknown);
        assert_eq!(refine(Kind::FailedPrecondition, "permission denied"), Kind::FailedPrecondition);
    }
}
