// SPDX-License-Identifier: Apache-2.0
//! Hands every event to every subscriber that wants it. Publishing is synchronous and bounded.
//!
//! - Order: all subscribers see the events in one and the same order. `order` is the lock that makes it.
//! - Bounds: each subscriber has its own queue, bounded in events and in bytes. Whoever lets it run full is
//!   ended: it still gets what was queued, then [`Ended::TooSlow`]. Nobody else notices.
//! - Leaving: a broadcast walks a snapshot of the list, and coming and going makes a new list, so a subscriber
//!   that leaves in the middle of a broadcast makes nobody miss an event or get it twice.
//! - Filters are asked before the lock is taken and wakers are called after it is released, so that neither a
//!   costly filter nor a woken task holds up other publishers.
//! - Expecting: after a start, those who listened before are not back yet. For as long as the exchange expects them,
//!   what is published for them too is handed first to everyone who subscribes.
//!
//! The exchange owns the list; each subscription shares its `Slot` with the exchange and owns nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shimkeeper_core::{HasKind, Kind};

use crate::envelope::Envelope;
use crate::filter::Filters;

mod subscription;

pub use subscription::{Ended, Limits, Subscription};
use subscription::{Offer, Slot};

/// Where events go in and out. Cheap to clone; every clone is the same exchange.
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Inner>);

/// What an exchange has done so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events published.
    pub published: u64,
    /// Events put into a subscriber's queue, counted once per subscriber.
    pub delivered: u64,
    /// Subscribers ended for being too slow.
    pub ended_too_slow: u64,
    /// Subscribers there are now.
    pub subscribers: usize,
    /// Events now waiting in queues.
    pub queued: usize,
    /// What these events count for, in bytes. An event waiting in two queues counts twice.
    pub queued_bytes: usize,
}

/// Why there is no subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The exchange is closed.
    #[error("the event exchange is closed")]
    Closed,
    /// There are as many subscribers as the exchange allows.
    #[error("there are already {max} event subscribers, and no more are allowed")]
    TooMany {
        /// How many are allowed.
        max: usize,
    },
}

type List = Arc<[Arc<Slot>]>;

/// Events for those who are expected to subscribe; at most as many as a queue holds by default.
#[derive(Debug, Default)]
struct Expected {
    events: Vec<Arc<Envelope>>,
    bytes: usize,
}

#[derive(Debug)]
struct Inner {
    max_subscribers: usize,
    /// The subscribers; `None` once closed. Locked only to look at the list or to change it.
    list: Mutex<Option<List>>,
    /// Held while one event is put into the queues, and while a subscriber is let in. Taken before `list` and before a
    /// slot's lock. What is in it is for those who are expected; `None` if nobody is.
    order: Mutex<Option<Expected>>,
    published: AtomicU64,
    delivered: AtomicU64,
    ended_too_slow: AtomicU64,
}

// === impl Exchange ===

impl Exchange {
    /// Subscribers an exchange allows unless told otherwise. Many more than anybody needs, so that one client with too
    /// many keeps no other from subscribing; idle, each is some hundred bytes.
    pub const DEFAULT_MAX_SUBSCRIBERS: usize = 16 << 10;

    /// An exchange without subscribers.
    pub fn new() -> Self {
        Self::with_max_subscribers(Self::DEFAULT_MAX_SUBSCRIBERS)
    }

    /// An exchange that allows at most this many subscribers at a time, which with their limits bounds what
    /// it can ever hold.
    pub fn with_max_subscribers(max_subscribers: usize) -> Self {
        Self(Arc::new(Inner {
            max_subscribers,
            list: Mutex::new(Some(Arc::from([]))),
            order: Mutex::new(None),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            ended_too_slow: AtomicU64::new(0),
        }))
    }

    /// Hands an event to every subscriber whose filters it passes, and says to how many. Never waits for
    /// one; may be called from anywhere. On a closed exchange nobody gets it.
    pub fn publish(&self, event: &Arc<Envelope>) -> usize {
        let Some(list) = self.snapshot() else { return 0 };
        self.0.published.fetch_add(1, Ordering::Relaxed);
        if list.is_empty() {
            return 0;
        }
        let interested: Vec<&Arc<Slot>> = list.iter().filter(|slot| slot.wants(event)).collect();
        let order = self.0.order();
        self.offer(order, event, &interested)
    }

    /// Expects subscribers from now on: what is published for them too ([`Exchange::publish_to_expected`]) is handed
    /// first to everyone who subscribes, until [`Exchange::expect_no_more`].
    pub fn expect(&self) {
        self.0.order().get_or_insert_default();
    }

    /// Ends what [`Exchange::expect`] began.
    pub fn expect_no_more(&self) {
        let expected = self.0.order().take();
        // Outside of the lock: the last reference to an event may go with it.
        drop(expected);
    }

    /// Publishes an event as [`Exchange::publish`] does, and for those who are expected, if the exchange expects any.
    pub fn publish_to_expected(&self, event: &Arc<Envelope>) -> usize {
        let mut order = self.0.order();
        let Some(expected) = order.as_mut() else {
            drop(order);
            return self.publish(event);
        };
        expected.push(event);
        // Looked at under the lock, so that everyone has it either from here or at the subscription.
        let Some(list) = self.snapshot() else { return 0 };
        self.0.published.fetch_add(1, Ordering::Relaxed);
        let interested: Vec<&Arc<Slot>> = list.iter().filter(|slot| slot.wants(event)).collect();
        self.offer(order, event, &interested)
    }

    fn offer(
        &self,
        order: MutexGuard<'_, Option<Expected>>,
        event: &Arc<Envelope>,
        interested: &[&Arc<Slot>],
    ) -> usize {
        let (delivered, too_slow) = put(event, interested, order);
        self.0.delivered.fetch_add(delivered as u64, Ordering::Relaxed);
        if !too_slow.is_empty() {
            self.0.ended_too_slow.fetch_add(too_slow.len() as u64, Ordering::Relaxed);
            self.0.forget(|slot| too_slow.iter().any(|gone| Arc::ptr_eq(gone, slot)));
        }
        delivered
    }

    /// A subscription to what is published from now on and passes the filters.
    ///
    /// # Errors
    /// [`SubscribeError`] if the exchange is closed or has all the subscribers it allows.
    pub fn subscribe(&self, filters: Filters, limits: Limits) -> Result<Subscription, SubscribeError> {
        let order = self.0.order();
        let mut guard = self.0.list.lock().unwrap_or_else(PoisonError::into_inner);
        let list = guard.as_ref().ok_or(SubscribeError::Closed)?;
        if list.len() >= self.0.max_subscribers {
            return Err(SubscribeError::TooMany { max: self.0.max_subscribers });
        }
        let slot = Arc::new(Slot::new(filters, limits));
        for event in order.iter().flat_map(|expected| &expected.events) {
            if slot.wants(event) {
                slot.welcome(event);
            }
        }
        *guard = Some(list.iter().cloned().chain([Arc::clone(&slot)]).collect());
        Ok(Subscription::new(self.clone(), slot))
    }

    /// Whether anybody subscribes now.
    pub fn has_subscribers(&self) -> bool {
        self.snapshot().is_some_and(|list| !list.is_empty())
    }

    /// Closes the exchange: subscribers get what is queued, then the end. Idempotent.
    pub fn close(&self) {
        let list = self.0.list.lock().unwrap_or_else(PoisonError::into_inner).take();
        let order = self.0.order();
        let wakers: Vec<_> = list.iter().flat_map(|list| list.iter()).map(|slot| slot.close()).collect();
        drop(order);
        wakers.into_iter().flatten().for_each(std::task::Waker::wake);
    }

    /// What has been done so far, and is queued now.
    pub fn counters(&self) -> Counters {
        let list = self.snapshot().unwrap_or_else(|| Arc::from([]));
        let (queued, queued_bytes) = list
            .iter()
            .map(|slot| slot.depth())
            .fold((0, 0), |(events, bytes), depth| (events + depth.0, bytes + depth.1));
        Counters {
            published: self.0.published.load(Ordering::Relaxed),
            delivered: self.0.delivered.load(Ordering::Relaxed),
            ended_too_slow: self.0.ended_too_slow.load(Ordering::Relaxed),
            subscribers: list.len(),
            queued,
            queued_bytes,
        }
    }

    /// Takes a subscriber that has left off the list.
    fn leave(&self, slot: &Arc<Slot>) {
        self.0.forget(|other| Arc::ptr_eq(other, slot));
    }

    fn snapshot(&self) -> Option<List> {
        self.0.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Puts an event into the queues, and then wakes those who wait. Says how many have it, and who was too slow.
fn put<'a>(
    event: &Arc<Envelope>,
    interested: &[&'a Arc<Slot>],
    order: MutexGuard<'_, Option<Expected>>,
) -> (usize, Vec<&'a Arc<Slot>>) {
    let (mut delivered, mut too_slow, mut wakers) = (0, Vec::new(), Vec::new());
    let bytes = event.queue_bytes();
    for slot in interested {
        match slot.offer(event, bytes) {
            Offer::Taken(waker) => {
                delivered += 1;
                wakers.extend(waker);
            }
            Offer::TooSlow(waker) => {
                too_slow.push(*slot);
                wakers.extend(waker);
            }
            Offer::Gone => {}
        }
    }
    drop(order);
    wakers.into_iter().for_each(std::task::Waker::wake);
    (delivered, too_slow)
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Expected ===

impl Expected {
    fn push(&mut self, event: &Arc<Envelope>) {
        let (limits, bytes) = (Limits::default(), event.queue_bytes());
        if self.events.len() < limits.events && self.bytes + bytes <= limits.bytes {
            self.events.push(Arc::clone(event));
            self.bytes += bytes;
        }
    }
}

// === impl Inner ===

impl Inner {
    fn order(&self) -> MutexGuard<'_, Option<Expected>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, gone: impl Fn(&Arc<Slot>) -> bool) {
        let mut guard = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = guard.as_ref() {
            *guard = Some(list.iter().filter(|slot| !gone(slot)).cloned().collect());
        }
    }
}

impl HasKind for SubscribeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Closed => Kind::Unavailable,
            Self::TooMany { .. } => Kind::ResourceExhausted,
        }
    }
}

#[cfg(test)]
mod tests;
