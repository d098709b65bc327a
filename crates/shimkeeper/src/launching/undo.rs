// SPDX-License-Identifier: Apache-2.0
//! Undoing a creation that did not come as far as a supervisor: nothing was created in the bundle yet, so ending what
//! was launched and removing files is all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shimkeeper_shim::{Address, Bundle};

use super::Draft;
use crate::reap;

/// Wait between two tries to end what does not end.
const RETRY: Duration = Duration::from_secs(5);

/// Removes a bundle that nothing was launched for.
pub(super) struct UndoBundle(Option<Arc<Bundle>>);

impl UndoBundle {
    pub(super) fn new(bundle: Arc<Bundle>) -> Self {
        Self(Some(bundle))
    }

    pub(super) fn defuse(&mut self) {
        self.0 = None;
    }
}

impl Drop for UndoBundle {
    fn drop(&mut self) {
        if let Some(bundle) = self.0.take()
            && let Err(error) = bundle.remove()
        {
            tracing::warn!(
                namespace = %bundle.key().namespace, task = %bundle.key().id, %error,
                "a half-made bundle could not be removed"
            );
        }
    }
}

impl Draft {
    /// Ends whatever the launch left running, and removes the bundle. While something does not end, the id stays
    /// taken, and it is tried again in the background.
    pub(super) async fn undo_launch(self) {
        if self.try_undo().await {
            return;
        }
        let (scope, detach) = (self.env.scope.clone(), self.env.scope.detach_token().clone());
        let again = async move {
            loop {
                tokio::time::sleep(RETRY).await;
                if self.try_undo().await {
                    return;
                }
            }
        };
        scope.spawn(async move { detach.run_until_cancelled(again).await });
    }

    /// Whether nothing is left. The reservation goes with `self`, last: the id is free then.
    async fn try_undo(&self) -> bool {
        let key = self.bundle.key();
        let patience = self.deadlines.signal;
        let Some(mut sockets) = reap::end_launch(&self.bundle, self.incarnation, patience).await else {
            tracing::error!(
                namespace = %key.namespace, task = %key.id,
                "what was launched does not end, not even by SIGKILL: the id stays taken"
            );
            return false;
        };
        if self.join.is_none() {
            sockets.extend(self.announced.as_ref().and_then(Address::path).map(Path::to_owned));
        }
        if let Err(reason) = reap::remove(&self.env, &self.bundle, sockets, self.join.is_none()).await {
            tracing::warn!(
                namespace = %key.namespace, task = %key.id, %reason,
                "a half-made bundle could not be removed"
            );
            return false;
        }
        true
    }
}
