// SPDX-License-Identifier: Apache-2.0
//! Appends to the last file, begins the next, removes the first. What finds no room is counted, and told once there is.
//! A file ends with a line, so that the oldest one does not begin within one.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::entry::{Stream, append};
use super::{LOCK, Settings, file, numbers};

/// How long the driver of an earlier task may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The one that writes there; nobody else does until it is dropped.
#[derive(Debug)]
pub(super) struct Writer {
    settings: Settings,
    number: u64,
    file: File,
    size: u64,
    /// Which streams are within a line.
    within: [bool; 2],
    /// Bytes that were not kept and not told of yet.
    lost: u64,
    _lock: File,
}

impl Writer {
    /// Begins a new file, after those that are there.
    pub(super) fn open(settings: Settings) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&settings.dir)?;
        let lock = File::options().create(true).append(true).mode(0o600).open(settings.dir.join(LOCK))?;
        let begun = Instant::now();
        while let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if errno != Errno::INTR && (errno != Errno::WOULDBLOCK || begun.elapsed() > PATIENCE) {
                return Err(errno.into());
            }
            std::thread::park_timeout(LOOK);
        }
        let number = numbers(&settings.dir)?.last().map_or(1, |last| last + 1);
        let file = begin(&settings, number)?;
        Ok(Self { settings, number, file, size: 0, within: [false; 2], lost: 0, _lock: lock })
    }

    /// Keeps what was written at once to a stream, or counts it as lost.
    pub(super) fn keep(&mut self, at: SystemTime, stream: Stream, written: &[u8]) {
        let mut batch = Batch { at, lines: Vec::with_capacity(written.len() + 64), bytes: 0 };
        let mut line = Vec::new();
        for part in written.split_inclusive(|byte| *byte == b'\n') {
            line.clear();
            append(&mut line, at, stream, part);
            if self.is_full((batch.lines.len() + line.len()) as u64) {
                self.write(&mut batch);
                if self.begin_next().is_err() {
                    self.lost += part.len() as u64;
                    continue;
                }
            }
            batch.lines.extend_from_slice(&line);
            batch.bytes += part.len() as u64;
            self.within[usize::from(stream == Stream::Err)] = !part.ends_with(b"\n");
        }
        self.write(&mut batch);
    }

    /// Whether so much more belongs into the next file.
    fn is_full(&self, more: u64) -> bool {
        let (size, limit) = (self.size + more, self.settings.size);
        let lines_end = self.within == [false; 2];
        self.size > 0 && ((lines_end && size > limit) || size > 2 * limit)
    }

    fn begin_next(&mut self) -> io::Result<()> {
        // The new one first: without it the old one goes on.
        self.file = begin(&self.settings, self.number + 1)?;
        (self.number, self.size, self.within) = (self.number + 1, 0, [false; 2]);
        Ok(())
    }

    /// Writes the batch, with what is to be told before it, and empties it.
    fn write(&mut self, batch: &mut Batch) {
        if batch.bytes == 0 {
            return;
        }
        let mut lines = Vec::new();
        if self.lost > 0 {
            append(&mut lines, batch.at, Stream::Lost, format!("{} bytes\n", self.lost).as_bytes());
        }
        lines.append(&mut batch.lines);
        if self.file.write_all(&lines).is_ok() {
            (self.size, self.lost) = (self.size + lines.len() as u64, 0);
        } else {
            self.lost += batch.bytes;
            // A part of a line is worse than none.
            let _ = self.file.set_len(self.size);
        }
        batch.bytes = 0;
    }
}

/// Lines that go into a file together.
#[derive(Debug)]
struct Batch {
    at: SystemTime,
    lines: Vec<u8>,
    /// What is in them of what was written.
    bytes: u64,
}

/// Makes the file of this number, and removes those that are too many then.
fn begin(settings: &Settings, number: u64) -> io::Result<File> {
    let path = file(&settings.dir, number);
    let file = File::options().create_new(true).append(true).mode(0o600).open(path)?;
    let kept_from = (number + 1).saturating_sub(settings.files.into());
    for old in numbers(&settings.dir)?.into_iter().filter(|old| *old < kept_from) {
        std::fs::remove_file(self::file(&settings.dir, old))?;
    }
    Ok(file)
}
