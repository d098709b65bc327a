// SPDX-License-Identifier: Apache-2.0
//! Events on their way to the journal. Bounded, so that a disk that hangs costs events and not memory: what does not
//! fit is counted where it would have been.

use std::collections::VecDeque;
use std::sync::Arc;

use shimkeeper_events::Envelope;

/// Most events that wait, and most bytes of them. A disk has to hang for long to let it come to this.
const MOST: (usize, usize) = (16 * 1024, 16 << 20);

/// So many that no more are waited for.
const LONG: usize = 1024;

/// What waits, in order.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Part>,
    events: usize,
    bytes: usize,
    /// How many events have come in so far.
    came: u64,
}

/// A piece of the backlog.
#[derive(Debug)]
pub(super) enum Part {
    /// Events, in order.
    Events(Vec<Arc<Envelope>>),
    /// So many did not fit.
    Missed(u64),
}

impl Backlog {
    /// Puts an event behind the others.
    pub(super) fn push(&mut self, event: &Arc<Envelope>) {
        self.came += 1;
        let bytes = event.queue_bytes();
        if self.events >= MOST.0 || self.bytes + bytes > MOST.1 {
            match self.waiting.back_mut() {
                Some(Part::Missed(count)) => *count += 1,
                _ => self.waiting.push_back(Part::Missed(1)),
            }
            return;
        }
        (self.events, self.bytes) = (self.events + 1, self.bytes + bytes);
        match self.waiting.back_mut() {
            Some(Part::Events(events)) => events.push(event.clone()),
            _ => self.waiting.push_back(Part::Events(vec![event.clone()])),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether there is so much of it that it is to be taken out.
    pub(super) fn is_long(&self) -> bool {
        self.events >= LONG || self.bytes >= MOST.1 / 16
    }

    /// How many events have come in so far, wherever they are now.
    pub(super) fn came(&self) -> u64 {
        self.came
    }

    /// Takes everything out; with it comes the number of events that came in until now.
    pub(super) fn take(&mut self) -> (VecDeque<Part>, u64) {
        (self.events, self.bytes) = (0, 0);
        (std::mem::take(&mut self.waiting), self.came)
    }
}

impl Part {
    /// How many events it stands for.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Events(events) => events.len() as u64,
            Self::Missed(count) => *count,
        }
    }
}

#[cfg(test)]
mod tests {
    use shimkeeper_core::TaskKey;

    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_in_its_place() {
        let event = Arc::new(Envelope::process_started(
            &TaskKey::parse("ns", "a").unwrap(),
            &shimkeeper_core::ProcessKey::Init,
            1,
        ));
        let mut backlog = Backlog::default();
        for _ in 0..MOST.0 + 3 {
            backlog.push(&event);
        }
        let (parts, came) = backlog.take();
        let lengths: Vec<_> = parts.iter().map(Part::len).collect();
        assert_eq!((lengths, came), (vec![MOST.0 as u64, 3], MOST.0 as u64 + 3));
        assert!(matches!(parts[1], Part::Missed(3)));
        backlog.push(&event);
        let (parts, came) = backlog.take();
        assert!(matches!(&parts[0], Part::Events(events) if events.len() == 1), "there is room again");
        assert_eq!(came, MOST.0 as u64 + 4);
    }
}
