// SPDX-License-Identifier: Apache-2.0
//! All records out of a store, and into one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use shimkeeper_core::{HasKind, Kind};

use crate::db::{self, Found};
use crate::error::{Named, OpenError, StoreError};
use crate::index::Counts;
use crate::kind::RecordKind;
use crate::record::Record;
use crate::records::{ImportError, Records};
use crate::store::{Failure, Store};
use crate::writer::{Room, Tx};

/// What becomes of a record that the store has, and differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// Nothing is imported.
    Refuse,
    /// It is replaced.
    Replace,
}

/// What an import did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records that are new.
    pub added: usize,
    /// Records that took the place of others.
    pub replaced: usize,
    /// Records that were there already.
    pub unchanged: usize,
}

impl Records {
    /// All records of the store in `dir`, which may be open in another process. What comes back is what was there
    /// at one moment; nothing is changed.
    ///
    /// # Errors
    /// [`OpenError`], also for a single damaged record.
    pub fn read(dir: &Path) -> Result<Self, OpenError> {
        let path = db::path(dir);
        let failed = |source| db::of_open(&path, source);
        std::fs::metadata(&path).map_err(|source| OpenError::File {
            verb: "find",
            path: path.clone(),
            source,
        })?;
        let connection = db::connect(&path, false).map_err(failed)?;
        // One transaction over everything, so that it all belongs to one moment.
        let transaction = connection.unchecked_transaction().map_err(failed)?;
        db::identify(&transaction, &path)?;
        let damaged = |problem| OpenError::Damaged { dir: dir.to_owned(), problem };
        db::check(&transaction).map_err(failed)?.map_err(damaged)?;
        let mut records = Self::default();
        let read = records.take_all(&transaction);
        read.map_err(|failure| failure.of_open(&path))?;
        Ok(records)
    }

    fn take_all(&mut self, connection: &Connection) -> Result<(), Failure> {
        db::each(connection, |found| self.take(&found).map_err(Failure::Record))?;
        self.namespaces.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        sort(&mut self.containers);
        sort(&mut self.leases);
        sort(&mut self.sandboxes);
        Ok(())
    }

    /// Adds a record as it was found, if it is whole.
    pub(crate) fn take(&mut self, found: &Found) -> Result<(), StoreError> {
        let namespace = found.namespace.clone();
        match RecordKind::ALL.into_iter().find(|kind| kind.as_str() == found.kind) {
            Some(RecordKind::Namespace) => self.namespaces.push(found.decode()?),
            Some(RecordKind::Container) => self.containers.push((namespace, found.decode()?)),
            Some(RecordKind::Lease) => self.leases.push((namespace, found.decode()?)),
            Some(RecordKind::Sandbox) => self.sandboxes.push((namespace, found.decode()?)),
            None => {}
        }
        Ok(())
    }
}

fn sort<R: Record>(records: &mut [(String, R)]) {
    records.sort_unstable_by(|(a, one), (b, other)| (a, one.id()).cmp(&(b, other.id())));
}

impl Store {
    /// Takes all records in, in one transaction: all of them, or none. Their timestamps are kept.
    ///
    /// # Errors
    /// [`ImportError`].
    ///
    /// # Cancel safety
    /// They are taken in, or not, whether or not the caller still waits.
    pub async fn import(&self, records: Records, conflict: Conflict) -> Result<Imported, ImportError> {
        records.check()?;
        let room: usize = records.containers.iter().map(|(_, record)| record.to_row().len()).sum();
        let write = move |tx: &mut Tx<'_>| {
            // Everything is looked at before anything is written: a refusal leaves nothing behind.
            let mut standing = Standing::default();
            standing.of_all(tx, records.namespaces.iter().map(|record| (record.name.as_str(), record)))?;
            standing.of_all(tx, records.containers.iter().map(|(name, record)| (name.as_str(), record)))?;
            standing.of_all(tx, records.leases.iter().map(|(name, record)| (name.as_str(), record)))?;
            standing.of_all(tx, records.sandboxes.iter().map(|(name, record)| (name.as_str(), record)))?;
            if let (Conflict::Refuse, Some(other)) = (conflict, standing.other.take()) {
                return Ok(Err(other));
            }
            // Namespaces first, so that none is made without its labels.
            put_all(tx, records.namespaces.iter().map(|record| (record.name.as_str(), record)))?;
            put_all(tx, records.containers.iter().map(|(name, record)| (name.as_str(), record)))?;
            put_all(tx, records.leases.iter().map(|(name, record)| (name.as_str(), record)))?;
            put_all(tx, records.sandboxes.iter().map(|(name, record)| (name.as_str(), record)))?;
            Ok(Ok(standing.imported))
        };
        let outcome = self.write_patiently(Room::Needed(room), write).await.map_err(ImportError::Store)?;
        outcome.map_err(|record| ImportError::Conflict { record })
    }
}

/// How records stand to what the store has.
#[derive(Default)]
struct Standing {
    imported: Imported,
    /// The first that is there, and differently.
    other: Option<Named>,
}

impl Standing {
    fn of_all<'a, R: Record + PartialEq + 'a>(
        &mut self,
        tx: &Tx<'_>,
        records: impl Iterator<Item = (&'a str, &'a R)>,
    ) -> Result<(), StoreError> {
        for (namespace, record) in records {
            match tx.get::<R>(namespace, record.id())? {
                None => self.imported.added += 1,
                Some(there) if there == *record => self.imported.unchanged += 1,
                Some(_) => {
                    self.imported.replaced += 1;
                    let (kind, id) = (R::KIND, record.id().to_owned());
                    self.other.get_or_insert(Named { kind, namespace: namespace.to_owned(), id });
                }
            }
        }
        Ok(())
    }
}

fn put_all<'a, R: Record + Clone + 'a>(
    tx: &mut Tx<'_>,
    mut records: impl Iterator<Item = (&'a str, &'a R)>,
) -> Result<(), StoreError> {
    records.try_for_each(|(namespace, record)| tx.put(namespace, Arc::new(record.clone())))
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |count, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        let (containers, leases) = (many(self.containers, "container"), many(self.leases, "lease"));
        let sandboxes =
            format!("{} {}", self.sandboxes, if self.sandboxes == 1 { "sandbox" } else { "sandboxes" });
        write!(f, "{}, {containers}, {leases}, {sandboxes}", many(self.namespaces, "namespace"))
    }
}

impl HasKind for ImportError {
    fn kind(&self) -> Kind {
        match self {
            Self::Form(_) | Self::Format { .. } => Kind::InvalidArgument,
            Self::Record { source, .. } => source.kind(),
            Self::Conflict { .. } => Kind::AlreadyExists,
            Self::Store(source) => source.kind(),
        }
    }
}
