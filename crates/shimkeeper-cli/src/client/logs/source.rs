// SPDX-License-Identifier: Apache-2.0
//! Kept output as it comes, for whoever follows it: in pieces, until the container is over and all of it was read.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::log::Log;
use crate::failure::Failure;
use crate::kept::{Begin, Item, Plain, Reader, Stream, Sync, Watch, is_written};

/// How long the driver may take to write what there was at the container's end.
const AFTER_END: Duration = Duration::from_secs(15);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// How long shims take to pass on the last of a terminal's output, and that is more than enough.
const QUIET: Duration = Duration::from_millis(200);

/// A part of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) struct Piece {
    /// When it was written; not known of plain files.
    pub(in crate::client) at: Option<SystemTime>,
    pub(in crate::client) stream: Stream,
    pub(in crate::client) bytes: Vec<u8>,
}

/// The output of one container.
#[derive(Debug)]
pub(in crate::client) struct Source {
    from: From,
    watch: Watch,
    /// Once the container is over.
    last: Option<Last>,
}

/// The wait for the end of the output.
#[derive(Debug)]
struct Last {
    deadline: Instant,
    /// Since when nothing has come.
    quiet: Instant,
    sync: Option<Sync>,
}

#[derive(Debug)]
enum From {
    Kept(PathBuf, Reader),
    File(Plain),
}

impl Source {
    pub(in crate::client) fn open(log: &Log, begin: Begin) -> Result<Self, Failure> {
        let (Log::Kept(path) | Log::File(path)) = log;
        let open = || {
            // Before anything is read, so that nothing comes unnoticed in between.
            let watch = Watch::on(path)?;
            let from = match log {
                Log::Kept(dir) => From::Kept(dir.clone(), Reader::open(dir, begin)?),
                Log::File(path) => From::File(Plain::open(path, begin)?),
            };
            Ok(Self { from, watch, last: None })
        };
        open().map_err(|error| {
            let what = format!("read the output in {}", path.display());
            Failure::io(what, &error, "it is readable for root; if it is gone, so is what was kept")
        })
    }

    /// What there is now; nothing if that is all for now.
    pub(in crate::client) fn now(&mut self) -> io::Result<Vec<Piece>> {
        match &mut self.from {
            From::Kept(_, reader) => Ok(reader.more()?.into_iter().map(Piece::of).collect()),
            From::File(plain) => {
                let bytes = plain.more()?;
                let piece = Some(Piece { at: None, stream: Stream::Out, bytes });
                Ok(piece.filter(|piece| !piece.bytes.is_empty()).into_iter().collect())
            }
        }
    }

    /// What comes next; `None` when `over` and all of it was told.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(in crate::client) async fn next(
        &mut self,
        over: &CancellationToken,
    ) -> io::Result<Option<Vec<Piece>>> {
        loop {
            // Looked at before reading, so that nothing comes in between.
            let ended = over.is_cancelled() && self.has_ended();
            let pieces = self.now()?;
            if !pieces.is_empty() {
                self.last = None;
                return Ok(Some(pieces));
            }
            if ended {
                return Ok(None);
            }
            if over.is_cancelled() {
                // Nothing tells when the driver has answered.
                tokio::time::sleep(LOOK).await;
            } else {
                tokio::select! {
                    changed = self.watch.changed() => changed?,
                    () = over.cancelled() => {}
                }
            }
        }
    }

    /// Whether all that the container has written can be read. It is over.
    fn has_ended(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last.get_or_insert(Last { deadline: now + AFTER_END, quiet: now, sync: None });
        match &self.from {
            From::Kept(dir, _) if is_written(dir) => {
                let sync = last.sync.get_or_insert_with(|| Sync::ask(dir));
                (sync.is_done() && now > last.quiet + QUIET) || now > last.deadline
            }
            From::Kept(..) => true,
            // Written by the shim itself.
            From::File(_) => now > last.quiet + QUIET,
        }
    }
}

impl Piece {
    fn of(item: Item) -> Self {
        match item {
            Item::Entry(entry) => Self { at: Some(entry.at), stream: entry.stream, bytes: entry.bytes() },
            Item::Gap => Self {
                at: None,
                stream: Stream::Lost,
                bytes: b"what was removed before it could be read\n".to_vec(),
            },
        }
    }
}
