// SPDX-License-Identifier: Apache-2.0
//! Foreign bytes made fit for a log line or an error: short, printable, one line.

use std::fmt::Write as _;

/// Longest excerpt of foreign text that an error repeats, in bytes: with what is said around it, an error stays
/// below 1 KiB.
pub(crate) const MAX_EXCERPT: usize = 640;

/// How many bytes of garbage are shown.
const HEX_BYTES: usize = 16;

/// The first bytes in hexadecimal.
pub(crate) fn hex_head(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(HEX_BYTES * 2 + 3);
    for byte in bytes.iter().take(HEX_BYTES) {
        write!(out, "{byte:02x}").expect("a String takes every write");
    }
    if bytes.len() > HEX_BYTES {
        out.push('…');
    }
    out
}

/// Appends foreign bytes as one printable line of at most `limit` further bytes; tells whether all of it fitted.
///
/// Control characters, among them the escape codes that would steer a terminal, come out as `\u{1b}`; bytes
/// that are no UTF-8 as U+FFFD. Tabs become a space.
pub(crate) fn push_printable(out: &mut String, bytes: &[u8], limit: usize) -> bool {
    let end = out.len() + limit;
    for c in String::from_utf8_lossy(bytes).chars() {
        let start = out.len();
        match c {
            '\t' => out.push(' '),
            c if is_printable(c) => out.push(c),
            c => out.extend(c.escape_unicode()),
        }
        if out.len() > end {
            out.truncate(start);
            return false;
        }
    }
    true
}

/// An excerpt of at most [`MAX_EXCERPT`] bytes: the beginning and the end, where errors are usually found.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let bytes = bytes.trim_ascii();
    let mut out = String::new();
    if push_lines(&mut out, bytes, MAX_EXCERPT) {
        return out;
    }
    let half = MAX_EXCERPT / 2 - 8;
    out.clear();
    push_lines(&mut out, bytes, half);
    out.push_str(" … ");
    // Escaping makes text up to eight times longer, so the tail is taken shorter until it fits.
    let mut tail_bytes = half;
    loop {
        let mut tail = String::new();
        let from = bytes.len().saturating_sub(tail_bytes);
        if push_lines(&mut tail, &bytes[from..], half) || tail_bytes == 0 {
            out.push_str(&tail);
            return out;
        }
        tail_bytes /= 2;
    }
}

/// Like [`push_printable`], with line ends as `; `.
fn push_lines(out: &mut String, bytes: &[u8], limit: usize) -> bool {
    let end = out.len() + limit;
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        if out.len() + separator.len() > end {
            return false;
        }
        out.push_str(separator);
        let room = end - out.len();
        if !push_printable(out, line.strip_suffix(b"\r").unwrap_or(line), room) {
            return false;
        }
    }
    true
}

/// Neither a control character nor one that reorders or hides the text around it.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_codes_do_not_reach_a_terminal() {
        assert_eq!(excerpt(b"  a\x1b[31mred\r\nb\tc\xff\n"), "a\\u{1b}[31mred; b c\u{fffd}");
    }

    #[test]
    fn long_text_keeps_both_ends() {
        let text = format!("first {} last", "x".repeat(5000));
        let short = excerpt(text.as_bytes());
        assert!(short.starts_with("first x") && short.ends_with("x last") && short.len() <= MAX_EXCERPT);
    }

    proptest! {
        #[test]
        fn excerpts_are_short_and_printable(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
            let text = excerpt(&bytes);
            prop_assert!(text.len() <= MAX_EXCERPT, "{} bytes", text.len());
            prop_assert!(text.chars().all(is_printable));
        }
    }
}
