// SPDX-License-Identifier: Apache-2.0
//! Events with numbers, kept on disk, so that who was away can catch up or is told exactly what it missed.
//!
//! A [`Journal`] has no thread and no clock: whoever owns it calls [`Journal::append`] with a batch and the
//! time, from a place that may block. It owns its directory, and a lock on it. What is appended outlives its
//! owner; and a crash of the machine too, if every batch is synced ([`Journal::open`]). Else the kernel writes
//! it within half a minute or so, and what such a crash takes is a gap ([`Journal::open_unsynced`]).
//!
//! ```text
//! <dir>/00000000000000000001.v1.events    records from number 1 on; closed when full
//! <dir>/00000000000000004711.v1.events    the one being appended to
//! <dir>/floor                             no number up to this one is ever given again
//! ```
//!
//! Numbers only grow, over failures, restarts and damaged files. A number that is on no readable record is a
//! gap: nothing else marks it, so a gap cannot fail to be recorded. An owner that dies without closing its journal
//! may have had events that were never appended: one number is left out where that happened; and after a crash of
//! the machine all those that records without a sync may have had. `floor` is what keeps numbers from being given
//! twice where no record bears witness: it is written before records are cut off or removed, and in place, so that
//! it can be written when the disk is full. `segment` reads and cuts files, `record` is their format,
//! `replay` reads them back, `dir` opens them safely.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::envelope::Envelope;

mod dir;
mod error;
mod floor;
mod record;
mod replay;
mod segment;

use dir::Directory;
pub use error::{Gap, JournalError};
use floor::Floor;
use record::Header;
pub use replay::{Replay, Replayed};
use segment::Segment;

/// How much a journal keeps: it forgets its oldest events when it has more bytes or older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    max_bytes: u64,
    segment_bytes: u64,
    max_age: Duration,
}

/// How many numbers are reserved at a time for records that are not synced.
const RESERVE: u64 = 4096;

/// Events with numbers, on disk. Every method may block on the file system.
#[derive(Debug)]
pub struct Journal {
    dir: Directory,
    floor: Floor,
    limits: JournalLimits,
    is_synced: bool,
    /// Oldest first. The last is the one being appended to if `active` holds its file.
    segments: VecDeque<Segment>,
    active: Option<File>,
    /// The next number to give.
    next: u64,
}

// === impl JournalLimits ===

impl JournalLimits {
    /// Less than this could not hold a few of the largest events.
    const MIN_BYTES: u64 = 8 << 20;

    /// Limits in bytes (at least 8 MiB, to hold a few events of the largest size) and in age. Files are
    /// dropped as a whole, so up to an eighth of the bytes may be gone earlier, and events stay until the
    /// newest in their file is too old.
    pub fn new(max_bytes: u64, max_age: Duration) -> Self {
        let max_bytes = max_bytes.max(Self::MIN_BYTES);
        Self { max_bytes, segment_bytes: (max_bytes / 8).max(2 << 20), max_age }
    }
}

impl Default for JournalLimits {
    /// 32 MiB, seven days.
    fn default() -> Self {
        Self::new(32 << 20, Duration::from_hours(7 * 24))
    }
}

// === impl Journal ===

impl Journal {
    /// Opens the journal in a directory, which is made (mode 0700) if it is not there; its parent must be.
    /// What a crash left half written is cut off. Every batch will be synced.
    ///
    /// # Errors
    /// [`JournalError`], among others if another process has this journal open.
    pub fn open(path: &Path, limits: JournalLimits) -> Result<Self, JournalError> {
        Self::open_in(path, limits, None)
    }

    /// The same, but batches are left to the kernel to write. `boot` tells this boot of the machine from others.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_unsynced(path: &Path, limits: JournalLimits, boot: &str) -> Result<Self, JournalError> {
        // Any number but the one for no boot.
        Self::open_in(path, limits, Some(1 + u64::from(crc32fast::hash(boot.as_bytes()))))
    }

    fn open_in(path: &Path, limits: JournalLimits, boot: Option<u64>) -> Result<Self, JournalError> {
        let dir = Directory::open(path)?;
        let mut floor = Floor::open(&dir)?;
        let (segments, highest) = segment::recover(&dir, &mut floor)?;
        let active = match segments.back() {
            Some(last) => Some(dir.open_file(&last.name())?),
            None => None,
        };
        let last = floor.take_closed(highest.max(floor.value()), boot)?;
        Ok(Self {
            dir,
            floor,
            limits,
            is_synced: boot.is_none(),
            segments,
            active,
            next: last.saturating_add(1),
        })
    }

    /// Closes the journal after everything there was for it has been appended. A journal that is only dropped leaves
    /// a gap of one number, for what its owner may have had for it still.
    ///
    /// # Errors
    /// [`JournalError`] if that cannot be noted; it counts as dropped then.
    pub fn close(mut self) -> Result<(), JournalError> {
        if let Err(error) = self.leave_file() {
            // The records need not be there to bear witness.
            self.floor.raise(self.last())?;
            return Err(error);
        }
        self.floor.note_closed(self.last())
    }

    /// The last number given; 0 if none was ever.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// Bytes of records on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// Gives every event of a batch its number ([`Envelope::sequence`]) and writes them, with one fsync if they are to be
    /// synced (more only where a file is full in between). Says which numbers they have, in the order of the batch.
    ///
    /// # Errors
    /// [`JournalError::Append`], which says which of the batch are not on disk: a gap from then on. They may
    /// be handed to subscribers all the same. The next batch is tried afresh.
    pub fn append(&mut self, batch: &[Arc<Envelope>], now: SystemTime) -> Result<Range<u64>, JournalError> {
        // What cannot be removed now is tried again with the next batch; these events come first.
        let _ = self.prune(now);
        let first = self.next;
        let written = seconds(now);
        let mut chunk = Vec::new();
        for event in batch {
            let body = event.wire();
            let grown = (chunk.len() + record::size(&body)) as u64 + self.active_len();
            if grown > self.limits.segment_bytes && grown > record::size(&body) as u64 {
                self.flush(&mut chunk, batch, first)?;
                // What cannot be synced any more is a gap after a crash of the machine, and none without.
                let _ = self.leave_file();
            }
            record::encode(&mut chunk, self.next, written, &body);
            self.next += 1;
        }
        self.flush(&mut chunk, batch, first)?;
        number(batch, first);
        Ok(first..self.next)
    }

    /// Gives numbers to events that are lost before they could be appended: a gap.
    ///
    /// # Errors
    /// [`JournalError`] if it cannot be noted: until the next event is kept, a restart would not know of the gap.
    pub fn skip(&mut self, events: u64) -> Result<(), JournalError> {
        self.next += events;
        self.floor.raise(self.last())
    }

    /// Everything after the number `since` (0: everything), to be read independently of this journal.
    ///
    /// # Errors
    /// [`JournalError::Ahead`] if `since` was never given: whoever asks knows another journal.
    pub fn replay(&self, since: u64) -> Result<Replay, JournalError> {
        if since > self.last() {
            return Err(JournalError::Ahead { since, last: self.last() });
        }
        let wanted = self.segments.iter().filter(|segment| segment.last > since);
        let files = wanted
            .map(|segment| Ok((self.dir.open_file(&segment.name())?, segment.clone())))
            .collect::<Result<_, JournalError>>()?;
        Ok(Replay::new(self.dir.path(), files, since, self.last()))
    }

    /// Forgets what is too old. Appending does it too; a journal that is rarely appended to is asked now and
    /// then.
    ///
    /// # Errors
    /// [`JournalError`] if a file cannot be removed; it is tried again next time.
    pub fn prune(&mut self, now: SystemTime) -> Result<(), JournalError> {
        let oldest = seconds(now).saturating_sub(self.limits.max_age.as_secs());
        while self.segments.front().is_some_and(|segment| segment.len > 0 && segment.newest < oldest) {
            self.remove_oldest()?;
        }
        Ok(())
    }

    fn active_len(&self) -> u64 {
        self.active.as_ref().and(self.segments.back()).map_or(0, |segment| segment.len)
    }

    /// Writes a chunk of records, the last of which has the number before `next`.
    fn flush(
        &mut self,
        chunk: &mut Vec<u8>,
        batch: &[Arc<Envelope>],
        first: u64,
    ) -> Result<(), JournalError> {
        let Some(header) = Header::parse(chunk) else { return Ok(()) };
        let result = self.write(chunk, &header);
        chunk.clear();
        result.map_err(|error| self.lose(error, batch, first, header.sequence))
    }

    /// Appends no more to the file that was appended to.
    fn leave_file(&mut self) -> Result<(), JournalError> {
        match (self.active.take(), self.segments.back()) {
            (Some(file), Some(segment)) if !self.is_synced => {
                file.sync_data().map_err(|source| self.dir.error("sync", &segment.name(), source))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, chunk: &[u8], header: &Header) -> Result<(), JournalError> {
        if !self.is_synced && self.last() > self.floor.reserve() {
            self.floor.raise_reserve(self.last() + RESERVE)?;
        }
        self.make_room(chunk.len() as u64)?;
        if self.active.is_none() {
            let segment = Segment::new(header.sequence);
            let file = self.dir.create_file(&segment.name())?;
            self.segments.push_back(segment);
            self.active = Some(file);
            self.dir.sync()?;
        }
        let (Some(file), Some(segment)) = (&self.active, self.segments.back_mut()) else { return Ok(()) };
        file.write_all_at(chunk, segment.len)
            .and_then(|()| if self.is_synced { file.sync_data() } else { Ok(()) })
            .map_err(|source| self.dir.error("write", &segment.name(), source))?;
        segment.len += chunk.len() as u64;
        segment.last = self.next - 1;
        segment.newest = segment.newest.max(header.written);
        Ok(())
    }

    /// Cleans up after a failed write. The numbers from `from` on are given and lost.
    fn lose(&mut self, error: JournalError, batch: &[Arc<Envelope>], first: u64, from: u64) -> JournalError {
        let to = first + batch.len() as u64 - 1;
        self.next = to + 1;
        // After a failed write or fsync nobody knows what the file holds: cut it and never touch it again.
        // If not even that works, its records still say what they are, and its end is found by reading.
        if let (Some(file), Some(segment)) = (self.active.take(), self.segments.back()) {
            let _ = file.set_len(segment.len);
            if segment.len == 0 && self.dir.remove_file(&segment.name()).is_ok() {
                self.segments.pop_back();
            }
        }
        if self.floor.raise(to).is_ok() {
            number(batch, first);
        }
        JournalError::Append { first, lost: Gap { from, to }, source: Box::new(error) }
    }

    fn make_room(&mut self, bytes: u64) -> Result<(), JournalError> {
        while self.bytes() + bytes > self.limits.max_bytes && self.segments.len() > 1 {
            self.remove_oldest()?;
        }
        Ok(())
    }

    fn remove_oldest(&mut self) -> Result<(), JournalError> {
        let Some(oldest) = self.segments.front() else { return Ok(()) };
        // With the last record goes the witness of its number.
        self.floor.raise(oldest.last)?;
        self.dir.remove_file(&oldest.name())?;
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.active = None;
        }
        Ok(())
    }
}

fn number(batch: &[Arc<Envelope>], first: u64) {
    for (event, sequence) in batch.iter().zip(first..) {
        event.number(sequence);
    }
}

/// Whole seconds since 1970: all that ages need.
fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
