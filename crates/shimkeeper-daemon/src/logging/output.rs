// SPDX-License-Identifier: Apache-2.0
//! Where the log goes, whoever reads it. The thread that serves all calls writes it as well, and a pipe or a terminal that
//! nobody reads would stop that: what there is no room for is left out, and how much it was is said when there is.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Format;

/// For so many bytes there is room wherever there is any: a page of a pipe (pipe(7)), and less than a socket has when it
/// says so.
const PIECE: usize = 4096;

/// Takes one whole line at a time.
#[derive(Debug)]
pub(super) struct Output<W>(Mutex<State<W>>);

#[derive(Debug)]
struct State<W> {
    to: W,
    format: Format,
    /// Lines since there was room.
    left_out: u64,
    /// The last one that was written has no end.
    is_cut: bool,
}

impl<W: AsFd + Write> Output<W> {
    pub(super) fn new(to: W, format: Format) -> Self {
        Self(Mutex::new(State { to, format, left_out: 0, is_cut: false }))
    }
}

impl<W: AsFd + Write> State<W> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.left_out > 0 && self.has_room() {
            let note = self.note();
            self.to.write_all(note.as_bytes())?;
            (self.left_out, self.is_cut) = (0, false);
        }
        for (at, piece) in line.chunks(PIECE).enumerate() {
            if !self.has_room() {
                self.left_out += 1;
                self.is_cut |= at > 0;
                break;
            }
            self.to.write_all(piece)?;
        }
        Ok(())
    }

    /// Also where nobody ever reads again: that is an error, and no wait.
    fn has_room(&self) -> bool {
        let mut to = [PollFd::new(&self.to, PollFlags::OUT)];
        poll(&mut to, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn note(&self) -> String {
        let (lines, end) = (self.left_out, if self.is_cut { "\n" } else { "" });
        let what = "left out of the log, because nobody read it";
        match self.format {
            Format::Text => format!("{end}WARN shimkeeper: {what} lines={lines}\n"),
            Format::Json => format!("{end}{{\"level\":\"WARN\",\"message\":\"{what}\",\"lines\":{lines}}}\n"),
        }
    }
}

impl<'a, W: AsFd + Write + 'a> MakeWriter<'a> for Output<W> {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl<W: AsFd + Write> Write for &Output<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _};

    use super::*;

    /// All that is in the pipe, without waiting for more.
    fn read(from: &mut PipeReader) -> String {
        let mut bytes = vec![0; 1 << 20];
        let read = from.read(&mut bytes).unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    /// Writes until there is no room; how many lines there was room for.
    fn fill(output: &Output<io::PipeWriter>, line: &str) -> u64 {
        let mut written = 0;
        while output.0.lock().unwrap().left_out == 0 {
            (&*output).write_all(line.as_bytes()).unwrap();
            written += 1;
        }
        written - 1
    }

    #[test]
    fn what_nobody_reads_is_left_out_and_counted() {
        let (mut from, to) = io::pipe().unwrap();
        let output = Output::new(to, Format::Text);
        let written = fill(&output, "a line\n");
        (&output).write_all(b"another\n").unwrap();
        assert_eq!(read(&mut from), "a line\n".repeat(usize::try_from(written).unwrap()));
        (&output).write_all(b"the next\n").unwrap();
        assert_eq!(
            read(&mut from),
            "WARN shimkeeper: left out of the log, because nobody read it lines=2\nthe next\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_where_the_room_ends() {
        let (mut from, to) = io::pipe().unwrap();
        let output = Output::new(to, Format::Json);
        let line = format!("{}\n", "x".repeat(5 * PIECE / 2));
        fill(&output, &line);
        let mut all = read(&mut from);
        assert!(all.ends_with('x'), "cut");
        (&output).write_all(b"{}\n").unwrap();
        all.push_str(&read(&mut from));
        let last: Vec<_> = all.lines().rev().take(2).collect();
        let note: serde_json::Value = serde_json::from_str(last[1]).unwrap();
        assert_eq!((last[0], &note["lines"]), ("{}", &1.into()));
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_and_no_wait() {
        let (from, to) = io::pipe().unwrap();
        let output = Output::new(to, Format::Text);
        drop(from);
        assert_eq!((&output).write_all(b"a line\n").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
