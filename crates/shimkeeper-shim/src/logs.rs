// SPDX-License-Identifier: Apache-2.0
//! Reads what shims log, so that none of them ever waits for us.
//!
//! A shim writes its log into the FIFO `log` of its bundle, and stops serving when that is full. Whatever comes is
//! therefore read, and as fast as it comes; what is bounded is what is kept (a tail for error reports) and what is passed
//! on (lines per second, as `tracing` events of target `shim`).
//!
//! ```text
//! FIFO, FIFO, … ──▶ one epoll ──▶ Logs::run, one task ──▶ ShimLog: tail, counters, events
//! ```
//!
//! One task reads all logs, a piece of each that has something in turn, so that a flood holds up nobody else, and a log in
//! which nothing is written takes next to nothing.

mod lines;
mod said;
mod tail;

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{Timespec, epoll};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use shimkeeper_core::{HasKind, Kind, TaskKey};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

use crate::bundle::Bundle;
use crate::fs::FsError;
pub use said::LogCounters;
use said::Said;

/// The logs that are read together. Clones share them.
#[derive(Clone, Debug)]
pub struct Logs(Arc<Open>);

/// One shim's log; by default one that nobody reads. Clones share it, and it is read until [`ShimLog::end`], or until the
/// last of them is gone.
#[derive(Clone, Debug, Default)]
pub struct ShimLog(Option<Arc<Log>>);

/// Why a shim's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file operation failed.
    #[error(transparent)]
    Fs(FsError),
    /// Something else has the FIFO's name.
    #[error("{} is not a FIFO", path.display())]
    NotFifo {
        /// The path.
        path: std::path::PathBuf,
    },
    /// The FIFO cannot be waited for.
    #[error("cannot watch {}", path.display())]
    Watch {
        /// The path.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

#[derive(Debug)]
struct Open {
    /// Tells which of the FIFOs have something.
    watch: AsyncFd<OwnedFd>,
    /// By descriptor. One is taken out before it is closed, so that none is found under another's number.
    logs: Mutex<BTreeMap<RawFd, Weak<Log>>>,
}

struct Log {
    key: TaskKey,
    open: Arc<Open>,
    page: Mutex<Page>,
}

struct Page {
    /// `None` once it is read no more.
    fifo: Option<OwnedFd>,
    /// What was read; most shims never log a line.
    said: Option<Box<Said>>,
}

const NAME: &str = "log";
const MODE: u32 = 0o700;

/// How much is read at a time, in bytes.
const CHUNK: usize = 8 * 1024;

/// How many logs are read before it is asked again which have something.
const AT_ONCE: usize = 8;

/// How much is read at most after the shim is gone, in bytes: what a FIFO holds, unless somebody goes on writing.
const MAX_REMAINDER: usize = 1 << 20;

// === impl Logs ===

impl Logs {
    /// None yet.
    ///
    /// # Errors
    /// If the process may have no more descriptors.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new() -> std::io::Result<Self> {
        let watch = register(epoll::create(epoll::CreateFlags::CLOEXEC)?)?;
        Ok(Self(Arc::new(Open { watch, logs: Mutex::default() })))
    }

    /// Opens the log of a bundle, making the FIFO if there is none. For before the shim is launched, and again for
    /// a shim that is adopted.
    ///
    /// Opened for writing, too, so that neither opening waits for a writer nor reading ends with one.
    ///
    /// # Errors
    /// [`LogError`], also if the shim has put something else in the FIFO's place.
    pub fn open(&self, bundle: &Bundle) -> Result<ShimLog, LogError> {
        let path = || bundle.dir().join(NAME);
        let fifo = open_fifo(bundle)?.ok_or_else(|| LogError::NotFifo { path: path() })?;
        self.0.watch(&fifo).map_err(|errno| LogError::Watch { path: path(), source: errno.into() })?;
        let number = fifo.as_raw_fd();
        let page = Mutex::new(Page { fifo: Some(fifo), said: None });
        let log = Arc::new(Log { key: bundle.key().clone(), open: self.0.clone(), page });
        lock(&self.0.logs).insert(number, Arc::downgrade(&log));
        Ok(ShimLog(Some(log)))
    }

    /// Reads all logs until told to stop. It must be run, or shims stop when their FIFOs are full.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(poll_fn(|context| self.0.poll_read(context))).await;
    }
}

fn register(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps its descriptor open, and the same, for as long as the `AsyncFd` owns it.
    #[expect(unsafe_code, reason = "registering an fd promises that it stays open")]
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

fn open_fifo(bundle: &Bundle) -> Result<Option<OwnedFd>, LogError> {
    let dir = bundle.handle()?;
    // Looked at before it is opened: opening a device can already do something.
    let mut found = dir.stat(NAME)?;
    if found.is_none() {
        dir.make_fifo(NAME, MODE)?;
        found = dir.stat(NAME)?;
    }
    let is_fifo = |mode| FileType::from_raw_mode(mode) == FileType::Fifo;
    if !found.is_some_and(|stat| is_fifo(stat.st_mode)) {
        return Ok(None);
    }
    let fd = dir.open_file(NAME, OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    let stat = rustix::fs::fstat(&fd).map_err(|errno| dir.error("examine", NAME, errno))?;
    Ok(is_fifo(stat.st_mode).then_some(fd))
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Open ===

impl Open {
    fn watch(&self, fifo: &OwnedFd) -> Result<(), Errno> {
        let number = epoll::EventData::new_u64(u64::try_from(fifo.as_raw_fd()).unwrap_or(u64::MAX));
        epoll::add(&self.watch, fifo, number, epoll::EventFlags::IN)
    }

    fn forget(&self, fifo: &OwnedFd) {
        lock(&self.logs).remove(&fifo.as_raw_fd());
        // By hand: closed, it would be watched on for as long as a child that is about to be executed has it, too.
        let _ = epoll::delete(&self.watch, fifo);
    }

    /// Reads whatever there is, and is ready only when nothing can be waited for any more.
    fn poll_read(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut ready) = ready!(self.watch.poll_read_ready(context)) else { return Poll::Ready(()) };
            let mut room = [MaybeUninit::uninit(); AT_ONCE];
            match epoll::wait(&self.watch, &mut room, Some(&Timespec::default())) {
                Ok(([], _)) => ready.clear_ready(),
                Ok((found, _)) => found.iter().for_each(|event| self.read(event.data.u64())),
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the logs of shims are read no more");
                    return Poll::Ready(());
                }
            }
        }
    }

    fn read(&self, number: u64) {
        let Ok(number) = RawFd::try_from(number) else { return };
        let found = lock(&self.logs).get(&number).and_then(Weak::upgrade);
        if let Some(log) = found {
            log.read_once();
        }
    }
}

// === impl Log ===

impl Log {
    /// By way of the stack, and once: then it is others' turn.
    fn read_once(&self) {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut page = lock(&self.page);
        let Some(fifo) = &page.fifo else { return };
        match rustix::io::read(fifo, &mut chunk) {
            Ok(([], _)) | Err(Errno::AGAIN | Errno::INTR) => {}
            Ok((bytes, _)) => page.said().take(&self.key, bytes),
            Err(error) => {
                tracing::warn!(
                    namespace = %self.key.namespace, task = %self.key.id, %error,
                    "the shim's log is read no more"
                );
                drop(page);
                self.end();
            }
        }
    }

    /// Reads what is left.
    fn end(&self) {
        let Some(fifo) = lock(&self.page).fifo.take() else { return };
        self.open.forget(&fifo);
        let mut chunk = [0; CHUNK];
        let mut room = MAX_REMAINDER;
        let mut page = lock(&self.page);
        while let Ok(read @ 1..) = rustix::io::read(&fifo, &mut chunk) {
            page.said().take(&self.key, &chunk[..read]);
            let Some(left) = room.checked_sub(read) else { break };
            room = left;
        }
        if let Some(said) = &mut page.said {
            said.finish(&self.key);
        }
    }
}

impl Page {
    fn said(&mut self) -> &mut Said {
        self.said.get_or_insert_default()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("key", &self.key).finish_non_exhaustive()
    }
}

// === impl ShimLog ===

impl ShimLog {
    /// Reads what is left in the FIFO, and then no more. What was read is kept.
    pub fn end(&self) {
        if let Some(log) = &self.0 {
            log.end();
        }
    }

    /// The last lines, oldest first; printable, and without line ends.
    pub fn tail(&self) -> Vec<String> {
        self.said(Said::tail).unwrap_or_default()
    }

    /// How much came so far.
    pub fn counters(&self) -> LogCounters {
        self.said(Said::counters).unwrap_or_default()
    }

    fn said<T>(&self, f: impl FnOnce(&Said) -> T) -> Option<T> {
        lock(&self.0.as_ref()?.page).said.as_deref().map(f)
    }
}

// === impl LogError ===

impl From<FsError> for LogError {
    fn from(error: FsError) -> Self {
        if error.is(Errno::LOOP) {
            return Self::NotFifo { path: error.path().to_owned() };
        }
        Self::Fs(error)
    }
}

impl HasKind for LogError {
    fn kind(&self) -> Kind {
        match self {
            Self::Fs(error) => error.kind(),
            Self::NotFifo { .. } => Kind::FailedPrecondition,
            Self::Watch { source, .. } => Kind::of_io(source),
        }
    }
}

#[cfg(test)]
mod tests;
