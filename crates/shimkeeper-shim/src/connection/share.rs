// SPDX-License-Identifier: Apache-2.0
//! A share of a wire: one shim may serve several tasks, each of which hangs up by itself. The last one to do so
//! closes the wire.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use shimkeeper_core::Namespace;
use tokio::sync::Notify;

use super::TaskClient;
use crate::Address;

/// One task's share. Dropping it hangs up.
#[derive(Debug)]
pub(super) struct Share {
    wire: Arc<Wire>,
    has_hung_up: AtomicBool,
    over: Notify,
    /// Who is told of its end.
    listener: OnceLock<Arc<Notify>>,
}

#[derive(Debug)]
struct Wire {
    client: TaskClient,
    namespace: Namespace,
    address: Address,
    /// Shares that have not hung up. Once it is zero it stays so.
    shares: AtomicUsize,
}

impl Share {
    pub(super) fn first(client: TaskClient, namespace: Namespace, address: Address) -> Self {
        let wire = Arc::new(Wire { client, namespace, address, shares: AtomicUsize::new(1) });
        Self::of(wire)
    }

    fn of(wire: Arc<Wire>) -> Self {
        let (has_hung_up, over, listener) = (AtomicBool::new(false), Notify::new(), OnceLock::new());
        Self { wire, has_hung_up, over, listener }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.wire.namespace
    }

    pub(super) fn address(&self) -> &Address {
        &self.wire.address
    }

    /// Notifies who waits for `listener` when this share ends, or the wire. There is one.
    pub(super) fn tell_end(&self, listener: &Arc<Notify>) {
        if self.listener.set(listener.clone()).is_err() {
            return;
        }
        self.wire.client.tell_end(listener.clone());
        if self.has_hung_up() {
            listener.notify_waiters();
        }
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
        if let Some(listener) = self.listener.get() {
            listener.notify_waiters();
        }
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
