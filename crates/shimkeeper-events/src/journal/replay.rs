// SPDX-License-Identifier: Apache-2.0
//! Reads a journal back, and says what is missing.
//!
//! A replay holds its own open files: the journal may be appended to and may forget files meanwhile. It ends
//! with the last event there was when it was asked for; who subscribes first and replays then, and leaves out
//! live events whose number it has seen, misses nothing and gets nothing twice.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use shimkeeper_proto::containerd::types::Envelope as WireEnvelope;

use super::error::{Gap, JournalError};
use super::record::{self, HEADER, Header};
use super::segment::Segment;
use crate::envelope::Envelope;

/// An event, or the news that events are missing.
#[derive(Debug)]
pub enum Replayed {
    /// An event, with its number ([`Envelope::sequence`]).
    Event(Arc<Envelope>),
    /// These are not in the journal: lost, damaged, or already forgotten.
    Gap(Gap),
}

/// The events after some number, in order, every number accounted for exactly once. Reading blocks.
#[derive(Debug)]
pub struct Replay {
    dir: PathBuf,
    files: VecDeque<(File, Segment)>,
    open: Option<Open>,
    /// An event that waits for the gap before it to be told.
    held: Option<(u64, Envelope)>,
    /// The last number accounted for.
    at: u64,
    /// The last number there was.
    end: u64,
}

/// The file being read.
#[derive(Debug)]
struct Open {
    reader: BufReader<io::Take<File>>,
    segment: Segment,
}

impl Replay {
    pub(super) fn new(dir: &Path, files: VecDeque<(File, Segment)>, since: u64, end: u64) -> Self {
        Self { dir: dir.to_owned(), files, open: None, held: None, at: since, end }
    }

    /// The last number accounted for so far.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next undamaged event after `at`.
    fn read(&mut self) -> Result<Option<(u64, Envelope)>, JournalError> {
        loop {
            let Some(open) = &mut self.open else {
                let Some((file, segment)) = self.files.pop_front() else { return Ok(None) };
                let reader = BufReader::with_capacity(64 * 1024, file.take(segment.len));
                self.open = Some(Open { reader, segment });
                continue;
            };
            match open.record() {
                Ok(Some((sequence, Some(event)))) if sequence > self.at => {
                    return Ok(Some((sequence, event)));
                }
                // Damaged, or before what was asked for.
                Ok(Some(_)) => {}
                Ok(None) => self.open = None,
                Err(source) => {
                    let path = self.dir.join(open.segment.name());
                    return Err(JournalError::File { verb: "read", path, source });
                }
            }
        }
    }

    fn step(&mut self) -> Result<Option<Replayed>, JournalError> {
        let next = match self.held.take() {
            Some(held) => Some(held),
            None => self.read()?,
        };
        let reached = next.as_ref().map_or(self.end.saturating_add(1), |(sequence, _)| *sequence);
        if reached > self.at + 1 {
            let gap = Gap { from: self.at + 1, to: reached - 1 };
            (self.at, self.held) = (gap.to, next);
            return Ok(Some(Replayed::Gap(gap)));
        }
        Ok(next.map(|(sequence, event)| {
            self.at = sequence;
            let event = Arc::new(event);
            event.number(sequence);
            Replayed::Event(event)
        }))
    }
}

impl Iterator for Replay {
    type Item = Result<Replayed, JournalError>;

    /// The next event or gap. An error is the last item: what follows it is not known.
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            (self.at, self.open) = (self.end, None);
            self.files.clear();
        }
        step.transpose()
    }
}

// === impl Open ===

impl Open {
    /// The next record's number, and its event if that is undamaged; `None` at the end of what can be read.
    fn record(&mut self) -> io::Result<Option<(u64, Option<Envelope>)>> {
        let mut bytes = [0; HEADER];
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        self.reader.read_exact(&mut bytes)?;
        let Some(header) = Header::parse(&bytes) else { return Ok(None) };
        let mut rest = vec![0; header.rest()];
        self.reader.read_exact(&mut rest)?;
        let event = record::body(&rest)
            .and_then(|body| WireEnvelope::decode(Bytes::copy_from_slice(body)).ok())
            .and_then(|wire| Envelope::try_from(wire).ok());
        Ok(Some((header.sequence, event)))
    }
}
