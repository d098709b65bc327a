// SPDX-License-Identifier: Apache-2.0
//! The floor under the numbers: no number up to it is ever given again.
//!
//! Two slots of sixteen bytes (number, crc32 of it, zeros), written in turn, so that a torn write leaves the
//! other; and a third that says at which number the journal was closed, and none while it is open. The file
//! never grows after it was made: it can be written when the disk is full.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::dir::Directory;
use super::{JournalError, dir};

const NAME: &str = "floor";
const SLOT: usize = 16;
/// The slot of the number the journal was closed at.
const CLOSED: usize = 2;
/// In the place of that number while the journal is open. In one that is new there is a zero, as if it had been closed
/// before it had any event.
const OPEN: u64 = u64::MAX;

/// The open file and what it says.
#[derive(Debug)]
pub(super) struct Floor {
    file: File,
    path: std::path::PathBuf,
    value: u64,
    /// The slot that holds `value`; the other is written next.
    slot: usize,
    closed: Option<u64>,
}

impl Floor {
    pub(super) fn open(dir: &Directory) -> Result<Self, JournalError> {
        let file = dir.open_or_create_file(NAME)?;
        let error = |source| dir.error("read", NAME, source);
        let mut bytes = [0; 3 * SLOT];
        if file.metadata().map_err(error)?.len() < bytes.len() as u64 {
            let made = file.write_all_at(&[slot(0); 3].concat(), 0);
            made.and_then(|()| file.sync_all()).map_err(|source| dir.error("write", NAME, source))?;
            dir.sync()?;
        }
        file.read_exact_at(&mut bytes, 0).map_err(error)?;
        let [first, second, closed] = [0, 1, CLOSED].map(|at| read(&bytes[at * SLOT..]));
        let (value, slot) = [(first, 0), (second, 1)].into_iter().max().unwrap_or_default();
        Ok(Self { file, path: dir.path().join(NAME), value: value.unwrap_or(0), slot, closed })
    }

    /// Notes that the journal is open from now on; says whether it had been closed after this number, with everything
    /// that its owner had for it.
    pub(super) fn take_closed(&mut self, last: u64) -> Result<bool, JournalError> {
        let was_closed = self.closed == Some(last);
        self.note_closed(OPEN)?;
        Ok(was_closed)
    }

    /// Notes that the journal was closed after this number.
    pub(super) fn note_closed(&mut self, last: u64) -> Result<(), JournalError> {
        if self.closed != Some(last) {
            self.write(CLOSED, last)?;
            self.closed = Some(last);
        }
        Ok(())
    }

    pub(super) fn value(&self) -> u64 {
        self.value
    }

    /// Raises the floor to `value`, durably; it never sinks.
    pub(super) fn raise(&mut self, value: u64) -> Result<(), JournalError> {
        if value > self.value {
            let other = 1 - self.slot;
            self.write(other, value)?;
            (self.value, self.slot) = (value, other);
        }
        Ok(())
    }

    fn write(&self, into: usize, value: u64) -> Result<(), JournalError> {
        let written = self.file.write_all_at(&slot(value), (into * SLOT) as u64);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| dir::file_error("write", self.path.clone(), source))
    }
}

fn slot(value: u64) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    let value = value.to_le_bytes();
    slot[..8].copy_from_slice(&value);
    slot[8..12].copy_from_slice(&crc32fast::hash(&value).to_le_bytes());
    slot
}

fn read(slot: &[u8]) -> Option<u64> {
    let (value, rest) = slot.split_first_chunk::<8>()?;
    let crc = rest.first_chunk::<4>()?;
    (crc32fast::hash(value) == u32::from_le_bytes(*crc)).then(|| u64::from_le_bytes(*value))
}
