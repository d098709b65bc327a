// SPDX-License-Identifier: Apache-2.0
//! Reading the journal from a number on, and going on live: every number is accounted for once, as an event, as a gap,
//! or as one that the filters leave out.
//!
//! Who reads slowly is not ended: it reads from disk what did not fit into its queue, and is told what the journal has
//! forgotten by then.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZero;
use std::sync::Arc;

use shimkeeper_events::{Ended, Envelope, Filters, Gap, Replay, Replayed, SubscribeError, Subscription};
use shimkeeper_shim::elsewhere_or_here;
use tokio::task::JoinHandle;

use crate::error::{Cause, Error, Refused, Step};
use crate::journaling::Journaling;

/// Events read from disk at a time.
const CHUNK: usize = 256;

/// The task events after some number: those that were kept, then those that come.
pub struct EventsSince {
    journaling: Arc<Journaling>,
    filters: Filters,
    source: Source,
    /// Ready to be handed out.
    ready: VecDeque<Replayed>,
    /// The last number accounted for in `ready` and before.
    read: u64,
    /// The last number accounted for in what was handed out.
    position: u64,
}

/// Where the next events come from.
enum Source {
    /// From disk; then from the subscription.
    Disk(JoinHandle<Result<Chunk, Cause>>),
    Tail(Subscription),
    Ended,
}

/// A piece of what was on disk.
struct Chunk {
    items: Vec<Replayed>,
    read: u64,
    rest: Option<Replay>,
    tail: Subscription,
}

impl EventsSince {
    /// Begins after a number, or now.
    pub(crate) async fn begin(
        journaling: &Arc<Journaling>,
        filters: Filters,
        since: Option<u64>,
    ) -> Result<Self, Error> {
        journaling.readable().await.map_err(refused)?;
        if since.is_none() {
            // What was published before now is not to come as something new. A disk that hangs is waited for below.
            journaling.settled().await;
        }
        let chunk = from_disk(journaling, &filters, since).await.map_err(panicked)?.map_err(refused)?;
        let mut this = Self {
            journaling: journaling.clone(),
            filters,
            source: Source::Ended,
            ready: VecDeque::new(),
            read: since.unwrap_or(chunk.read),
            position: since.unwrap_or(chunk.read),
        };
        this.take_in(chunk);
        Ok(this)
    }

    /// The next event, or the news that some are missing. `None` once the manager has left.
    ///
    /// An event without a number ([`Envelope::sequence`]) could not be kept; it comes this once.
    ///
    /// # Errors
    /// If the journal cannot be read; there is nothing more then. Begin again after [`EventsSince::position`].
    ///
    /// # Cancel safety
    /// Cancel safe: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Replayed>, Error> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                self.position = match &item {
                    _ if self.ready.is_empty() => self.read,
                    Replayed::Gap(gap) => gap.to,
                    Replayed::Event(event) => event.sequence().map_or(self.position, NonZero::get),
                };
                return Ok(Some(item));
            }
            match &mut self.source {
                Source::Disk(reading) => {
                    let chunk = reading.await.map_err(panicked).and_then(|read| read.map_err(refused));
                    // Whatever becomes of it, it has been taken.
                    self.source = Source::Ended;
                    match chunk {
                        Ok(chunk) => self.take_in(chunk),
                        Err(error) if has_left(&error) => return Ok(None),
                        Err(error) => return Err(error),
                    }
                }
                Source::Tail(tail) => match tail.next().await {
                    Ok(Some(event)) => self.take_in_live(event),
                    Ok(None) => self.source = Source::Ended,
                    Err(Ended::TooSlow { .. }) => {
                        let reading = from_disk(&self.journaling, &self.filters, Some(self.read));
                        self.source = Source::Disk(reading);
                    }
                },
                Source::Ended => return Ok(None),
            }
        }
    }

    /// The number after which to begin again: everything up to it was handed out, is missing, or did not pass the
    /// filters.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn take_in(&mut self, chunk: Chunk) {
        self.ready.extend(chunk.items);
        self.read = chunk.read;
        self.source = match chunk.rest {
            Some(rest) => Source::Disk(read_on(rest, self.filters.clone(), chunk.tail)),
            None => Source::Tail(chunk.tail),
        };
        self.note_skipped();
    }

    fn take_in_live(&mut self, event: Arc<Envelope>) {
        if let Some(number) = event.sequence().map(NonZero::get) {
            if number <= self.read {
                return;
            }
            if number > self.read + 1 {
                self.ready.push_back(Replayed::Gap(Gap { from: self.read + 1, to: number - 1 }));
            }
            self.read = number;
        }
        if self.filters.matches(&*event) {
            self.ready.push_back(Replayed::Event(event));
        }
        self.note_skipped();
    }

    /// What the filters left out is behind us too, once nothing before it waits.
    fn note_skipped(&mut self) {
        if self.ready.is_empty() {
            self.position = self.read;
        }
    }
}

impl fmt::Debug for EventsSince {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsSince")
            .field("position", &self.position)
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

fn from_disk(
    journaling: &Arc<Journaling>,
    filters: &Filters,
    since: Option<u64>,
) -> JoinHandle<Result<Chunk, Cause>> {
    let (journaling, filters) = (journaling.clone(), filters.clone());
    elsewhere_or_here(move || {
        let (replay, tail) = journaling.read(since)?;
        chunk(replay, &filters, tail)
    })
}

fn read_on(replay: Replay, filters: Filters, tail: Subscription) -> JoinHandle<Result<Chunk, Cause>> {
    elsewhere_or_here(move || chunk(replay, &filters, tail))
}

fn chunk(mut replay: Replay, filters: &Filters, tail: Subscription) -> Result<Chunk, Cause> {
    let mut items = Vec::new();
    for _ in 0..CHUNK {
        match replay.next().transpose()? {
            Some(Replayed::Event(event)) if !filters.matches(&*event) => {}
            Some(item) => items.push(item),
            None => return Ok(Chunk { items, read: replay.position(), rest: None, tail }),
        }
    }
    Ok(Chunk { items, read: replay.position(), rest: Some(replay), tail })
}

fn refused(cause: impl Into<Cause>) -> Error {
    Error::new(Step::Events, cause)
}

fn panicked(join: tokio::task::JoinError) -> Error {
    Error::io(Step::Events, "read", crate::journaling::DIRECTORY, std::io::Error::other(join))
}

fn has_left(error: &Error) -> bool {
    matches!(error.cause(), Cause::Refused(Refused::Detaching) | Cause::Subscribe(SubscribeError::Closed))
}

#[cfg(test)]
mod tests;
