// SPDX-License-Identifier: Apache-2.0
//! The containers of a namespace.

use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{Any, Namespace};
use shimkeeper_events::Filters;

use crate::container::Container;
use crate::error::{Named, StoreError};
use crate::form::ContainerForm;
use crate::index::{AskedContainer, Change};
use crate::kind::RecordKind;
use crate::record::{Record, Row};
use crate::store::Store;
use crate::writer::{Room, Tx};

/// The containers of a namespace.
#[derive(Clone, Copy, Debug)]
pub struct Containers<'a> {
    store: &'a Store,
    namespace: &'a Namespace,
}

impl Store {
    /// The containers of a namespace.
    pub fn containers<'a>(&'a self, namespace: &'a Namespace) -> Containers<'a> {
        Containers { store: self, namespace }
    }
}

impl Containers<'_> {
    /// Whether there is a container of this id. Never asks the disk.
    pub fn contains(&self, id: &str) -> bool {
        self.store.read(|index| index.container(self.namespace.as_str(), id).is_some())
    }

    /// Says whether there is none. Never asks the disk.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn require(&self, id: &str) -> Result<(), StoreError> {
        self.contains(id).then_some(()).ok_or_else(|| StoreError::NotFound(named(self.namespace, id)))
    }

    /// A container.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Damaged`], [`StoreError::Database`] and [`StoreError::Silent`] if it
    /// cannot be read.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn get(&self, id: &str) -> Result<Arc<Container>, StoreError> {
        if let Some(container) = self.cached(id) {
            return Ok(container);
        }
        self.require(id)?;
        let (namespace, asked) = (self.namespace.to_string(), id.to_owned());
        let found = self.store.ask(move |store| store.fetch_container(&namespace, &asked)).await?;
        found.ok_or_else(|| StoreError::NotFound(named(self.namespace, id)))
    }

    /// The containers that pass the filters, by id.
    ///
    /// # Errors
    /// As [`Containers::get`], but for what is not there.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn list(&self, filters: &Filters) -> Result<Vec<Arc<Container>>, StoreError> {
        let (mut each, mut found) = (self.each(filters), Vec::new());
        while let Some(container) = each.next().await {
            found.push(container?);
        }
        Ok(found)
    }

    /// The containers that pass the filters, by id; a few of them are read at a time, so that many need not be in memory
    /// at once.
    pub fn each(&self, filters: &Filters) -> Each {
        let ids: Vec<String> = self.store.read(|index| {
            let Some(scope) = index.namespaces.get(self.namespace.as_str()) else { return Vec::new() };
            let passing =
                scope.containers.iter().filter(|(id, head)| filters.matches(&AskedContainer(id, head)));
            passing.map(|(id, _)| String::from(&**id)).collect()
        });
        let (store, namespace) = (self.store.clone(), self.namespace.clone());
        Each { store, namespace, ids: ids.into_iter(), read: Vec::new().into_iter() }
    }

    /// Makes a container's record, and its namespace if there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::AlreadyExists`], [`StoreError::Full`].
    ///
    /// # Cancel safety
    /// The record is made, or not, whether or not the caller still waits.
    pub async fn create(&self, mut container: Container) -> Result<Arc<Container>, StoreError> {
        let checked = container.check();
        checked
            .map_err(|problem| StoreError::Invalid(problem.within("create container failed validation")))?;
        container.labels.retain(|_, value| !value.is_empty());
        container.let_go_of_buffers();
        let namespace = self.namespace.clone();
        let room = Room::Needed(room_for(&container));
        let write = move |tx: &mut Tx<'_>| {
            if tx.exists::<Container>(namespace.as_str(), &container.id)? {
                return Err(StoreError::AlreadyExists(named(&namespace, &container.id)));
            }
            let now = Some(SystemTime::now());
            let container = Arc::new(Container { created_at: now, updated_at: now, ..container.clone() });
            tx.put(namespace.as_str(), Arc::clone(&container))?;
            Ok(container)
        };
        self.store.write(room, write).await
    }

    /// Changes the fields that the mask names, or without one all that may change: labels, spec, extensions, image
    /// and snapshot key.
    ///
    /// # Errors
    /// [`StoreError::Invalid`], [`StoreError::NotFound`], [`StoreError::Full`].
    ///
    /// # Cancel safety
    /// The change is made, or not, whether or not the caller still waits.
    pub async fn update(&self, mut to: Container, mask: &[String]) -> Result<Arc<Container>, StoreError> {
        to.let_go_of_buffers();
        let (namespace, mask) = (self.namespace.clone(), mask.to_vec());
        let room = Room::Needed(room_for(&to));
        let write = move |tx: &mut Tx<'_>| {
            let current = tx.get::<Container>(namespace.as_str(), &to.id)?;
            let current = current.ok_or_else(|| StoreError::NotFound(named(&namespace, &to.id)))?;
            let mut container = current.changed(&to, &mask)?;
            container.labels.retain(|_, value| !value.is_empty());
            container.updated_at = Some(SystemTime::now());
            let container = Arc::new(container);
            tx.put(namespace.as_str(), Arc::clone(&container))?;
            Ok(container)
        };
        self.store.write(room, write).await
    }

    /// Deletes a container's record. Works on a full disk. Whether there is a task is the caller's to know.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    ///
    /// # Cancel safety
    /// It is deleted, or not, whether or not the caller still waits.
    pub async fn delete(&self, id: &str) -> Result<(), StoreError> {
        let (namespace, id) = (self.namespace.clone(), id.to_owned());
        let write = move |tx: &mut Tx<'_>| {
            let gone = Change::ContainerGone { namespace: namespace.to_string(), id: id.clone() };
            let found = tx.remove(RecordKind::Container, namespace.as_str(), &id, gone)?;
            found.then_some(()).ok_or_else(|| StoreError::NotFound(named(&namespace, &id)))
        };
        self.store.write(Room::NotNeeded, write).await
    }

    fn cached(&self, id: &str) -> Option<Arc<Container>> {
        self.store.read(|index| index.cache.get(self.namespace.as_str(), id))
    }
}

/// How many containers are read in one go, of those that have to be.
const AT_ONCE: usize = 16;

/// Containers, one after the other. One that is deleted before its turn is left out.
#[derive(Debug)]
pub struct Each {
    store: Store,
    namespace: Namespace,
    ids: std::vec::IntoIter<String>,
    /// Those that were read and have not been asked for.
    read: std::vec::IntoIter<Result<Arc<Container>, StoreError>>,
}

impl Each {
    /// The next one; `None` after the last.
    ///
    /// # Cancel safety
    /// No: what was about to be read is left out then.
    pub async fn next(&mut self) -> Option<Result<Arc<Container>, StoreError>> {
        loop {
            if let Some(read) = self.read.next() {
                return Some(read);
            }
            let first = self.ids.as_slice().first()?;
            let containers = Containers { store: &self.store, namespace: &self.namespace };
            if let Some(container) = containers.cached(first) {
                self.ids.next();
                return Some(Ok(container));
            }
            let (namespace, ids) =
                (self.namespace.clone(), self.ids.by_ref().take(AT_ONCE).collect::<Vec<_>>());
            let read = self.store.ask(move |store| {
                let containers = Containers { store, namespace: &namespace };
                let read = |id: String| match containers.cached(&id) {
                    Some(container) => Some(Ok(container)),
                    None => store.fetch_container(namespace.as_str(), &id).transpose(),
                };
                Ok(ids.into_iter().filter_map(read).collect::<Vec<_>>())
            });
            match read.await {
                Ok(read) => self.read = read.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn named(namespace: &Namespace, id: &str) -> Named {
    Named { kind: RecordKind::Container, namespace: namespace.to_string(), id: id.to_owned() }
}

/// About what the record will take on disk beyond what any does.
fn room_for(container: &Container) -> usize {
    let any = |any: &Any| any.value.len() * 4 / 3;
    let spec = container.spec.as_ref().map_or(0, any);
    spec + container.extensions.values().map(any).sum::<usize>()
}

impl Record for Container {
    const KIND: RecordKind = RecordKind::Container;

    fn id(&self) -> &str {
        &self.id
    }

    fn to_row(&self) -> Row {
        let (bare, spec) = Row::split(self.spec.as_ref());
        Row::of(&ContainerForm::from(&Self { spec: bare, ..self.clone() }), spec)
    }

    fn from_row(_: &str, _: &str, row: &Row) -> Result<Self, serde_json::Error> {
        let mut container = Self::from(serde_json::from_str::<ContainerForm>(&row.meta)?);
        row.join(&mut container.spec);
        Ok(container)
    }

    fn into_change(self: Arc<Self>, namespace: &str, revision: u64) -> Change {
        Change::Container { namespace: namespace.to_owned(), container: self, revision }
    }
}
