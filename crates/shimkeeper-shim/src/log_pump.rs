// SPDX-License-Identifier: Apache-2.0
//! Reads what a shim logs, so that it never waits for us.
//!
//! A shim writes its log into the FIFO `log` of its bundle, and stops serving when that is full. The driver
//! therefore reads whatever comes and as fast as it comes; what is bounded is what is kept (a tail for error
//! reports) and what is passed on (lines per second, as `tracing` events of target `shim`).

mod lines;
mod tail;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use shimkeeper_core::{HasKind, Kind, TaskKey};
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::unix::pipe::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bundle::Bundle;
use crate::fs::FsError;
use lines::Lines;
use tail::Tail;

/// What was read of a shim's log so far; by default of one that nobody reads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LogPump {
    shared: Arc<Mutex<Shared>>,
}

/// The reader. It must be run, or the shim stops when the FIFO is full.
#[must_use = "a log that nobody reads stops the shim"]
#[derive(Debug)]
pub struct LogDriver {
    fifo: Receiver,
    sink: Sink,
}

/// How much came, and how much of it was not passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Bytes read.
    pub bytes: u64,
    /// Lines read.
    pub lines: u64,
    /// Lines that were cut to their longest allowed length.
    pub cut: u64,
    /// Lines that were kept from the log because there were too many in one second.
    pub withheld: u64,
}

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

#[derive(Debug, Default)]
struct Shared {
    tail: Tail,
    counters: LogCounters,
}

/// How many lines are passed on in one second.
#[derive(Debug)]
struct Allowance {
    until: Option<Instant>,
    left: u32,
}

const NAME: &str = "log";
const MODE: u32 = 0o700;
const LINES_PER_SECOND: u32 = 100;

/// How much is read at a time, in bytes.
const CHUNK: usize = 8 * 1024;

/// How much is read at most after the shim is gone, in bytes: what a FIFO holds, unless somebody goes on writing.
const MAX_REMAINDER: usize = 1 << 20;

// === impl LogPump ===

impl LogPump {
    /// Opens the log of a bundle, making the FIFO if there is none. For before the shim is launched, and again for
    /// a shim that is adopted.
    ///
    /// Opened for writing, too, so that neither opening waits for a writer nor reading ends with one.
    ///
    /// # Errors
    /// [`LogError`], also if the shim has put something else in the FIFO's place.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(bundle: &Bundle) -> Result<(Self, LogDriver), LogError> {
        let path = bundle.dir().join(NAME);
        let fd = open_fifo(bundle)?.ok_or_else(|| LogError::NotFifo { path: path.clone() })?;
        let fifo = Receiver::from_owned_fd(fd).map_err(|source| LogError::Watch { path, source })?;
        let shared = Arc::<Mutex<Shared>>::default();
        let sink = Sink {
            key: bundle.key().clone(),
            shared: Arc::clone(&shared),
            allowance: Allowance::full(),
            lines: Lines::default(),
        };
        Ok((Self { shared }, LogDriver { fifo, sink }))
    }

    /// The last lines, oldest first; printable, and without line ends.
    pub fn tail(&self) -> Vec<String> {
        lock(&self.shared).tail.lines()
    }

    /// How much came so far.
    pub fn counters(&self) -> LogCounters {
        lock(&self.shared).counters
    }
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

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl LogDriver ===

impl LogDriver {
    /// Reads until told to stop, then what is left in the FIFO.
    ///
    /// # Cancel safety
    /// May be dropped at any time; at most a line that was not ended yet is lost.
    #[expect(
        clippy::manual_async_fn,
        reason = "one has room for its arguments twice, and each shim has this future"
    )]
    pub fn run(mut self, stop: CancellationToken) -> impl Future<Output = ()> + Send {
        async move {
            while let Some(read) = stop.run_until_cancelled(poll_fn(|context| self.poll_read(context))).await
            {
                if let Err(error) = read {
                    tracing::warn!(
                        namespace = %self.sink.key.namespace, task = %self.sink.key.id, %error,
                        "the shim's log is read no more"
                    );
                    break;
                }
            }
            self.read_the_rest();
        }
    }

    /// Reads once. By way of the stack: most shims never log a line.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut chunk = [MaybeUninit::uninit(); CHUNK];
        let mut read = ReadBuf::uninit(&mut chunk);
        ready!(Pin::new(&mut self.fifo).poll_read(context, &mut read))?;
        self.sink.take(read.filled());
        Poll::Ready(Ok(()))
    }

    /// Reads straight from the descriptor: the runtime may not have noticed the last words yet.
    fn read_the_rest(&mut self) {
        let mut chunk = [0; CHUNK];
        let mut room = MAX_REMAINDER;
        while let Ok(read @ 1..) = rustix::io::read(&self.fifo, &mut chunk) {
            self.sink.take(&chunk[..read]);
            let Some(left) = room.checked_sub(read) else { break };
            room = left;
        }
        self.sink.finish();
    }
}

/// Where lines go.
#[derive(Debug)]
struct Sink {
    key: TaskKey,
    shared: Arc<Mutex<Shared>>,
    allowance: Allowance,
    lines: Lines,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) {
        let Self { key, shared, allowance, lines } = self;
        let now = Instant::now();
        let mut shared = lock(shared);
        shared.counters.bytes += bytes.len() as u64;
        lines.push(bytes, |line, cut| note(key, &mut shared, allowance, now, line, cut));
    }

    fn finish(&mut self) {
        let Self { key, shared, allowance, lines } = self;
        let now = Instant::now();
        let mut shared = lock(shared);
        lines.finish(|line, cut| note(key, &mut shared, allowance, now, line, cut));
        let LogCounters { cut, withheld, .. } = shared.counters;
        if withheld > 0 {
            tracing::debug!(target: "shim", namespace = %key.namespace, id = %key.id, withheld, cut, "not all lines are here");
        }
    }
}

fn note(key: &TaskKey, shared: &mut Shared, allowance: &mut Allowance, now: Instant, line: &str, cut: bool) {
    shared.counters.lines += 1;
    shared.counters.cut += u64::from(cut);
    shared.tail.push(line);
    if allowance.take(now) {
        tracing::debug!(target: "shim", namespace = %key.namespace, id = %key.id, "{line}");
    } else {
        shared.counters.withheld += 1;
    }
}

// === impl Allowance ===

impl Allowance {
    fn full() -> Self {
        Self { until: None, left: LINES_PER_SECOND }
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.until.is_none_or(|until| now >= until) {
            *self = Self { until: Some(now + Duration::from_secs(1)), left: LINES_PER_SECOND };
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
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
