// SPDX-License-Identifier: Apache-2.0
//! The writing end of a process's input.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use shimkeeper_core::ProcessKey;
use shimkeeper_proto::containerd::task::v3::CloseIoRequest;
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::limit::Limit;
use crate::scope::Scope;
use crate::shim::Shim;

type Ended = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// Writes to a process's standard input.
///
/// The end of the input reaches the process when this is shut down or dropped: our end is closed, and the shim, which
/// keeps one of its own, is told (`CloseIO`). Writing to a process that has ended fails with `BrokenPipe`.
pub struct StdinPipe {
    inlet: Arc<Inlet>,
    ended: Ended,
    shim: Weak<Shim>,
    process: ProcessKey,
    scope: Scope,
    runtime: Handle,
    closing: Option<JoinHandle<()>>,
}

/// Our end of the FIFO, which may be closed from elsewhere too: the input ends only once nobody has it open.
#[derive(Debug)]
pub(crate) struct Inlet(Mutex<Valve>);

#[derive(Debug)]
struct Valve {
    sender: Option<pipe::Sender>,
    writer: Option<Waker>,
}

impl Inlet {
    fn lock(&self) -> MutexGuard<'_, Valve> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes our end; whether it was open.
    pub(crate) fn close(&self) -> bool {
        let (sender, writer) = {
            let mut valve = self.lock();
            (valve.sender.take(), valve.writer.take())
        };
        // A writer that waits for room would never hear of it otherwise.
        if let Some(writer) = writer {
            writer.wake();
        }
        sender.is_some()
    }

    /// `None` once it is closed.
    fn poll_write(&self, cx: &mut Context<'_>, buf: &[u8]) -> Option<Poll<io::Result<usize>>> {
        let mut valve = self.lock();
        let written = Pin::new(valve.sender.as_mut()?).poll_write(cx, buf);
        valve.writer = written.is_pending().then(|| cx.waker().clone());
        Some(written)
    }
}

impl StdinPipe {
    pub(crate) fn new(sender: pipe::Sender, shim: &Arc<Shim>, process: &ProcessKey) -> Self {
        let (weak, key) = (Arc::downgrade(shim), process.clone());
        let ended = async move {
            let Some(shim) = weak.upgrade() else { return };
            // Weak again while waiting would miss the wake-up; the shim is let go of when the process ends.
            let _ = shim.ledger.exited(&key).await;
        };
        Self {
            inlet: Arc::new(Inlet(Mutex::new(Valve { sender: Some(sender), writer: None }))),
            ended: Box::pin(ended),
            shim: Arc::downgrade(shim),
            process: process.clone(),
            scope: shim.env.scope.clone(),
            runtime: Handle::current(),
            closing: None,
        }
    }

    pub(crate) fn inlet(&self) -> Arc<Inlet> {
        self.inlet.clone()
    }

    /// Closes our end and has the shim close its own, once. One that was closed from elsewhere is no longer ours to
    /// speak of: the process may be gone, and its id another's.
    fn begin_close(&mut self) {
        if !self.inlet.close() {
            return;
        }
        let (shim, key) = (self.shim.clone(), self.process.clone());
        let close = async move {
            if let Some(shim) = shim.upgrade() {
                // A process that has ended has no input to close.
                let _ = close_stdin(&shim, &key, Limit::default()).await;
            }
        };
        self.closing = Some(self.scope.tasks().spawn_on(close, &self.runtime));
    }
}

/// Has our end and that of the shim closed: the process reads the end of its input.
pub(crate) async fn close_stdin(shim: &Shim, process: &ProcessKey, limit: Limit) -> Result<(), Error> {
    // The shim closes its end; the process sees the end of its input only once ours is closed too.
    shim.close_input(process);
    let request =
        CloseIoRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned(), stdin: true };
    let deadline = limit.begin().cap(shim.deadlines().query);
    shim.call("CloseIO", deadline, |c, call| async move { c.close_io(&call, &request).await })
        .await
        .map(drop)
        .map_err(|e| e.of_process(process))
}

impl AsyncWrite for StdinPipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.inlet.poll_write(cx, buf) {
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(Poll::Ready(result)) => return Poll::Ready(result),
            Some(Poll::Pending) => {}
        }
        // The FIFO stays open on our side, so the kernel would never say that the reader is gone.
        match this.ended.as_mut().poll(cx) {
            Poll::Ready(()) => {
                this.ended = Box::pin(std::future::ready(()));
                Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.begin_close();
        match &mut self.closing {
            Some(closing) => Pin::new(closing).poll(cx).map(|_| {
                self.closing = None;
                Ok(())
            }),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for StdinPipe {
    fn drop(&mut self) {
        self.begin_close();
    }
}

impl fmt::Debug for StdinPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdinPipe")
            .field("process", &self.process)
            .field("open", &self.inlet.lock().sender.is_some())
            .finish_non_exhaustive()
    }
}
