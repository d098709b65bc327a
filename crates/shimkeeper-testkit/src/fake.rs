// SPDX-License-Identifier: Apache-2.0
//! The fake shim in the test's own process: same model, same script, no processes, any clock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::model::{Model, Spawner};
use crate::outbox::Outbox;
use crate::recorder::{NotSeen, Recorded};
use crate::script::Script;
use crate::shim::{Received, Shim};
use crate::{host, publisher};

/// A fake shim in this process. Its containers' processes are tasks with pids no kernel hands out.
///
/// Dropping it kills it. `Act::Die` does the same: connections and the listener are dropped, a socket file stays.
pub struct FakeShim {
    shim: Arc<Shim>,
    tracker: TaskTracker,
    events: watch::Receiver<Vec<Recorded>>,
}

impl FakeShim {
    /// A shim for the namespace `default` that keeps its events to itself. Needs a tokio runtime.
    pub fn new(script: Script) -> Self {
        Self::with_events(script, "default", None)
    }

    /// A shim that forwards its events to the ttrpc socket `to`, and keeps them too. Needs a tokio runtime.
    pub fn with_events(script: Script, namespace: &str, to: Option<PathBuf>) -> Self {
        let tracker = TaskTracker::new();
        let (outbox, queue) = Outbox::new(namespace, script.events);
        let model = Model::new(Spawner::of_tasks(), outbox.clone(), tracker.clone());
        let shim = Arc::new(Shim::new(script, model, outbox, std::process::id(), false));
        let (kept, events) = watch::channel(Vec::new());
        let dead = shim.halt.dead.clone();
        tracker.spawn(async move {
            tokio::select! {
                () = dead.cancelled() => {}
                () = publisher::deliver_all(queue, to, kept) => {}
            }
        });
        Self { shim, tracker, events }
    }

    /// Serves a connection in the protocol the script's answer promises.
    pub fn serve<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.tracker.spawn(host::serve(stream, Arc::clone(&self.shim), self.tracker.clone()));
    }

    /// A new connection: the client's end of it.
    pub fn connect(&self) -> DuplexStream {
        // As much as a unix socket holds by default, so that a peer which stops reading is felt as soon.
        let (client, server) = duplex(200 << 10);
        self.serve(server);
        client
    }

    /// Listens on a new socket in `dir`.
    pub fn bind(&self, dir: &Path) -> io::Result<PathBuf> {
        let path = dir.join("fake.sock");
        let listener = UnixListener::bind(&path)?;
        self.shim.halt.listeners.spawn(host::accept(listener, Arc::clone(&self.shim), self.tracker.clone()));
        Ok(path)
    }

    /// The calls received so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.shim.received()
    }

    /// The events sent so far, in order.
    pub fn events(&self) -> Vec<Recorded> {
        self.events.borrow().clone()
    }

    /// Waits until `enough` of the events sent, and returns them.
    ///
    /// # Errors
    /// [`NotSeen`] after `deadline`, with what was sent.
    ///
    /// # Cancel safety
    /// Nothing is taken away by waiting.
    pub async fn wait_for_events(
        &self,
        deadline: Duration,
        mut enough: impl FnMut(&[Recorded]) -> bool,
    ) -> Result<Vec<Recorded>, NotSeen> {
        let mut events = self.events.clone();
        if let Ok(Ok(seen)) = timeout(deadline, events.wait_for(|seen| enough(seen))).await {
            return Ok(seen.clone());
        }
        Err(NotSeen { waited: deadline, seen: self.events() })
    }

    /// Makes a process end by itself with this status. False if there is no such live process.
    pub fn end_process(&self, id: &str, exec_id: &str, status: u32) -> bool {
        self.shim.model.end(id, exec_id, status)
    }

    /// Kills the shim.
    pub fn die(&self) {
        self.shim.die();
    }

    /// Whether the shim was killed, by a test or by its script, or has shut down.
    pub fn is_gone(&self) -> bool {
        self.shim.halt.dead.is_cancelled() || self.shim.halt.stopping.is_cancelled()
    }
}

impl Drop for FakeShim {
    fn drop(&mut self) {
        self.shim.die();
    }
}

impl std::fmt::Debug for FakeShim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeShim").field("script", &self.shim.script).finish_non_exhaustive()
    }
}
