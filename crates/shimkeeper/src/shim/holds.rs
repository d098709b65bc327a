// SPDX-License-Identifier: Apache-2.0
//! Who wants to decide a shim's fate, in the order of asking. Shared by the shim, where they ask, and its supervisor,
//! which grants; once that is gone nobody asks any more. Every task has one and hardly ever uses it, so it takes no
//! memory before somebody does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot};

use super::{Permit, lock};

/// Where they ask.
pub(super) struct Holds(Arc<Line>);

/// Where the supervisor finds them. Dropping it turns away who waits, and who comes.
pub(crate) struct HoldRequests(Arc<Line>);

struct Line {
    /// `None` once there is no supervisor.
    waiting: Mutex<Option<VecDeque<oneshot::Sender<Permit>>>>,
    came: Notify,
}

/// Both ends of a new line.
pub(super) fn line() -> (Holds, HoldRequests) {
    let line = Arc::new(Line { waiting: Mutex::new(Some(VecDeque::new())), came: Notify::new() });
    (Holds(line.clone()), HoldRequests(line))
}

impl Holds {
    /// Asks for the permit; `None` if nobody grants any more. Who leaves before it comes is granted it in vain.
    pub(super) fn ask(&self) -> Option<oneshot::Receiver<Permit>> {
        let (grant, granted) = oneshot::channel();
        lock(&self.0.waiting).as_mut()?.push_back(grant);
        self.0.came.notify_one();
        Some(granted)
    }
}

impl HoldRequests {
    /// The next who asks. Cancel safe.
    pub(crate) async fn next(&mut self) -> oneshot::Sender<Permit> {
        loop {
            let next = lock(&self.0.waiting).as_mut().and_then(VecDeque::pop_front);
            match next {
                Some(grant) => return grant,
                None => self.0.came.notified().await,
            }
        }
    }
}

impl Drop for HoldRequests {
    fn drop(&mut self) {
        let turned_away = lock(&self.0.waiting).take();
        // Outside of the lock: whoever waits is woken by this.
        drop(turned_away);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Fate, Link, State};
    use crate::waiting::Watched;

    fn permit() -> Permit {
        Permit::new(Arc::new(Watched::new(State::Held(Link::Up), Arc::default())), Fate::Keep).0
    }

    #[tokio::test]
    async fn they_are_granted_in_the_order_of_asking() {
        let (holds, mut requests) = line();
        let (mut first, mut second) = (holds.ask().unwrap(), holds.ask().unwrap());
        assert!(requests.next().await.send(permit()).is_ok());
        assert!(first.try_recv().is_ok() && second.try_recv().is_err());
        assert!(requests.next().await.send(permit()).is_ok());
        assert!(second.try_recv().is_ok());
    }

    #[tokio::test]
    async fn who_asks_later_wakes_who_grants() {
        let (holds, mut requests) = line();
        let ask = async {
            tokio::task::yield_now().await;
            holds.ask().unwrap().await.is_ok()
        };
        let grant = async { requests.next().await.send(permit()).is_ok() };
        assert_eq!(tokio::join!(ask, grant), (true, true));
    }

    #[tokio::test]
    async fn without_a_supervisor_nobody_waits() {
        let (holds, requests) = line();
        let waiting = holds.ask().unwrap();
        drop(requests);
        assert!(waiting.await.is_err());
        assert!(holds.ask().is_none());
    }
}
