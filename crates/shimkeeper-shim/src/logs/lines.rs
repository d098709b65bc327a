// SPDX-License-Identifier: Apache-2.0
//! Bytes into printable lines of bounded length, however they are cut into reads.

use crate::text;

/// Longest line, before and after escaping, in bytes; the rest of a longer one is dropped.
const MAX_LINE: usize = 1024;

/// The line that has no end yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
    overflow: bool,
}

impl Lines {
    /// Takes bytes; hands out each line that they end, and whether it was cut.
    pub(super) fn push(&mut self, bytes: &[u8], mut line: impl FnMut(&str, bool)) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            self.extend(&rest[..end]);
            self.end(&mut line);
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    /// Hands out what has no end.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&str, bool)) {
        self.end(&mut line);
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.pending.len();
        self.overflow |= bytes.len() > room;
        self.pending.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, line: &mut impl FnMut(&str, bool)) {
        let bytes = self.pending.trim_ascii_end();
        if !bytes.is_empty() {
            let mut printable = String::with_capacity(bytes.len());
            let whole = text::push_printable(&mut printable, bytes, MAX_LINE);
            line(&printable, self.overflow || !whole);
        }
        self.pending.clear();
        self.overflow = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, bool)> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        let mut keep = |line: &str, cut| out.push((line.to_owned(), cut));
        for read in reads {
            lines.push(read, &mut keep);
        }
        lines.finish(&mut keep);
        out
    }

    #[test]
    fn lines_are_cut_and_escaped_and_empty_ones_dropped() {
        let long = vec![b'x'; 5000];
        let lines = all([b"a\r\n\n\x1b[2Jb".as_slice(), b"c\n", &long, b"\nend"]);
        let whole = |text: &str| (text.to_owned(), false);
        assert_eq!(lines[..2], [whole("a"), whole("\\u{1b}[2Jbc")]);
        assert_eq!(lines[2], ("x".repeat(MAX_LINE), true));
        assert_eq!(lines[3..], [whole("end")]);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_does_not_matter(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n')], 0..800), at in 0usize..800,
        ) {
            let (a, b) = bytes.split_at(at.min(bytes.len()));
            let lines = all([a, b]);
            prop_assert_eq!(&lines, &all([bytes.as_slice()]));
            for (line, _) in lines {
                prop_assert!(line.len() <= MAX_LINE && !line.chars().any(char::is_control));
            }
        }
    }
}
