// SPDX-License-Identifier: Apache-2.0
//! Which ids are taken, and by whom. An id is reserved before anything is made for it, and stays so until its
//! directory is gone and its supervisor has ended; every removal names its incarnation, so that the end of an old
//! task can never touch a new one of the same id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shimkeeper_core::{Incarnation, TaskKey};
use tokio::sync::watch;

use crate::error::Refused;
use crate::shim::Shim;

/// The ids in use. A clone is another handle on the same registry.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    slots: Arc<Mutex<HashMap<TaskKey, Slot>>>,
}

struct Slot {
    incarnation: Incarnation,
    entry: Entry,
    /// Dropped with the slot, which is how others learn that the id is free.
    freed: watch::Sender<()>,
}

/// What an id is taken by.
#[derive(Clone)]
pub(crate) enum Entry {
    /// A task that is being made.
    Creating,
    /// A bundle found at start that has not been looked at to the end.
    Adopting,
    /// A shim, in whatever state.
    Shim(Arc<Shim>),
}

/// The right to fill an id's slot. Dropped unfilled, it frees the id.
pub(crate) struct Reservation {
    ticket: Ticket,
}

/// A filled slot; dropping it frees the id. Held by the shim's supervisor and nobody else.
pub(crate) struct Ticket {
    registry: Registry,
    key: TaskKey,
    incarnation: Incarnation,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskKey, Slot>> {
        // A panic cannot leave the map half-changed: every critical section is one insert, look-up or removal.
        self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Takes the id for a task that is about to be made, or for a bundle that was found.
    pub(crate) fn reserve(
        &self,
        key: &TaskKey,
        incarnation: Incarnation,
        entry: Entry,
    ) -> Result<Reservation, Refused> {
        let mut slots = self.lock();
        if let Some(slot) = slots.get(key) {
            return Err(match &slot.entry {
                Entry::Shim(shim) if shim.is_ending() => Refused::BeingDeleted,
                Entry::Adopting => Refused::BeingAdopted,
                Entry::Creating | Entry::Shim(_) => Refused::TaskExists,
            });
        }
        slots.insert(key.clone(), Slot { incarnation, entry, freed: watch::Sender::new(()) });
        Ok(Reservation { ticket: Ticket { registry: self.clone(), key: key.clone(), incarnation } })
    }

    /// What the id is taken by.
    pub(crate) fn get(&self, key: &TaskKey) -> Option<Entry> {
        self.lock().get(key).map(|slot| slot.entry.clone())
    }

    /// Every shim.
    pub(crate) fn shims(&self) -> Vec<Arc<Shim>> {
        self.lock()
            .values()
            .filter_map(|slot| match &slot.entry {
                Entry::Shim(shim) => Some(shim.clone()),
                Entry::Creating | Entry::Adopting => None,
            })
            .collect()
    }

    /// Waits until whoever has the id now has let go of it. Cancel safe.
    pub(crate) async fn freed(&self, key: &TaskKey) {
        let waiting = self.lock().get(key).map(|slot| slot.freed.subscribe());
        if let Some(mut waiting) = waiting {
            // Nothing is ever sent: the only change is the slot's end.
            while waiting.changed().await.is_ok() {}
        }
    }
}

impl Reservation {
    /// Fills the slot. From now on the id is freed by the ticket's drop.
    pub(crate) fn fulfil(self, shim: &Arc<Shim>) -> Ticket {
        let ticket = self.ticket;
        if let Some(slot) = ticket.registry.lock().get_mut(&ticket.key) {
            slot.entry = Entry::Shim(shim.clone());
        }
        ticket
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut slots = self.registry.lock();
        if slots.get(&self.key).is_some_and(|slot| slot.incarnation == self.incarnation) {
            slots.remove(&self.key);
        }
    }
}
