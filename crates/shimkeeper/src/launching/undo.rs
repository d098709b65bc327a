// SPDX-License-Identifier: Apache-2.0
//! Undoing a creation that did not come as far as a supervisor: nothing was created in the bundle yet, so ending what
//! was launched and removing files is all. While that fails, the id stays taken by a bundle that is looked at again as one
//! that was found would be.

use std::path::Path;
use std::sync::Arc;

use shimkeeper_shim::{Address, Bundle};

use super::Draft;
use crate::env::Env;
use crate::registry::Reservation;
use crate::role::Role;
use crate::{adopt, reap};

/// Removes a bundle that nothing was launched for, and keeps its id until then.
pub(super) struct UndoBundle {
    env: Arc<Env>,
    role: Role,
    bundle: Arc<Bundle>,
    /// None once somebody else answers for the bundle.
    reservation: Option<Reservation>,
    is_defused: bool,
}

impl UndoBundle {
    pub(super) fn new(env: Arc<Env>, role: Role, bundle: Arc<Bundle>, reservation: Reservation) -> Self {
        Self { env, role, bundle, reservation: Some(reservation), is_defused: false }
    }

    pub(super) fn bundle(&self) -> Arc<Bundle> {
        self.bundle.clone()
    }

    /// From here on removing it is not enough.
    pub(super) fn defuse(&mut self) {
        self.is_defused = true;
    }

    /// The id, for whoever answers for the bundle from here on.
    pub(super) fn into_reservation(mut self) -> Reservation {
        self.is_defused = true;
        self.reservation.take().expect("it is given away once")
    }

    fn undo_later(&mut self, reason: &str) {
        let key = self.bundle.key();
        tracing::warn!(
            namespace = %key.namespace, task = %key.id, reason,
            "a half-made bundle could not be removed: the id stays taken until it is"
        );
        if let Some(reservation) = self.reservation.take() {
            adopt::look_again(&self.env, self.role, key.clone(), reservation, reason);
        }
    }
}

impl Drop for UndoBundle {
    fn drop(&mut self) {
        if !self.is_defused
            && let Err(error) = self.bundle.remove()
        {
            self.undo_later(&error.to_string());
        }
    }
}

impl Draft {
    /// Ends whatever the launch left running, and removes the bundle.
    pub(super) async fn undo_launch(mut self) {
        if let Err(reason) = self.try_undo().await {
            self.undo.undo_later(&reason);
        }
    }

    async fn try_undo(&self) -> Result<(), String> {
        let (launch, patience) = (self.record.launch(), self.deadlines.signal);
        // Where no process can be had, there may be no thread either, without which nobody's environment can be read.
        let mut sockets = if self.launched_nothing {
            Vec::new()
        } else {
            reap::end_launch(&self.env, &self.bundle, launch, patience).await?
        };
        if self.join.is_none() {
            sockets.extend(self.announced.as_ref().and_then(Address::path).map(Path::to_owned));
        }
        reap::remove(&self.env, &self.bundle, sockets, self.join.is_none()).await
    }
}
