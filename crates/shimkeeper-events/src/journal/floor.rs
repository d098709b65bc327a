// SPDX-License-Identifier: Apache-2.0
//! The floor under the numbers: no number up to it is ever given again.
//!
//! ```text
//! floor · floor · closed at · reserve · reserve · boot          sixteen bytes each: number, crc32 of it, zeros
//! ```
//! What is raised has two slots, written in turn, so that a torn write leaves the other. The reserve is the floor for
//! who finds the journal after a crash of the machine, which may have taken records that were not synced; `boot` says
//! which boot they were written in. The file never grows after it was made: it can be written when the disk is full.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::dir::Directory;
use super::{JournalError, dir};

const NAME: &str = "floor";
const SLOT: usize = 16;
const SLOTS: usize = 6;
/// The slot of the number the journal was closed at.
const CLOSED: usize = 2;
/// In its place while the journal is open. In one that is new there is a zero, as if it had been closed before it had any
/// event.
const OPEN: u64 = u64::MAX;
/// The slot of the boot in which records were written that are not synced.
const BOOT: usize = 5;
/// In its place where all are.
const NO_BOOT: u64 = 0;

/// What the file says.
#[derive(Debug)]
pub(super) struct Floor {
    slots: Slots,
    value: Raised,
    reserve: Raised,
    closed: Option<u64>,
    boot: Option<u64>,
}

/// The open file.
#[derive(Debug)]
struct Slots {
    file: File,
    path: PathBuf,
}

/// A number that never sinks.
#[derive(Debug)]
struct Raised {
    value: u64,
    /// The slot that holds it; the other is written next.
    slot: usize,
    other: usize,
}

impl Floor {
    pub(super) fn open(dir: &Directory) -> Result<Self, JournalError> {
        let file = dir.open_or_create_file(NAME)?;
        let error = |source| dir.error("read", NAME, source);
        let mut bytes = [0; SLOTS * SLOT];
        let len = file.metadata().map_err(error)?.len();
        if len < bytes.len() as u64 {
            // Earlier versions had fewer.
            let there = usize::try_from(len).unwrap_or(0) / SLOT;
            let made = file.write_all_at(&slot(0).repeat(SLOTS - there), (there * SLOT) as u64);
            made.and_then(|()| file.sync_all()).map_err(|source| dir.error("write", NAME, source))?;
            dir.sync()?;
        }
        file.read_exact_at(&mut bytes, 0).map_err(error)?;
        let said: Vec<_> = bytes.chunks_exact(SLOT).map(read).collect();
        Ok(Self {
            slots: Slots { file, path: dir.path().join(NAME) },
            value: Raised::of(&said, 0, 1),
            reserve: Raised::of(&said, 3, 4),
            closed: said[CLOSED],
            boot: said[BOOT],
        })
    }

    /// Notes that the journal is open from now on, in this boot of the machine if what is kept is not synced. Answers the
    /// number after which to go on where `last` is the highest that is known to have been given: that one, if the journal
    /// was closed after it, with everything that its owner had for it; else one that leaves out what nobody knows of.
    pub(super) fn take_closed(&mut self, last: u64, boot: Option<u64>) -> Result<u64, JournalError> {
        let mut from = last;
        if self.closed != Some(last) {
            let is_of_this_boot = boot.is_some() && self.boot == boot;
            let given = if is_of_this_boot { last } else { last.max(self.reserve()) };
            from = given.saturating_add(1);
            self.raise(from)?;
        }
        let boot = boot.unwrap_or(NO_BOOT);
        if self.boot != Some(boot) {
            self.slots.write(BOOT, boot)?;
            self.boot = Some(boot);
        }
        self.note_closed(OPEN)?;
        Ok(from)
    }

    /// Notes that the journal was closed after this number.
    pub(super) fn note_closed(&mut self, last: u64) -> Result<(), JournalError> {
        if self.closed != Some(last) {
            self.slots.write(CLOSED, last)?;
            self.closed = Some(last);
        }
        Ok(())
    }

    pub(super) fn value(&self) -> u64 {
        self.value.value
    }

    /// Raises the floor to `value`, durably; it never sinks.
    pub(super) fn raise(&mut self, value: u64) -> Result<(), JournalError> {
        self.value.raise(value, &self.slots)
    }

    /// Up to which number records need not be synced.
    pub(super) fn reserve(&self) -> u64 {
        self.reserve.value
    }

    /// Raises that, likewise.
    pub(super) fn raise_reserve(&mut self, value: u64) -> Result<(), JournalError> {
        self.reserve.raise(value, &self.slots)
    }
}

impl Slots {
    fn write(&self, into: usize, value: u64) -> Result<(), JournalError> {
        let written = self.file.write_all_at(&slot(value), (into * SLOT) as u64);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| dir::file_error("write", self.path.clone(), source))
    }
}

impl Raised {
    fn of(said: &[Option<u64>], first: usize, second: usize) -> Self {
        let (value, slot) =
            [(said[first], first), (said[second], second)].into_iter().max().unwrap_or_default();
        Self { value: value.unwrap_or(0), slot, other: first + second - slot }
    }

    fn raise(&mut self, value: u64, slots: &Slots) -> Result<(), JournalError> {
        if value > self.value {
            slots.write(self.other, value)?;
            self.value = value;
            std::mem::swap(&mut self.slot, &mut self.other);
        }
        Ok(())
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
