// SPDX-License-Identifier: Apache-2.0
//! Ways to wait that take little memory: every task is waited for in several ways, for all of its life.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use tokio::sync::Notify;

use crate::sync::lock;

/// What was begun and goes on while other things are waited for; in a box, as little of it is needed for long.
pub(crate) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Waits until `look` finds something. It looks anew whenever all who wait are told to.
///
/// # Cancel safety
/// Yes.
#[expect(
    clippy::manual_async_fn,
    reason = "one has room for its arguments twice, and each shim has this future"
)]
pub(crate) fn until<T>(changed: &Notify, mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    async move {
        loop {
            // Before looking: it hears of what changes from now on, waited for or not.
            let told = changed.notified();
            if let Some(found) = look() {
                return found;
            }
            told.await;
        }
    }
}

/// A value that can be waited for. Several may share what tells of their changes, so that who waits for any of them waits
/// once.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Arc<Notify>,
}

impl<T: Copy> Watched<T> {
    pub(crate) fn new(value: T, changed: Arc<Notify>) -> Self {
        Self { value: Mutex::new(value), changed }
    }

    pub(crate) fn get(&self) -> T {
        *lock(&self.value)
    }

    /// Sets it, and tells those who wait.
    pub(crate) fn set(&self, value: T) {
        *lock(&self.value) = value;
        self.changed.notify_waiters();
    }

    /// Waits until it is one that was meant, and answers that.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn until(&self, mut is_meant: impl FnMut(T) -> bool) -> T {
        until(&self.changed, || Some(self.get()).filter(|value| is_meant(*value))).await
    }
}

/// Runs what was begun, if anything was.
///
/// # Cancel safety
/// Yes: it goes on where it was.
pub(crate) fn run_or_pend<F: Future + Unpin>(work: &mut Option<F>) -> impl Future<Output = F::Output> {
    poll_fn(|context| match work {
        Some(work) => Pin::new(work).poll(context),
        None => Poll::Pending,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_that_shares_its_news_is_seen_to_change() {
        let changed = Arc::new(Notify::new());
        let (a, b) = (Watched::new(1, changed.clone()), Watched::new(1, changed));
        let waiting = async { (a.until(|value| value > 2).await, b.get()) };
        let changing = async {
            for value in 2..4 {
                b.set(value);
                tokio::task::yield_now().await;
                a.set(value);
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(tokio::join!(waiting, changing).0, (3, 3));
        assert_eq!(a.until(|value| value == 3).await, 3, "and at once if it is so already");
    }
}
