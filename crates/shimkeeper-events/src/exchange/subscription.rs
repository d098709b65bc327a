// SPDX-License-Identifier: Apache-2.0
//! One subscriber: its bounded queue, and the end by which it takes events out.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use shimkeeper_core::{HasKind, Kind};

use super::Exchange;
use crate::envelope::Envelope;
use crate::filter::Filters;

/// How much may wait for a subscriber before it counts as too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events.
    pub events: usize,
    /// Bytes of events. One event is always let in, so that an event larger than this is not the end.
    pub bytes: usize,
}

/// Why a subscription ended, other than by the exchange being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The subscriber let its queue run full. Everything before the error was delivered, without a gap;
    /// whatever came after is lost to it.
    #[error(
        "the subscriber was too slow: {queued} events of {queued_bytes} bytes were waiting \
         ({} events of {} bytes are allowed)", limits.events, limits.bytes
    )]
    TooSlow {
        /// Events that waited when the next one did not fit.
        queued: usize,
        /// Their size in bytes.
        queued_bytes: usize,
        /// What was allowed.
        limits: Limits,
    },
}

/// A subscription to an exchange. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    exchange: Exchange,
    slot: Arc<Slot>,
}

/// What became of an event offered to a subscriber, and who has to be told.
pub(super) enum Offer {
    Taken(Option<Waker>),
    TooSlow(Option<Waker>),
    Gone,
}

/// The part of a subscription that the exchange knows.
#[derive(Debug)]
pub(super) struct Slot {
    filters: Filters,
    limits: Limits,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    events: VecDeque<(Arc<Envelope>, usize)>,
    bytes: usize,
    end: End,
    waker: Option<Waker>,
}

/// Whether more will come, and if not, why.
#[derive(Clone, Copy, Debug)]
enum End {
    Open,
    Closed,
    TooSlow(Ended),
    Left,
}

// === impl Limits ===

impl Default for Limits {
    /// 4096 events, 4 MiB.
    fn default() -> Self {
        Self { events: 4096, bytes: 4 << 20 }
    }
}

// === impl Subscription ===

impl Subscription {
    pub(super) fn new(exchange: Exchange, slot: Arc<Slot>) -> Self {
        Self { exchange, slot }
    }

    /// The next event; `None` once the exchange is closed and everything before was taken.
    ///
    /// # Errors
    /// [`Ended::TooSlow`] once everything that was queued is taken, and at every call after.
    ///
    /// # Cancel safety
    /// Cancel safe: an event is taken out only when it is returned.
    pub async fn next(&mut self) -> Result<Option<Arc<Envelope>>, Ended> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// [`Subscription::next`] for those who write their own futures and streams.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Arc<Envelope>>, Ended>> {
        let mut queue = self.slot.lock();
        match queue.take() {
            Poll::Pending => {
                match &mut queue.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            ready @ Poll::Ready(_) => ready,
        }
    }

    /// An event that is there already, without waiting; `None` if none is, or there will be none.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Envelope>>, Ended> {
        match self.slot.lock().take() {
            Poll::Ready(taken) => taken,
            Poll::Pending => Ok(None),
        }
    }

    /// How many events wait.
    pub fn queued(&self) -> usize {
        self.slot.depth().0
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let left = self.slot.leave();
        self.exchange.leave(&self.slot);
        // Outside of every lock: the last reference to an event may go with it.
        drop(left);
    }
}

// === impl Slot ===

impl Slot {
    pub(super) fn new(filters: Filters, limits: Limits) -> Self {
        let queue = Queue { events: VecDeque::new(), bytes: 0, end: End::Open, waker: None };
        Self { filters, limits, queue: Mutex::new(queue) }
    }

    pub(super) fn wants(&self, event: &Envelope) -> bool {
        self.filters.matches(event)
    }

    pub(super) fn offer(&self, event: &Arc<Envelope>, bytes: usize) -> Offer {
        let mut queue = self.lock();
        if !matches!(queue.end, End::Open) {
            return Offer::Gone;
        }
        let full =
            queue.events.len() >= self.limits.events || queue.bytes.saturating_add(bytes) > self.limits.bytes;
        if full && !queue.events.is_empty() {
            let ended =
                Ended::TooSlow { queued: queue.events.len(), queued_bytes: queue.bytes, limits: self.limits };
            queue.end = End::TooSlow(ended);
            return Offer::TooSlow(queue.waker.take());
        }
        queue.events.push_back((Arc::clone(event), bytes));
        queue.bytes += bytes;
        Offer::Taken(queue.waker.take())
    }

    /// Puts in what was there before the subscriber, within no limits of its own.
    pub(super) fn welcome(&self, event: &Arc<Envelope>) {
        let mut queue = self.lock();
        let bytes = event.queue_bytes();
        queue.events.push_back((Arc::clone(event), bytes));
        queue.bytes += bytes;
    }

    /// Lets no more in; what is queued stays.
    pub(super) fn close(&self) -> Option<Waker> {
        let mut queue = self.lock();
        if matches!(queue.end, End::Open) {
            queue.end = End::Closed;
        }
        queue.waker.take()
    }

    /// How many events wait, and their bytes.
    pub(super) fn depth(&self) -> (usize, usize) {
        let queue = self.lock();
        (queue.events.len(), queue.bytes)
    }

    /// Lets no more in and hands out what was queued, to be dropped elsewhere.
    fn leave(&self) -> VecDeque<(Arc<Envelope>, usize)> {
        let mut queue = self.lock();
        queue.end = End::Left;
        queue.bytes = 0;
        std::mem::take(&mut queue.events)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Queue ===

impl Queue {
    fn take(&mut self) -> Poll<Result<Option<Arc<Envelope>>, Ended>> {
        if let Some((event, bytes)) = self.events.pop_front() {
            self.bytes -= bytes;
            if self.events.is_empty() {
                // A burst must not keep its memory for the life of the subscription.
                self.events.shrink_to(64);
            }
            return Poll::Ready(Ok(Some(event)));
        }
        match self.end {
            End::Open => Poll::Pending,
            End::Closed | End::Left => Poll::Ready(Ok(None)),
            End::TooSlow(ended) => Poll::Ready(Err(ended)),
        }
    }
}

impl HasKind for Ended {
    fn kind(&self) -> Kind {
        match self {
            Self::TooSlow { .. } => Kind::ResourceExhausted,
        }
    }
}
