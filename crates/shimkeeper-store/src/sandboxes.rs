// SPDX-License-Identifier: Apache-2.0
//! The sandboxes of a namespace.

use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::Namespace;
use shimkeeper_events::Filters;

use crate::error::{Named, StoreError};
use crate::form::SandboxForm;
use crate::index::{AskedLabels, Change};
use crate::kind::RecordKind;
use crate::record::{Record, Row};
use crate::sandbox::Sandbox;
use crate::store::Store;
use crate::writer::{Room, Tx};

/// The sandboxes of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Sandboxes<'a> {
    store: &'a Store,
    namespace: &'a Namespace,
}

impl Store {
    /// The sandboxes of a namespace.
    pub fn sandboxes<'a>(&'a self, namespace: &'a Namespace) -> Sandboxes<'a> {
        Sandboxes { store: self, namespace }
    }
}

impl Sandboxes<'_> {
    /// Whether there is a sandbox of this id. Never asks the disk.
    pub fn contains(&self, id: &str) -> bool {
        self.store.read(|index| {
            index
                .namespaces
                .get(self.namespace.as_str())
                .is_some_and(|scope| scope.sandboxes.contains_key(id))
        })
    }

    /// A sandbox.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`], [`StoreError::Database`] and [`StoreError::Silent`] if it
    /// cannot be read.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn get(&self, id: &str) -> Result<Arc<Sandbox>, StoreError> {
        let not_found = || StoreError::NotFound(named(self.namespace, id));
        if !self.contains(id) {
            return Err(not_found());
        }
        let found = self.read(vec![id.to_owned()]).await?;
        found.into_iter().next().ok_or_else(not_found)
    }

    /// The sandboxes that pass the filters, by id.
    ///
    /// # Errors
    /// As [`Sandboxes::get`], but for what is not there.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn list(&self, filters: &Filters) -> Result<Vec<Arc<Sandbox>>, StoreError> {
        let ids: Vec<String> = self.store.read(|index| {
            let Some(scope) = index.namespaces.get(self.namespace.as_str()) else { return Vec::new() };
            let passing =
                scope.sandboxes.iter().filter(|(id, labels)| filters.matches(&AskedLabels(id, labels)));
            passing.map(|(id, _)| String::from(&**id)).collect()
        });
        if ids.is_empty() { Ok(Vec::new()) } else { self.read(ids).await }
    }

    /// Those that are there.
    async fn read(&self, ids: Vec<String>) -> Result<Vec<Arc<Sandbox>>, StoreError> {
        let namespace = self.namespace.clone();
        let read = move |store: &Store| {
            let found = ids.iter().filter_map(|id| store.fetch(namespace.as_str(), id).transpose());
            found.map(|found| found.map(|(sandbox, _)| Arc::new(sandbox))).collect()
        };
        self.store.ask(read).await
    }

    /// Makes a sandbox's record, and its namespace if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::AlreadyExists`], [`StoreError::Full`].
    ///
    /// # Cancel safety
    /// The record is made, or not, whether or not the caller still waits.
    pub async fn create(&self, mut sandbox: Sandbox) -> Result<Arc<Sandbox>, StoreError> {
        let checked = sandbox.check();
        checked.map_err(|problem| StoreError::Invalid(problem.within("failed to validate sandbox")))?;
        sandbox.labels.retain(|_, value| !value.is_empty());
        let (namespace, room) = (self.namespace.clone(), Room::Needed(room_for(&sandbox)));
        let write = move |tx: &mut Tx<'_>| {
            if tx.exists::<Sandbox>(namespace.as_str(), &sandbox.id)? {
                return Err(StoreError::AlreadyExists(named(&namespace, &sandbox.id)));
            }
            let now = Some(SystemTime::now());
            let sandbox = Arc::new(Sandbox { created_at: now, updated_at: now, ..sandbox.clone() });
            tx.put(namespace.as_str(), Arc::clone(&sandbox))?;
            Ok(sandbox)
        };
        self.store.write(room, write).await
    }

    /// Changes the fields that the mask names, or without one all that may change: labels, extensions, spec and
    /// the runtime's options.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::NotFound`], [`StoreError::Full`].
    ///
    /// # Cancel safety
    /// The change is made, or not, whether or not the caller still waits.
    pub async fn update(&self, to: Sandbox, mask: &[String]) -> Result<Arc<Sandbox>, StoreError> {
        let (namespace, mask) = (self.namespace.clone(), mask.to_vec());
        let room = Room::Needed(room_for(&to));
        let write = move |tx: &mut Tx<'_>| {
            let current = tx.get::<Sandbox>(namespace.as_str(), &to.id)?;
            let current = current.ok_or_else(|| StoreError::NotFound(named(&namespace, &to.id)))?;
            let mut sandbox = current.changed(&to, &mask)?;
            sandbox.labels.retain(|_, value| !value.is_empty());
            sandbox.updated_at = Some(SystemTime::now());
            let sandbox = Arc::new(sandbox);
            tx.put(namespace.as_str(), Arc::clone(&sandbox))?;
            Ok(sandbox)
        };
        self.store.write(room, write).await
    }

    /// Deletes a sandbox's record. Works on a full disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    ///
    /// # Cancel safety
    /// It is deleted, or not, whether or not the caller still waits.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        let write = move |tx: &mut Tx<'_>| {
            let gone = Change::SandboxGone { namespace: namespace.to_string(), id: id.clone() };
            let found = tx.remove(RecordKind::Sandbox, namespace.as_str(), &id, gone)?;
            found.then_some(()).ok_or_else(|| StoreError::NotFound(named(&namespace, &id)))
        };
        self.store.write(Room::NotNeeded, write).await
    }
}

fn named(namespace: &Namespace, id: &str) -> Named {
    Named { kind: RecordKind::Sandbox, namespace: namespace.to_string(), id: id.to_owned() }
}

/// About what the record will take on disk beyond what any does.
fn room_for(sandbox: &Sandbox) -> usize {
    let spec = sandbox.spec.as_ref().map_or(0, |any| any.value.len());
    spec + sandbox.extensions.values().map(|any| any.value.len() * 4 / 3).sum::<usize>()
}

impl Record for Sandbox {
    const KIND: RecordKind = RecordKind::Sandbox;

    fn id(&self) -> &str {
        &self.id
    }

    fn to_row(&self) -> Row {
        let (bare, spec) = Row::split(self.spec.as_ref());
        Row::of(&SandboxForm::from(&Self { spec: bare, ..self.clone() }), spec)
    }

    fn from_row(_: &str, _: &str, row: &Row) -> Result<Self, serde_json::Error> {
        let mut sandbox = Self::from(serde_json::from_str::<SandboxForm>(&row.meta)?);
        row.join(&mut sandbox.spec);
        Ok(sandbox)
    }

    fn into_change(self: Arc<Self>, namespace: &str, _: u64) -> Change {
        Change::Sandbox { namespace: namespace.to_owned(), sandbox: self }
    }
}
