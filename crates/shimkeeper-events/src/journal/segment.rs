// SPDX-License-Identifier: Apache-2.0
//! The files of records: their names, and what is found in them after a restart.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use super::JournalError;
use super::dir::Directory;
use super::floor::Floor;
use super::record::{self, HEADER, Header};

const SUFFIX: &str = ".v1.events";

/// A file of records, as far as it is known to be good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The number of its first record, and its name.
    pub(super) first: u64,
    /// The number of its last record; the one before `first` if there is none.
    pub(super) last: u64,
    /// When the newest record was written, in seconds since 1970.
    pub(super) newest: u64,
    /// Bytes of good records.
    pub(super) len: u64,
}

/// What is in a file.
struct Scan {
    segment: Segment,
    /// The highest number that anything in the file, good or not, may have.
    highest: u64,
    /// Whether there is something behind the last good record.
    torn: bool,
}

// === impl Segment ===

impl Segment {
    /// An empty one whose first record will have this number.
    pub(super) fn new(first: u64) -> Self {
        Self { first, last: first.saturating_sub(1), newest: 0, len: 0 }
    }

    pub(super) fn name(&self) -> String {
        format!("{:020}{SUFFIX}", self.first)
    }

    fn from_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(SUFFIX)?;
        let ours = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        let first = digits.parse().ok().filter(|first| ours && *first > 0)?;
        Some(Self::new(first))
    }
}

/// Finds the segments, oldest first, and the highest number they witness. What a crash left at the end of the
/// last one is cut off, after the floor was raised above every number it may have had.
pub(super) fn recover(dir: &Directory, floor: &mut Floor) -> Result<(VecDeque<Segment>, u64), JournalError> {
    let mut found: Vec<_> = dir.names()?.iter().filter_map(|name| Segment::from_name(name)).collect();
    found.sort_unstable_by_key(|segment| segment.first);
    let newest = found.last().map(|segment| segment.first);
    let (mut segments, mut highest) = (VecDeque::new(), 0);
    for empty in found {
        let name = empty.name();
        let file = dir.open_file(&name)?;
        let is_last = Some(empty.first) == newest;
        let scan = scan(&file, empty, is_last).map_err(|source| dir.error("read", &name, source))?;
        // Numbers in files before the last are below those in the last.
        highest = if is_last { scan.highest } else { highest };
        if is_last && scan.torn {
            floor.raise(highest)?;
            file.set_len(scan.segment.len)
                .and_then(|()| file.sync_data())
                .map_err(|source| dir.error("cut", &name, source))?;
        }
        segments.push_back(scan.segment);
    }
    Ok((segments, highest))
}

/// Reads the headers of a file up to the first that is none. With `check_end`, a last record whose body is
/// damaged counts as torn; elsewhere a damaged body is for replay to find.
fn scan(file: &File, mut segment: Segment, check_end: bool) -> io::Result<Scan> {
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    reader.seek(SeekFrom::Start(0))?;
    let mut highest = segment.last;
    while len - segment.len >= HEADER as u64 {
        let mut bytes = [0; HEADER];
        reader.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes).filter(|header| header.sequence > segment.last);
        let Some(header) = header else { break };
        let end = segment.len + header.size();
        highest = header.sequence;
        if end > len || (check_end && end == len && !body_is_good(&mut reader, &header)?) {
            return Ok(Scan { segment, highest, torn: true });
        }
        if end < len {
            reader.seek_relative(i64::try_from(header.rest()).unwrap_or(i64::MAX))?;
        }
        segment = Segment {
            last: header.sequence,
            newest: segment.newest.max(header.written),
            len: end,
            ..segment
        };
    }
    // Behind the last good header may be as many records as fit there.
    let rest = len - segment.len;
    highest = highest.max(segment.last.saturating_add(rest.div_ceil(record::MIN as u64)));
    Ok(Scan { segment, highest, torn: rest > 0 })
}

fn body_is_good(reader: &mut impl Read, header: &Header) -> io::Result<bool> {
    let mut rest = vec![0; header.rest()];
    reader.read_exact(&mut rest)?;
    Ok(record::body(&rest).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_none_of_ours() {
        let segment = Segment::new(4711);
        assert_eq!(segment.name(), "00000000000000004711.v1.events");
        assert_eq!(Segment::from_name(&segment.name()), Some(segment));
        let others = [
            "floor",
            ".v1.events",
            "4711.v1.events",
            "00000000000000000000.v1.events",
            "+0000000000000000001.v1.events",
        ];
        for name in others {
            assert_eq!(Segment::from_name(name), None, "{name}");
        }
    }
}
