// SPDX-License-Identifier: Apache-2.0
//! The one thread that writes. It takes all requests that wait, makes one transaction of them, and answers when that
//! is on disk; so the price of making it safe is shared by those who come together.
//!
//! ```text
//! queue → batch → room? → BEGIN, every request in turn, COMMIT → index → replies → empty the log, if it is long
//!                   └ no ─────────┴ failed: each request once more, alone, so that one cannot spoil the others
//! ```

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::db;
use crate::error::StoreError;
use crate::index::{Change, Index};
use crate::kind::RecordKind;
use crate::lock::Lock;
use crate::record::Record;
use crate::reserve::Reserve;

/// Most requests in one transaction.
const BATCH: usize = 64;
/// Most requests that wait for the thread; whoever comes then waits with what it asks for still in its own hands.
const WAITING: usize = 4 * BATCH;
/// How long the log gets before it is emptied, in bytes.
const LONG_LOG: usize = 512 * 1024;
/// How long what was handed in may still be written when the store is closed. Whoever asked for it was told nothing yet.
const FAREWELL: Duration = Duration::from_secs(5);
/// What one record costs in the log at least: the pages on the way to it.
const COST: usize = 5 * 4096;

/// Whether a request makes the store larger, and by how much more than any record does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    NotNeeded,
    Needed(usize),
}

/// What a request may do in the transaction. It refuses before it writes anything, or not at all.
pub(crate) struct Tx<'a> {
    connection: &'a Connection,
    dir: &'a PathBuf,
    revision: &'a mut u64,
    changes: Vec<Change>,
    written: usize,
}

/// Where requests are handed in. Dropped, it waits until the thread has ended, or for as long as is bearable: the thread
/// may be in a write that never ends.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<Sender<Box<dyn Job>>>,
    places: Arc<Semaphore>,
    /// Nothing is ever sent; it is closed by the thread's end.
    ended: Mutex<Receiver<Infallible>>,
    dir: PathBuf,
}

trait Job: Send {
    fn room(&self) -> Room;
    /// Fails only with what concerns the whole transaction.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    fn settle(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Request<T, F> {
    room: Room,
    operation: F,
    outcome: Option<Result<T, StoreError>>,
    _place: OwnedSemaphorePermit,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

struct Worker {
    connection: Connection,
    // After the connection: see there.
    reserve: Reserve,
    index: Arc<RwLock<Index>>,
    dir: PathBuf,
    revision: u64,
    in_log: usize,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn start(
        connection: Connection,
        reserve: Reserve,
        index: Arc<RwLock<Index>>,
        dir: PathBuf,
        revision: u64,
        lock: Arc<Lock>,
    ) -> std::io::Result<Self> {
        let (queue, requests) = channel();
        // What the last life left in the log is emptied with the first write.
        let worker = Worker { connection, reserve, index, dir: dir.clone(), revision, in_log: LONG_LOG };
        let (alive, ended) = channel();
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread.spawn(move || {
            // Let go of in this order, and after the database.
            let _held = (lock, alive);
            worker.serve(&requests);
        })?;
        Ok(Self {
            queue: Some(queue),
            places: Arc::new(Semaphore::new(WAITING)),
            ended: Mutex::new(ended),
            dir,
        })
    }

    pub(crate) async fn run<T, F>(&self, room: Room, operation: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let stopped = || StoreError::Stopped { dir: self.dir.clone() };
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| stopped())?;
        let (reply, answer) = oneshot::channel();
        let request = Box::new(Request { room, operation, outcome: None, _place: place, reply });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(request).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(FAREWELL) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(dir = %self.dir.display(), "closing the records while they are still being written");
        }
    }
}

// === impl Worker ===

impl Worker {
    fn serve(mut self, requests: &Receiver<Box<dyn Job>>) {
        while let Ok(first) = requests.recv() {
            let batch = std::iter::once(first).chain(requests.try_iter()).take(BATCH).collect();
            self.attempt(batch);
            if self.in_log >= LONG_LOG {
                self.empty_log();
            }
        }
        // A copy of the database alone is then a copy of the store.
        self.empty_log();
    }

    fn attempt(&mut self, mut batch: Vec<Box<dyn Job>>) {
        match self.commit(&mut batch) {
            Ok(changes) => {
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                for change in changes {
                    index.apply(change);
                }
                drop(index);
                for job in batch {
                    job.settle(Ok(()));
                }
            }
            Err(error) => match <[_; 1]>::try_from(batch) {
                Ok([job]) => job.settle(Err(error)),
                Err(several) => {
                    for job in several {
                        self.attempt(vec![job]);
                    }
                }
            },
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> Result<Vec<Change>, StoreError> {
        let needed = batch.iter().filter_map(|job| match job.room() {
            Room::NotNeeded => None,
            Room::Needed(bytes) => Some(bytes + COST),
        });
        if let Some(bytes) = needed.reduce(|a, b| a + b) {
            let full = |source| StoreError::Full { dir: self.dir.clone(), source };
            self.reserve.ensure(bytes).map_err(full)?;
        }
        let failed = |verb| {
            let dir = self.dir.clone();
            move |source| StoreError::Database { verb, dir, source }
        };
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = transaction.map_err(failed("write to"))?;
        let revision = &mut self.revision;
        let mut tx =
            Tx { connection: &transaction, dir: &self.dir, revision, changes: Vec::new(), written: 0 };
        for job in batch {
            job.run(&mut tx)?;
        }
        let Tx { changes, written, .. } = tx;
        transaction.commit().map_err(failed("write to"))?;
        self.in_log += written;
        Ok(changes)
    }

    /// Writes what is in the log into the database, so that the log can start over. A failure costs nothing but
    /// room in the log; the next attempt comes with the next write.
    fn empty_log(&mut self) {
        let counts = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], counts);
        if let Ok((frames, done)) = emptied {
            if frames == done {
                self.in_log = 0;
            }
            self.reserve.forget_database();
        }
    }
}

// === impl Request ===

impl<T, F> Job for Request<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn room(&self) -> Room {
        self.room
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let before = tx.changes.len();
        match (self.operation)(tx) {
            Err(error) if error.is_storage() => Err(error),
            outcome => {
                debug_assert!(outcome.is_ok() || tx.changes.len() == before, "refused after writing");
                self.outcome = Some(outcome);
                Ok(())
            }
        }
    }

    fn settle(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { outcome, reply, _place, .. } = *self;
        let outcome = match (committed, outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => unreachable!("a request of a committed batch has run"),
        };
        // The caller may no longer be there to hear it.
        let _ = reply.send(outcome);
    }
}

// === impl Tx ===

impl Tx<'_> {
    pub(crate) fn get<R: Record>(&self, namespace: &str, id: &str) -> Result<Option<R>, StoreError> {
        let found = db::get(self.connection, R::KIND, namespace, id).map_err(|source| self.failed(source))?;
        found.map(|found| found.decode()).transpose()
    }

    pub(crate) fn exists<R: Record>(&self, namespace: &str, id: &str) -> Result<bool, StoreError> {
        let found = db::exists(self.connection, R::KIND, namespace, id);
        found.map_err(|source| self.failed(source))
    }

    pub(crate) fn any(&self, kind: RecordKind, namespace: &str) -> Result<bool, StoreError> {
        db::any(self.connection, kind, namespace).map_err(|source| self.failed(source))
    }

    /// Writes a record, and that of its namespace if there is none yet.
    pub(crate) fn put<R: Record>(&mut self, namespace: &str, record: Arc<R>) -> Result<(), StoreError> {
        let implied = R::KIND != RecordKind::Namespace;
        if implied && !self.exists::<crate::NamespaceRecord>(namespace, "")? {
            let record = crate::NamespaceRecord { name: namespace.to_owned(), ..Default::default() };
            self.write(namespace, Arc::new(record))?;
        }
        self.write(namespace, record)
    }

    fn write<R: Record>(&mut self, namespace: &str, record: Arc<R>) -> Result<(), StoreError> {
        *self.revision += 1;
        let row = record.to_row();
        let put = db::put(self.connection, R::KIND, namespace, record.id(), *self.revision, &row);
        put.map_err(|source| self.failed(source))?;
        self.written += row.len() + COST;
        self.changes.push(record.into_change(namespace, *self.revision));
        Ok(())
    }

    /// Lets go of pages of the database that are in memory.
    pub(crate) fn shrink(&self) {
        db::shrink(self.connection);
    }

    /// Whether there was such a record; only then is it said to be gone.
    pub(crate) fn remove(
        &mut self,
        kind: RecordKind,
        namespace: &str,
        id: &str,
        gone: Change,
    ) -> Result<bool, StoreError> {
        let found = db::delete(self.connection, kind, namespace, id).map_err(|source| self.failed(source))?;
        if found {
            self.written += COST;
            self.changes.push(gone);
        }
        Ok(found)
    }

    /// Removes a namespace and everything in it.
    pub(crate) fn remove_namespace(&mut self, name: &str) -> Result<(), StoreError> {
        for kind in RecordKind::ALL {
            db::delete_all(self.connection, kind, name).map_err(|source| self.failed(source))?;
            self.written += COST;
        }
        self.changes.push(Change::NamespaceGone { name: name.to_owned() });
        Ok(())
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Database { verb: "write to", dir: self.dir.clone(), source }
    }
}
