// SPDX-License-Identifier: Apache-2.0
//! An end that comes once, and everybody who is told of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::sync::lock;

/// The end of something. What it came by is for its owner to keep, who has it before the end is told.
#[derive(Debug, Default)]
pub struct End {
    has_come: AtomicBool,
    told: Notify,
    /// Who else is told, and looks for what it was.
    listeners: Mutex<Vec<Arc<Notify>>>,
}

impl End {
    /// It has come; told the first time.
    pub fn come(&self) {
        if !self.has_come.swap(true, Ordering::AcqRel) {
            self.told.notify_waiters();
            for listener in lock(&self.listeners).drain(..) {
                listener.notify_waiters();
            }
        }
    }

    /// Whether it has come.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire)
    }

    /// Notifies those who wait for `listener`, maybe for something else as well, when it comes; at once if it has.
    pub fn tell(&self, listener: Arc<Notify>) {
        let mut listeners = lock(&self.listeners);
        if self.has_come() {
            return listener.notify_waiters();
        }
        // Those that nobody else has are gone. Mostly it is the only one.
        listeners.retain(|listener| Arc::strong_count(listener) > 1);
        listeners.reserve_exact(1);
        listeners.push(listener);
    }

    /// Waits for it; at once if it has come.
    ///
    /// # Cancel safety
    /// Cancel safe, and for any number of waiters.
    pub async fn reached(&self) {
        // Before looking: it hears of what is told from now on, waited for or not.
        let told = self.told.notified();
        if !self.has_come() {
            told.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_comes_before_or_after_is_told_and_who_is_gone_is_forgotten() {
        let end = End::default();
        let [early, late] = [(); 2].map(|()| Arc::new(Notify::new()));
        end.tell(Arc::default());
        end.tell(early.clone());
        assert_eq!(lock(&end.listeners).len(), 1);
        tokio::join!(biased; early.notified(), end.reached(), async { end.come() });
        let told = late.notified();
        end.tell(late.clone());
        told.await;
        end.reached().await;
    }
}
