// SPDX-License-Identifier: Apache-2.0
//! The end of a connection: told once, and the same to all who wait for it or come later. Every connection has one, and
//! most of them are waited for by two, so it is kept small.

use std::sync::OnceLock;

use tokio::sync::Notify;

use crate::error::CloseReason;

/// Whether a connection has ended, and why.
#[derive(Debug, Default)]
pub(super) struct End {
    reason: OnceLock<CloseReason>,
    told: Notify,
}

impl End {
    /// It has ended. The first reason counts.
    pub(super) fn tell(&self, reason: CloseReason) {
        if self.reason.set(reason).is_ok() {
            self.told.notify_waiters();
        }
    }

    /// Why it has ended, if it has.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.reason.get().cloned()
    }

    /// Waits for it. Cancel safe, and for any number of waiters.
    pub(super) async fn come(&self) -> CloseReason {
        loop {
            // Before looking: it hears of what is told from now on, waited for or not.
            let told = self.told.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            told.await;
        }
    }
}
