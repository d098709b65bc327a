// SPDX-License-Identifier: Apache-2.0
//! How long a shim may take for what. Nothing but `wait` is without a deadline.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// The time allowed for each thing a shim is asked. A caller's own, shorter deadline always wins.
///
/// Start from [`Deadlines::default`] and change what you need.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// The shim binary's `start` action. Default 30 s.
    pub launch: Duration,
    /// The shim binary's `-info` action. Default 5 s.
    pub info: Duration,
    /// Connecting to the shim's socket. Default 10 s.
    pub dial: Duration,
    /// `Create`: the OCI runtime sets the container up. Default 2 min.
    pub create: Duration,
    /// `Start` of a task or an exec. Default 30 s.
    pub start: Duration,
    /// `Exec`. Default 30 s.
    pub exec: Duration,
    /// `State`, and `Connect`. Default 2 s.
    pub state: Duration,
    /// `Kill`. Default 10 s.
    pub kill: Duration,
    /// `Delete`: an honest shim may drain output for 10 s. Default 30 s.
    pub delete: Duration,
    /// `Pids`, `Stats`, `ResizePty`, `CloseIO`. Default 10 s.
    pub query: Duration,
    /// `Pause`, `Resume`, `Update`. Default 30 s.
    pub change: Duration,
    /// `Checkpoint`. Default 10 min.
    pub checkpoint: Duration,
    /// `Shutdown`, before SIGTERM is tried. Default 3 s.
    pub shutdown: Duration,
    /// After SIGTERM, before SIGKILL; and after SIGKILL, before giving up for now. Default 2 s.
    pub signal: Duration,
    /// The shim binary's `delete` action. Default 10 s.
    pub reap: Duration,
}

/// The deadlines of a runtime as they are now; every clone sees a change.
#[derive(Clone, Debug)]
pub(crate) struct Timing(Arc<RwLock<Arc<Deadlines>>>);

impl Timing {
    pub(crate) fn new(deadlines: Deadlines) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(deadlines))))
    }

    pub(crate) fn now(&self) -> Arc<Deadlines> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, deadlines: Deadlines) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(deadlines);
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            launch: s(30),
            info: s(5),
            dial: s(10),
            create: s(120),
            start: s(30),
            exec: s(30),
            state: s(2),
            kill: s(10),
            delete: s(30),
            query: s(10),
            change: s(30),
            checkpoint: s(600),
            shutdown: s(3),
            signal: s(2),
            reap: s(10),
        }
    }
}
