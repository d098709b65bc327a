// SPDX-License-Identifier: Apache-2.0
//! The right to decide a shim's fate, and who wants it, in the order of asking: until its supervisor, which grants, is
//! gone. Every task has this and hardly ever uses it, so it takes no memory before somebody does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

use crate::machine::{Fate, State};
use crate::rare::Rare;
use crate::sync::lock;
use crate::waiting::Watched;

/// The right to decide a shim's fate; one at a time.
#[must_use = "a permit that is dropped decides for what it was made with"]
pub(crate) struct Permit {
    settle: Option<oneshot::Sender<Fate>>,
    state: Arc<Watched<State>>,
    on_drop: Fate,
}

/// What the supervisor receives from a permit.
pub(crate) type Settlement = oneshot::Receiver<Fate>;

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

impl Permit {
    /// A permit and its other end. A permit that is dropped decides `on_drop`.
    pub(crate) fn new(state: Arc<Watched<State>>, on_drop: Fate) -> (Self, Settlement) {
        let (settle, settlement) = oneshot::channel();
        (Self { settle: Some(settle), state, on_drop }, settlement)
    }

    /// The same permit, which decides that the shim lives on when it is dropped.
    pub(crate) fn keeping(mut self) -> Self {
        self.on_drop = Fate::Keep;
        self
    }

    /// Decides that the shim lives on, without waiting for that to be noticed.
    pub(crate) fn keep(self) {
        drop(self.keeping());
    }

    /// Decides. Waits until a shim that has to go is over, or stuck on its way; answers the state then.
    pub(crate) async fn settle(mut self, fate: Fate) -> State {
        if let Some(settle) = self.settle.take() {
            // The supervisor is gone only after a detach; then there is nothing left to decide.
            let _ = settle.send(fate);
        }
        let is_decided = |state| match state {
            State::Gone(_) | State::Quarantined => true,
            State::Serving | State::Unreachable => fate == Fate::Keep,
            State::Held(_) | State::Ending | State::Reaping | State::Removing => false,
        };
        self.state.until(is_decided).await
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            let _ = settle.send(self.on_drop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Link;

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
