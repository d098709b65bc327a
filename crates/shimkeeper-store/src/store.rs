// SPDX-License-Identifier: Apache-2.0
//! A store: opened, checked, asked, and written to. Owner of the lock on its directory, the index and the writer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use crate::bundles;
use crate::cache::Cache;
use crate::container::Container;
use crate::db::{self, Found};
use crate::error::{OpenError, StoreError};
use crate::index::{Counts, Index};
use crate::kind::RecordKind;
use crate::lease::Held;
use crate::lock::Lock;
use crate::namespace::NamespaceRecord;
use crate::record::Record;
use crate::reserve::Reserve;
use crate::sandbox::Sandbox;
use crate::writer::{Room, Tx, Writer};

/// The directory of a store below a daemon's root.
const BELOW_ROOT: &str = "io.shimkeeper.store";

/// How long somebody waits for what is read from the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for what is changed on it. Longer, because a busy disk takes its time to make things safe, and who has not
/// waited for that does not know what came of it.
const PATIENCE_TO_WRITE: Duration = Duration::from_secs(30);

/// An open store. Cheap to clone; closed when the last clone is dropped, after what was asked of it is written, or five
/// seconds later if the disk does not take it. Nobody can open it again before that has come to an end.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    // In the order in which they must end: the lock is the last to go.
    writer: Writer,
    reader: Mutex<Connection>,
    /// Whoever is about to use it waits here first, and for no lock.
    turn: Arc<Semaphore>,
    index: Arc<RwLock<Index>>,
    dir: PathBuf,
    /// The thread that writes has it, too: nobody else opens the store while that may still write.
    _lock: Arc<Lock>,
}

impl Store {
    /// Where the store of a daemon with this root is.
    pub fn dir_below(root: &Path) -> PathBuf {
        root.join(BELOW_ROOT)
    }

    /// Opens the store in `dir`. Where there is none it is made, unless there are bundles in the state directory,
    /// whose records would then be missing.
    ///
    /// # Errors
    /// [`OpenError`]; nothing that was there is changed then.
    pub fn open(dir: &Path, state: &Path) -> Result<Self, OpenError> {
        Self::open_unless(dir, || {
            let bundle = bundles::any(state);
            let missing =
                |bundle| OpenError::Missing { dir: dir.to_owned(), state: state.to_owned(), bundle };
            bundle.map_or(Ok(()), |bundle| Err(missing(bundle)))
        })
    }

    /// Opens the store in `dir`, or makes one. For those who are about to fill it.
    ///
    /// # Errors
    /// As [`Store::open`], but for what concerns bundles.
    pub fn open_or_new(dir: &Path) -> Result<Self, OpenError> {
        Self::open_unless(dir, || Ok(()))
    }

    fn open_unless(dir: &Path, missing: impl FnOnce() -> Result<(), OpenError>) -> Result<Self, OpenError> {
        let path = db::path(dir);
        if !path.exists() {
            missing()?;
        }
        let lock = Arc::new(Lock::take(dir)?);
        if !path.exists() {
            db::create(dir)?;
        }
        let failed = |source| db::of_open(&path, source);
        let connection = db::connect(&path, true).map_err(failed)?;
        db::identify(&connection, &path)?;
        let wal: String =
            connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
        debug_assert_eq!(wal, "wal");
        let damaged = |problem| OpenError::Damaged { dir: dir.to_owned(), problem };
        db::check(&connection).map_err(failed)?.map_err(damaged)?;
        let (index, revision) = load(&connection, &path)?;
        let index = Arc::new(RwLock::new(index));
        let file = |verb| move |source| OpenError::File { verb, path: dir.to_owned(), source };
        let reserve = Reserve::open(&path).map_err(file("reserve room in"))?;
        let reader = db::connect(&path, false).map_err(failed)?;
        let writer = Writer::start(
            connection,
            reserve,
            Arc::clone(&index),
            dir.to_owned(),
            revision,
            Arc::clone(&lock),
        );
        let writer = writer.map_err(file("start a thread for"))?;
        let (reader, turn, dir) = (Mutex::new(reader), Arc::new(Semaphore::new(1)), dir.to_owned());
        Ok(Self(Arc::new(Inner { writer, reader, turn, index, dir, _lock: lock })))
    }

    /// How many records there are of each kind, in all namespaces.
    pub fn counts(&self) -> Counts {
        self.read(Index::counts)
    }

    /// How much room the database takes on its disk, its log included, in bytes.
    pub fn bytes(&self) -> u64 {
        let path = db::path(&self.0.dir);
        let mut log = path.clone().into_os_string();
        log.push(db::LOG_SUFFIX);
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |meta| meta.len());
        size(&path) + size(Path::new(&log))
    }

    /// Lets go of what it keeps only to be quicker: the containers that were asked for last, and pages of the database.
    /// For when nothing is asked for a while.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn give_back(&self) {
        self.0.index.write().unwrap_or_else(PoisonError::into_inner).cache = Cache::default();
        // What keeps these from being done, whoever asks next is told.
        let shrink = |store: &Self| {
            db::shrink(&store.reader());
            Ok(())
        };
        let _ = self.ask(shrink).await;
        let shrink = |tx: &mut Tx<'_>| {
            tx.shrink();
            Ok(())
        };
        let _ = self.write(Room::NotNeeded, shrink).await;
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.0.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn write<T, F>(&self, room: Room, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let written = tokio::time::timeout(PATIENCE_TO_WRITE, self.write_patiently(room, operation)).await;
        written.unwrap_or_else(|_elapsed| Err(self.silent("changed", PATIENCE_TO_WRITE)))
    }

    /// The same, however long it takes: for what is large, and nobody's call.
    pub(crate) async fn write_patiently<T, F>(&self, room: Room, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.0.writer.run(room, operation).await
    }

    /// Asks the database, on a thread for what blocks: a disk that hangs holds up nobody who does not need it, and because
    /// one asks at a time, no more than one such thread. Where no more threads can be had, it is the one that writes.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Stopped { dir: self.0.dir.clone() };
        let asking = async {
            let turn = Arc::clone(&self.0.turn).acquire_owned().await.map_err(|_| stopped())?;
            let (this, (answer, answered)) = (self.clone(), oneshot::channel());
            let mut work = Some(move || {
                let _turn = turn;
                let _ = answer.send(ask(&this));
                Ok(())
            });
            // Tokio panics if it has no thread and can get none, with the work in its queue: who comes first does it.
            let here = Arc::new(Mutex::new(move || work.take().map_or(Ok(()), |work| work())));
            let there = Arc::clone(&here);
            if catch_unwind(AssertUnwindSafe(|| spawn_blocking(move || lock(&there)()))).is_err() {
                self.write_patiently(Room::NotNeeded, move |_| lock(&here)()).await?;
            }
            answered.await.map_err(|_| stopped())?
        };
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_elapsed| self.silent("read", PATIENCE))?
    }

    fn silent(&self, verb: &'static str, waited: Duration) -> StoreError {
        StoreError::Silent { verb, dir: self.0.dir.clone(), waited }
    }

    /// A record from the database, with its revision; for [`Store::ask`].
    pub(crate) fn fetch<R: Record>(&self, namespace: &str, id: &str) -> Result<Option<(R, u64)>, StoreError> {
        let found = db::get(&self.reader(), R::KIND, namespace, id);
        let failed = |source| StoreError::Database { verb: "read", dir: self.0.dir.clone(), source };
        let found = found.map_err(failed)?;
        found.map(|found| Ok((found.decode()?, found.revision))).transpose()
    }

    /// A container from the database, for [`Store::ask`]; kept in the cache, unless it has changed meanwhile.
    pub(crate) fn fetch_container(
        &self,
        namespace: &str,
        id: &str,
    ) -> Result<Option<Arc<Container>>, StoreError> {
        let Some((container, revision)) = self.fetch::<Container>(namespace, id)? else { return Ok(None) };
        let container = Arc::new(container);
        let mut index = self.0.index.write().unwrap_or_else(PoisonError::into_inner);
        if index.container(namespace, id).is_some_and(|head| head.revision == revision) {
            index.cache.put(namespace, Arc::clone(&container));
        }
        Ok(Some(container))
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        lock(&self.0.reader)
    }

    /// Has everybody who reads from the disk wait, as for a disk that hangs, for as long as what it answers is kept.
    #[cfg(feature = "failpoints")]
    #[doc(hidden)]
    pub fn hang(&self) -> impl Drop + '_ {
        self.reader()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything readers need to know, and the last revision that was given.
fn load(connection: &Connection, path: &Path) -> Result<(Index, u64), OpenError> {
    let mut index = Index::default();
    let mut last = 0;
    let visit = |found: Found| {
        last = last.max(found.revision);
        match RecordKind::ALL.into_iter().find(|kind| kind.as_str() == found.kind) {
            Some(RecordKind::Namespace) => apply::<NamespaceRecord>(&mut index, &found),
            Some(RecordKind::Container) => apply::<Container>(&mut index, &found),
            Some(RecordKind::Lease) => apply::<Held>(&mut index, &found),
            Some(RecordKind::Sandbox) => apply::<Sandbox>(&mut index, &found),
            // Nothing this version has written; left alone.
            None => Ok(()),
        }
    };
    db::each(connection, visit).map_err(|failure: Failure| failure.of_open(path))?;
    Ok((index, last))
}

/// Why not all records could be read.
pub(crate) enum Failure {
    Database(rusqlite::Error),
    Record(StoreError),
}

impl Failure {
    /// As whoever opens the store at `path` gets to see it.
    pub(crate) fn of_open(self, path: &Path) -> OpenError {
        match self {
            Self::Database(source) => db::of_open(path, source),
            Self::Record(error) => {
                let dir = path.parent().unwrap_or(path).to_owned();
                OpenError::Damaged { dir, problem: error.to_string() }
            }
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn apply<R: Record>(index: &mut Index, found: &Found) -> Result<(), Failure> {
    let record: R = found.decode().map_err(Failure::Record)?;
    index.apply(Arc::new(record).into_change(&found.namespace, found.revision));
    Ok(())
}

#[cfg(test)]
mod tests {
    use shimkeeper_core::HasKind as _;
    use shimkeeper_core::Kind;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_takes_nothing_is_waited_for_only_so_long() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let store = Store::open_or_new(dir.path()).unwrap();
        let namespaces = store.namespaces();
        let (well_again, hanging) = std::sync::mpsc::channel::<()>();
        let stuck = store.write(Room::NotNeeded, move |_| {
            let _ = hanging.recv();
            Ok(())
        });
        let namespace = NamespaceRecord { name: "ns".to_owned(), ..NamespaceRecord::default() };
        let (stuck, late, ()) = tokio::join!(stuck, namespaces.create(namespace), store.give_back());
        let late = late.unwrap_err();
        assert!(stuck.is_err());
        assert_eq!(late.kind(), Kind::DeadlineExceeded, "{late}");
        assert!(late.to_string().contains("could not be changed within 30s"), "{late}");

        // What waits for a disk that is well again is done in turn, whoever still listens.
        tokio::time::resume();
        drop(well_again);
        store.write(Room::NotNeeded, |_| Ok(())).await.unwrap();
        assert_eq!(namespaces.list().len(), 1);
    }

    #[tokio::test]
    async fn closing_does_not_wait_for_ever_for_a_disk_that_takes_nothing() {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let store = Store::open_or_new(dir.path()).unwrap();
        let (well_again, hanging) = std::sync::mpsc::channel::<()>();
        let (says_so, is_running) = tokio::sync::oneshot::channel();
        let mut says_so = Some(says_so);
        let stuck = store.write(Room::NotNeeded, move |_| {
            let _ = says_so.take().map(|says_so| says_so.send(()));
            let _ = hanging.recv();
            Ok(())
        });
        tokio::select! {
            _ = stuck => panic!("nothing can be written"),
            running = is_running => running.unwrap(),
        }
        drop(store);
        assert!(matches!(Store::open_or_new(dir.path()), Err(OpenError::InUse { .. })), "it may still write");
        drop(well_again);
        while Store::open_or_new(dir.path()).is_err() {
            tokio::task::yield_now().await;
        }
    }
}
