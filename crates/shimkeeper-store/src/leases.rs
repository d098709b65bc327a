// SPDX-License-Identifier: Apache-2.0
//! The leases of a namespace. Those whose time is over are taken away with the next that is made, in any namespace.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use shimkeeper_core::Namespace;
use shimkeeper_events::Filters;

use crate::container::Labels;
use crate::error::{Named, StoreError};
use crate::form::LeaseForm;
use crate::index::{AskedLabels, Change, Index};
use crate::kind::RecordKind;
use crate::lease::{Held, Lease, Resource};
use crate::record::{Record, Row};
use crate::store::Store;
use crate::writer::{Room, Tx};

/// The leases of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    store: &'a Store,
    namespace: &'a Namespace,
}

impl Store {
    /// The leases of a namespace.
    pub fn leases<'a>(&'a self, namespace: &'a Namespace) -> Leases<'a> {
        Leases { store: self, namespace }
    }
}

impl Leases<'_> {
    /// Makes a lease, and its namespace if there is none yet. Without an id it is given one.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::AlreadyExists`], [`StoreError::Full`].
    ///
    /// # Cancel safety
    /// The lease is made, or not, whether or not the caller still waits.
    pub async fn create(&self, id: &str, mut labels: Labels) -> Result<Lease, StoreError> {
        let id = if id.is_empty() { generated_id() } else { id.to_owned() };
        labels.retain(|_, value| !value.is_empty());
        let now = SystemTime::now();
        let held = Held { lease: Lease { id, created_at: now, labels }, resources: BTreeSet::new() };
        held.check()?;
        let expired = self.store.read(|index| expired(index, now));
        let namespace = self.namespace.clone();
        let write = move |tx: &mut Tx<'_>| {
            if tx.exists::<Held>(namespace.as_str(), &held.lease.id)? {
                return Err(StoreError::AlreadyExists(named(&namespace, &held.lease.id)));
            }
            for (namespace, id) in &expired {
                let gone = Change::LeaseGone { namespace: namespace.clone(), id: id.clone() };
                tx.remove(RecordKind::Lease, namespace, id, gone)?;
            }
            tx.put(namespace.as_str(), Arc::new(held.clone()))?;
            Ok(held.lease.clone())
        };
        self.store.write(Room::Needed(0), write).await
    }

    /// Deletes a lease. Works on a full disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    ///
    /// # Cancel safety
    /// It is deleted, or not, whether or not the caller still waits.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        let write = move |tx: &mut Tx<'_>| {
            let gone = Change::LeaseGone { namespace: namespace.to_string(), id: id.clone() };
            let found = tx.remove(RecordKind::Lease, namespace.as_str(), &id, gone)?;
            found.then_some(()).ok_or_else(|| StoreError::NotFound(named(&namespace, &id)))
        };
        self.store.write(Room::NotNeeded, write).await
    }

    /// The leases that pass the filters, by id.
    pub fn list(&self, filters: &Filters) -> Vec<Lease> {
        self.store.read(|index| {
            let Some(scope) = index.namespaces.get(self.namespace.as_str()) else { return Vec::new() };
            let leases = scope.leases.values().map(|held| &held.lease);
            leases.filter(|lease| filters.matches(&AskedLabels::from(*lease))).cloned().collect()
        })
    }

    /// Lets a lease hold something. To hold it twice is to hold it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Invalid`], [`StoreError::ResourceType`], [`StoreError::Full`].
    ///
    /// # Cancel safety
    /// The change is made, or not, whether or not the caller still waits.
    pub async fn add_resource(&self, id: &str, resource: Resource) -> Result<(), StoreError> {
        resource.check()?;
        let add = move |resources: &mut BTreeSet<Resource>| resources.insert(resource.clone());
        self.change(id, Room::Needed(0), add).await
    }

    /// Lets a lease hold something no longer. That it never did is no error.
    ///
    /// # Errors
    /// As [`Leases::add_resource`].
    ///
    /// # Cancel safety
    /// The change is made, or not, whether or not the caller still waits.
    pub async fn delete_resource(&self, id: &str, resource: &Resource) -> Result<(), StoreError> {
        resource.check()?;
        let resource = resource.clone();
        let remove = move |resources: &mut BTreeSet<Resource>| resources.remove(&resource);
        self.change(id, Room::NotNeeded, remove).await
    }

    /// What a lease holds.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn resources(&self, id: &str) -> Result<Vec<Resource>, StoreError> {
        let found = self.store.read(|index| {
            let held = index.namespaces.get(self.namespace.as_str())?.leases.get(id)?;
            Some(held.resources.iter().cloned().collect())
        });
        found.ok_or_else(|| StoreError::NotFound(named(self.namespace, id)))
    }

    async fn change(
        &self,
        id: &str,
        room: Room,
        mut change: impl FnMut(&mut BTreeSet<Resource>) -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        let write = move |tx: &mut Tx<'_>| {
            let held = tx.get::<Held>(namespace.as_str(), &id)?;
            let mut held = held.ok_or_else(|| StoreError::NotFound(named(&namespace, &id)))?;
            if change(&mut held.resources) {
                tx.put(namespace.as_str(), Arc::new(held))?;
            }
            Ok(())
        };
        self.store.write(room, write).await
    }
}

fn named(namespace: &Namespace, id: &str) -> Named {
    Named { kind: RecordKind::Lease, namespace: namespace.to_string(), id: id.to_owned() }
}

fn expired(index: &Index, now: SystemTime) -> Vec<(String, String)> {
    let mut expired = Vec::new();
    for (namespace, scope) in &index.namespaces {
        let over = scope.leases.values().filter(|held| held.lease.has_expired(now));
        expired.extend(over.map(|held| (namespace.clone(), held.lease.id.clone())));
    }
    expired
}

/// As containerd makes them: the nanoseconds of the second, and three bytes of chance.
fn generated_id() -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    let mut chance = [0; 3];
    // Without chance the id may collide, which is then said; that is better than no lease at all.
    let _ = getrandom::fill(&mut chance);
    format!("{nanos}-{}", URL_SAFE.encode(chance))
}

impl Record for Held {
    const KIND: RecordKind = RecordKind::Lease;

    fn id(&self) -> &str {
        &self.lease.id
    }

    fn to_row(&self) -> Row {
        Row::of(&LeaseForm::from(self), None)
    }

    fn from_row(_: &str, _: &str, row: &Row) -> Result<Self, serde_json::Error> {
        Ok(serde_json::from_str::<LeaseForm>(&row.meta)?.into())
    }

    fn into_change(self: Arc<Self>, namespace: &str, _: u64) -> Change {
        Change::Lease { namespace: namespace.to_owned(), held: self }
    }
}
