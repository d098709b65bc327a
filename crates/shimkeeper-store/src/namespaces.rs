// SPDX-License-Identifier: Apache-2.0
//! Namespaces: the scopes of all other records. One exists as soon as something is written in it.

use std::sync::Arc;

use crate::container::Labels;
use crate::error::StoreError;
use crate::form::NamespaceForm;
use crate::index::Change;
use crate::kind::RecordKind;
use crate::namespace::NamespaceRecord;
use crate::record::{Record, Row};
use crate::store::Store;
use crate::validate;
use crate::writer::{Room, Tx};

/// The namespaces of a store.
#[derive(Clone, Copy, Debug)]
pub struct Namespaces<'a> {
    store: &'a Store,
}

impl Store {
    /// The namespaces.
    pub fn namespaces(&self) -> Namespaces<'_> {
        Namespaces { store: self }
    }
}

impl Namespaces<'_> {
    /// A namespace. One that does not exist yet has no labels; that is no error, and clients depend on it.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for what is no name.
    pub fn get(&self, name: &str) -> Result<NamespaceRecord, StoreError> {
        validate::identifier(name).map_err(StoreError::Invalid)?;
        let labels = self.store.read(|index| index.namespaces.get(name).map(|scope| scope.labels.clone()));
        Ok(NamespaceRecord { name: name.to_owned(), labels: labels.unwrap_or_default() })
    }

    /// All that exist, by name.
    pub fn list(&self) -> Vec<NamespaceRecord> {
        self.store.read(|index| {
            let record = |(name, scope): (&String, &crate::index::Scope)| NamespaceRecord {
                name: name.clone(),
                labels: scope.labels.clone(),
            };
            index.namespaces.iter().map(record).collect()
        })
    }

    /// Makes a namespace.
    ///
    /// # Cancel safety
    /// The namespace is made, or not, whether or not the caller still waits.
    pub async fn create(&self, record: NamespaceRecord) -> Result<NamespaceRecord, StoreError> {
        record.check()?;
        let record = record.without_empty_labels();
        let write = move |tx: &mut Tx<'_>| {
            if tx.exists::<NamespaceRecord>(&record.name, "")? {
                return Err(StoreError::AlreadyExists(record.named()));
            }
            tx.put(&record.name.clone(), Arc::new(record.clone()))?;
            Ok(record.clone())
        };
        self.store.write(Room::Needed(0), write).await
    }

    /// Changes a namespace's labels: those that the mask names as `labels.<key>`, or all. A label whose new value is
    /// empty is taken away. A namespace that does not exist is made.
    ///
    /// # Cancel safety
    /// The change is made, or not, whether or not the caller still waits.
    pub async fn update(&self, to: NamespaceRecord, mask: &[String]) -> Result<NamespaceRecord, StoreError> {
        to.check()?;
        let mask = mask.to_vec();
        let write = move |tx: &mut Tx<'_>| {
            let current = tx.get::<NamespaceRecord>(&to.name, "")?;
            let name = to.name.clone();
            let current = current.unwrap_or_else(|| NamespaceRecord { name, labels: Labels::new() });
            let record = current.changed(&to, &mask)?.without_empty_labels();
            tx.put(&to.name, Arc::new(record.clone()))?;
            Ok(record)
        };
        self.store.write(Room::Needed(0), write).await
    }

    /// Deletes a namespace that holds neither containers nor sandboxes. Its leases go with it.
    ///
    /// # Cancel safety
    /// It is deleted, or not, whether or not the caller still waits.
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        validate::identifier(name).map_err(StoreError::Invalid)?;
        let name = name.to_owned();
        let write = move |tx: &mut Tx<'_>| {
            let record = NamespaceRecord { name: name.clone(), labels: Labels::new() };
            if !tx.exists::<NamespaceRecord>(&name, "")? {
                return Err(StoreError::NotFound(record.named()));
            }
            let mut left = Vec::new();
            for (kind, word) in [(RecordKind::Container, "containers"), (RecordKind::Sandbox, "sandboxes")] {
                if tx.any(kind, &name)? {
                    left.push(word);
                }
            }
            if !left.is_empty() {
                return Err(StoreError::NotEmpty { name: name.clone(), left });
            }
            tx.remove_namespace(&name)
        };
        self.store.write(Room::NotNeeded, write).await
    }
}

impl Record for NamespaceRecord {
    const KIND: RecordKind = RecordKind::Namespace;

    fn id(&self) -> &'static str {
        ""
    }

    fn to_row(&self) -> Row {
        Row::of(&NamespaceForm::from(self), None)
    }

    fn from_row(_: &str, _: &str, row: &Row) -> Result<Self, serde_json::Error> {
        Ok(serde_json::from_str::<NamespaceForm>(&row.meta)?.into())
    }

    fn into_change(self: Arc<Self>, namespace: &str, _: u64) -> Change {
        Change::Namespace { name: namespace.to_owned(), labels: self.labels.clone() }
    }
}
