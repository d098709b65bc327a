// SPDX-License-Identifier: Apache-2.0
//! A share of a wire: one shim may serve several tasks, each of which hangs up by itself. The last one to do so
//! closes the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::TaskClient;

/// One task's share. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct Share {
    wire: Arc<Wire>,
    has_hung_up: AtomicBool,
    over: Notify,
}

#[derive(Debug)]
struct Wire {
    client: TaskClient,
    /// Shares that have not hung up. Once it is zero it stays so.
    shares: AtomicUsize,
}

impl Share {
    pub(super) fn first(client: TaskClient) -> Self {
        let wire = Arc::new(Wire { client, shares: AtomicUsize::new(1) });
        Self::of(wire)
    }

    fn of(wire: Arc<Wire>) -> Self {
        Self { wire, has_hung_up: AtomicBool::new(false), over: Notify::new() }
    }

    /// One more; `None` once the last one has hung up.
    pub(super) fn another(&self) -> Option<Self> {
        let add = |shares: usize| (shares > 0).then_some(shares + 1);
        self.wire.shares.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok()?;
        Some(Self::of(self.wire.clone()))
    }

    pub(super) fn hang_up(&self) {
        if self.has_hung_up.swap(true, Ordering::AcqRel) {
            return;
        }
        self.over.notify_waiters();
        if self.wire.shares.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wire.client.close();
        }
    }

    pub(super) fn has_hung_up(&self) -> bool {
        self.has_hung_up.load(Ordering::Acquire)
    }

    pub(super) async fn hung_up(&self) {
        // Before looking: it hears of a hanging up from now on, waited for or not.
        let over = self.over.notified();
        if !self.has_hung_up() {
            over.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.hang_up();
    }
}
