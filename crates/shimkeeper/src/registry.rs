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
use crate::sync::shed;

/// The ids in use. A clone is another handle on the same registry.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    slots: Arc<Mutex<HashMap<TaskKey, Slot>>>,
}

struct Slot {
    incarnation: Incarnation,
    entry: Entry,
    /// Made by the first who waits. Sent when the entry changes, and dropped with the slot, which is how others learn
    /// that the id is free.
    changed: Option<watch::Sender<()>>,
}

/// What an id is taken by.
#[derive(Clone)]
pub(crate) enum Entry {
    /// A task that is being made.
    Creating,
    /// A bundle found at start that there is no verdict on; its shim, as soon as it has one here.
    Adopting(Option<Arc<Shim>>),
    /// A bundle found at start that nothing can be made of, and why; it is looked at again.
    Stranded(String),
    /// A shim, in whatever state.
    Shim(Arc<Shim>),
}

/// The right to fill an id's slot. Dropped unfilled, it frees the id.
pub(crate) struct Reservation {
    registry: Registry,
    key: TaskKey,
    incarnation: Incarnation,
    is_fulfilled: bool,
}

/// A filled slot; dropping it frees the id. Held by the shim's supervisor and nobody else.
pub(crate) struct Ticket(Arc<Shim>);

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
                Entry::Adopting(_) => Refused::BeingAdopted,
                Entry::Creating | Entry::Stranded(_) | Entry::Shim(_) => Refused::TaskExists,
            });
        }
        slots.insert(key.clone(), Slot { incarnation, entry, changed: None });
        Ok(Reservation { registry: self.clone(), key: key.clone(), incarnation, is_fulfilled: false })
    }

    /// What the id is taken by.
    pub(crate) fn get(&self, key: &TaskKey) -> Option<Entry> {
        self.lock().get(key).map(|slot| slot.entry.clone())
    }

    /// Every shim, those that are being adopted included.
    pub(crate) fn shims(&self) -> Vec<Arc<Shim>> {
        self.lock()
            .values()
            .filter_map(|slot| match &slot.entry {
                Entry::Shim(shim) | Entry::Adopting(Some(shim)) => Some(shim.clone()),
                Entry::Creating | Entry::Adopting(None) | Entry::Stranded(_) => None,
            })
            .collect()
    }

    /// What every id is taken by.
    pub(crate) fn entries(&self) -> Vec<(TaskKey, Entry)> {
        self.lock().iter().map(|(key, slot)| (key.clone(), slot.entry.clone())).collect()
    }

    /// There is a verdict on this shim: whoever waited for that may use it now.
    pub(crate) fn admit(&self, shim: &Arc<Shim>) {
        if let Some(slot) = self.lock().get_mut(&shim.key)
            && matches!(&slot.entry, Entry::Adopting(Some(adopting)) if Arc::ptr_eq(adopting, shim))
        {
            slot.fill(Entry::Shim(shim.clone()));
        }
    }

    /// Frees an id that this incarnation has.
    fn free(&self, key: &TaskKey, incarnation: Incarnation) {
        let mut slots = self.lock();
        if slots.get(key).is_some_and(|slot| slot.incarnation == incarnation) {
            slots.remove(key);
            shed(&mut slots);
        }
    }

    /// Waits until whoever has the id now has let go of it. Cancel safe.
    pub(crate) async fn freed(&self, key: &TaskKey) {
        let waiting = self.lock().get_mut(key).map(Slot::watch);
        if let Some(mut waiting) = waiting {
            while waiting.changed().await.is_ok() {}
        }
    }

    /// Waits until the id is not that of a bundle without a verdict. Cancel safe.
    pub(crate) async fn concluded(&self, key: &TaskKey) {
        loop {
            let waiting = match self.lock().get_mut(key) {
                Some(slot) if matches!(slot.entry, Entry::Adopting(_)) => slot.watch(),
                _ => return,
            };
            let mut waiting = waiting;
            // An error is the slot's end.
            let _ = waiting.changed().await;
        }
    }
}

impl Slot {
    fn fill(&mut self, entry: Entry) {
        self.entry = entry;
        if let Some(changed) = &self.changed {
            changed.send_replace(());
        }
    }

    /// To see the entry change, and the slot's end.
    fn watch(&mut self) -> watch::Receiver<()> {
        self.changed.get_or_insert_default().subscribe()
    }
}

impl Reservation {
    /// Fills the slot. From now on the id is freed by the ticket's drop. The shim of a bundle that was found is not
    /// for everybody before it is [admitted](Registry::admit).
    pub(crate) fn fulfil(mut self, shim: &Arc<Shim>) -> Ticket {
        self.fill(shim.incarnation, |entry| match entry {
            Entry::Adopting(_) | Entry::Stranded(_) => Entry::Adopting(Some(shim.clone())),
            Entry::Creating | Entry::Shim(_) => Entry::Shim(shim.clone()),
        });
        self.is_fulfilled = true;
        Ticket(shim.clone())
    }

    /// Keeps the id for a bundle that nothing can be made of now.
    pub(crate) fn strand(&self, reason: &str) {
        self.fill(self.incarnation, |_| Entry::Stranded(reason.to_owned()));
    }

    fn fill(&self, incarnation: Incarnation, entry: impl FnOnce(&Entry) -> Entry) {
        if let Some(slot) = self.registry.lock().get_mut(&self.key) {
            let entry = entry(&slot.entry);
            slot.incarnation = incarnation;
            slot.fill(entry);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.is_fulfilled {
            self.registry.free(&self.key, self.incarnation);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Self(shim) = self;
        shim.env.registry_of(shim.role).free(&shim.key, shim.incarnation);
    }
}
