// SPDX-License-Identifier: Apache-2.0
//! Who wants to decide a shim's fate, in the order of asking: until its supervisor, which grants, is gone. Every task has
//! this and hardly ever uses it, so it takes no memory before somebody does.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::oneshot;

use super::{Permit, lock};
use crate::rare::Rare;

/// Those who wait; `None` once nobody grants any more.
pub(super) struct Holds(Mutex<Option<Rare<VecDeque<oneshot::Sender<Permit>>>>>);

impl Holds {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Some(Rare::NONE)))
    }

    /// Asks for the permit; `None` if nobody grants any more. Who leaves before it comes is granted it in vain. The
    /// supervisor is to be told.
    pub(super) fn ask(&self) -> Option<oneshot::Receiver<Permit>> {
        let (grant, granted) = oneshot::channel();
        lock(&self.0).as_mut()?.make().push_back(grant);
        Some(granted)
    }

    /// The next who asks.
    pub(super) fn next(&self) -> Option<oneshot::Sender<Permit>> {
        let mut queue = lock(&self.0);
        let waiting = queue.as_mut()?;
        let next = waiting.get_mut()?.pop_front();
        if next.is_none() {
            waiting.take();
        }
        next
    }

    /// Turns away who waits, and who comes.
    pub(super) fn close(&self) {
        let turned_away = lock(&self.0).take();
        // Outside of the lock: whoever waits is woken by this.
        drop(turned_away);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::machine::{Fate, Link, State};
    use crate::waiting::Watched;

    fn permit() -> Permit {
        Permit::new(Arc::new(Watched::new(State::Held(Link::Up), Arc::default())), Fate::Keep).0
    }

    #[test]
    fn they_are_granted_in_the_order_of_asking() {
        let holds = Holds::new();
        assert!(holds.next().is_none());
        let (mut first, mut second) = (holds.ask().unwrap(), holds.ask().unwrap());
        assert!(holds.next().unwrap().send(permit()).is_ok());
        assert!(first.try_recv().is_ok() && second.try_recv().is_err());
        assert!(holds.next().unwrap().send(permit()).is_ok());
        assert!(second.try_recv().is_ok() && holds.next().is_none());
    }

    #[tokio::test]
    async fn without_a_supervisor_nobody_waits() {
        let holds = Holds::new();
        let waiting = holds.ask().unwrap();
        holds.close();
        assert!(waiting.await.is_err());
        assert!(holds.ask().is_none() && holds.next().is_none());
    }
}
