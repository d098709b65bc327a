// SPDX-License-Identifier: Apache-2.0
//! Reads what a driver has written, from some point on, while it may go on writing and removing.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::{Entry, file, numbers};

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// With everything that is kept.
    Start,
    /// With this many lines before the end.
    Last(usize),
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Entry(Entry),
    /// Files were removed before they could be read.
    Gap,
}

/// At some point in the files of a directory.
#[derive(Debug)]
pub(crate) struct Reader {
    dir: PathBuf,
    /// Of the file that is read.
    number: u64,
    file: Option<File>,
    /// The beginning of a line whose end was not there yet.
    begun: Vec<u8>,
}

const CHUNK_BYTES: usize = 64 << 10;

/// Before the first file.
const NONE: u64 = 0;

impl Reader {
    pub(crate) fn open(dir: &Path, begin: Begin) -> io::Result<Self> {
        let numbers = numbers(dir)?;
        let mut reader = Self { dir: dir.to_owned(), number: 0, file: None, begun: Vec::new() };
        let (number, offset) = match begin {
            Begin::Start => (numbers.first().copied().unwrap_or(NONE), 0),
            Begin::Last(lines) => last(dir, &numbers, lines)?,
        };
        reader.number = number;
        match File::open(file(dir, number)) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                reader.file = Some(file);
            }
            // The first is yet to come, or was removed just now.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(reader)
    }

    /// What there is more; nothing if that is all for now.
    pub(crate) fn more(&mut self) -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        loop {
            // Before the read: what is at its end once the next one is there stays at its end.
            let later = numbers(&self.dir)?.into_iter().find(|number| *number > self.number);
            let whole_lines = self.read(&mut items)?;
            if whole_lines {
                return Ok(items);
            }
            let Some(next) = later else { return Ok(items) };
            let missing = self.number != NONE && (next > self.number + 1 || self.file.is_none());
            match File::open(file(&self.dir, next)) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => self.file = None,
                Err(error) => return Err(error),
            }
            self.number = next;
            // What was begun in the last file is not gone on with in this one.
            self.begun.clear();
            if missing && self.file.is_some() {
                items.push(Item::Gap);
            }
        }
    }

    /// Reads a chunk of the file; whether there was one.
    fn read(&mut self, items: &mut Vec<Item>) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        let mut rest = &chunk[..count];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&rest[..end]);
            items.extend(Entry::parse(&self.begun).map(Item::Entry));
            self.begun.clear();
            rest = &rest[end + 1..];
        }
        self.begun.extend_from_slice(rest);
        Ok(count > 0)
    }
}

/// The file and the place in it from which on there are this many lines.
fn last(dir: &Path, numbers: &[u64], mut lines: usize) -> io::Result<(u64, u64)> {
    let Some(newest) = numbers.last() else { return Ok((NONE, 0)) };
    if lines == 0 {
        let size = std::fs::metadata(file(dir, *newest)).map_or(0, |meta| meta.len());
        return Ok((*newest, size));
    }
    let mut begin = (*newest, 0);
    // A part at the very end is a line of its own.
    let mut open_end = true;
    for number in numbers.iter().rev() {
        let text = match std::fs::read(file(dir, *number)) {
            Ok(text) => text,
            // So it was removed just now, and those before it too.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(begin),
            Err(error) => return Err(error),
        };
        let mut end = text.len();
        while end > 0 {
            let start = text[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let ends_line = Entry::parse(&text[start..end - 1]).is_some_and(|entry| entry.ends_line);
            if ends_line || open_end {
                if lines == 0 {
                    return Ok((*number, end as u64));
                }
                lines -= 1;
            }
            open_end = false;
            end = start;
        }
        begin = (*number, 0);
    }
    Ok(begin)
}

/// A single file without times or streams, as shims write it for `file://`.
#[derive(Debug)]
pub(crate) struct Plain(File);

impl Plain {
    pub(crate) fn open(path: &Path, begin: Begin) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if let Begin::Last(lines) = begin {
            let end = file.seek(SeekFrom::End(0))?;
            let at = line_before(&mut file, end, lines)?;
            file.seek(SeekFrom::Start(at))?;
        }
        Ok(Self(file))
    }

    /// What there is more; nothing if that is all for now.
    pub(crate) fn more(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = self.0.read(&mut chunk)?;
        chunk.truncate(count);
        Ok(chunk)
    }
}

/// Where the last lines begin, of what is before `end`.
fn line_before(file: &mut File, end: u64, lines: usize) -> io::Result<u64> {
    let (mut at, mut left) = (end, lines);
    let mut chunk = vec![0; CHUNK_BYTES];
    while at > 0 {
        let begin = at.saturating_sub(CHUNK_BYTES as u64);
        file.seek(SeekFrom::Start(begin))?;
        let chunk = &mut chunk[..usize::try_from(at - begin).expect("a chunk is no larger")];
        file.read_exact(chunk)?;
        for (index, _) in chunk.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = begin + index as u64 + 1;
            // The end of the last line begins no other.
            if after == end && lines > 0 {
                continue;
            }
            if left <= 1 {
                return Ok(if lines == 0 { end } else { after });
            }
            left -= 1;
        }
        at = begin;
    }
    Ok(if lines == 0 { end } else { 0 })
}

#[cfg(test)]
mod tests;
