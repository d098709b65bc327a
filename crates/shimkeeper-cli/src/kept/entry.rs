// SPDX-License-Identifier: Apache-2.0
//! One line of a file: when, where from, whether it ends there, and what was written, byte for byte.

use std::time::SystemTime;

use shimkeeper_core::time::{from_rfc3339, to_rfc3339};

/// Where an entry is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
    /// The driver itself, which tells how many bytes it could not keep.
    Lost,
}

/// What was written at once, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: SystemTime,
    pub(crate) stream: Stream,
    /// Without it the next entry of the stream goes on with the same line.
    pub(crate) ends_line: bool,
    /// Without the end of the line.
    pub(crate) text: Vec<u8>,
}

impl Stream {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Out => "stdout",
            Self::Err => "stderr",
            Self::Lost => "lost",
        }
    }
}

/// Appends `written`, which may be any number of lines and parts of lines, to `lines`.
pub(super) fn append(lines: &mut Vec<u8>, at: SystemTime, stream: Stream, written: &[u8]) {
    let head = format!("{} {} ", to_rfc3339(at), stream.as_str());
    for part in written.split_inclusive(|byte| *byte == b'\n') {
        let text = part.strip_suffix(b"\n");
        lines.extend_from_slice(head.as_bytes());
        lines.extend_from_slice(if text.is_some() { b"F " } else { b"P " });
        lines.extend_from_slice(text.unwrap_or(part));
        lines.push(b'\n');
    }
}

impl Entry {
    /// From a line without its end; `None` if it is none of ours, such as what a full disk has cut off.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let at = from_rfc3339(std::str::from_utf8(fields.next()?).ok()?)?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Out,
            b"stderr" => Stream::Err,
            b"lost" => Stream::Lost,
            _ => return None,
        };
        let ends_line = match fields.next()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { at, stream, ends_line, text: fields.next()?.to_vec() })
    }

    /// What was written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let end: &[u8] = if self.ends_line { b"\n" } else { b"" };
        [&self.text, end].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_written_comes_back_byte_for_byte() {
        let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        for written in [&b"one\ntwo\nrest"[..], b"\n\n", b"plain", b"\xff\x00 a b\r\n", b"F P \n"] {
            let mut lines = Vec::new();
            append(&mut lines, at, Stream::Err, written);
            let text = lines.strip_suffix(b"\n").unwrap();
            let entries: Vec<Entry> =
                text.split(|byte| *byte == b'\n').map(|line| Entry::parse(line).unwrap()).collect();
            assert_eq!(entries.iter().flat_map(Entry::bytes).collect::<Vec<_>>(), written);
            assert!(entries.iter().all(|entry| (entry.at, entry.stream) == (at, Stream::Err)));
        }
    }

    #[test]
    fn the_form_is_the_one_of_kubelets() {
        let mut lines = Vec::new();
        append(&mut lines, SystemTime::UNIX_EPOCH, Stream::Out, b"a\nb");
        let expected =
            "1970-01-01T00:00:00.000000000Z stdout F a\n1970-01-01T00:00:00.000000000Z stdout P b\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
    }

    #[test]
    fn what_is_cut_off_is_no_entry() {
        for line in [
            "",
            "x",
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z stdout",
            "1970-01-01T00:00:00Z stdout F",
            "1970-01-01T00:00:00Z other F x",
            "1970-01-01T00:00:00Z stdout X x",
        ] {
            assert_eq!(Entry::parse(line.as_bytes()), None, "{line}");
        }
    }
}
