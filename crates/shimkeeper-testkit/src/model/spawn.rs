// SPDX-License-Identifier: Apache-2.0
//! How a fake process comes to life: as a task under the test's clock, or as a real child of the shim.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Behaviour, Failure, real, virtual_process};

/// What makes processes.
#[derive(Clone)]
pub(crate) enum Spawner {
    /// Tasks. Their pids are above what a kernel hands out, so no real process can be meant by them.
    Virtual { next_pid: Arc<AtomicU32> },
    /// Children that run this executable.
    Real { executable: PathBuf, lifetime: Duration },
}

/// The standard streams a request names; empty means none.
#[derive(Clone, Debug, Default)]
pub(crate) struct StdioPaths {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// What to bring to life.
pub(crate) struct Launch<'a> {
    /// Which process it is, for people who look at the process table.
    pub(crate) label: String,
    pub(crate) behaviour: &'a Behaviour,
    pub(crate) stdio: &'a StdioPaths,
}

/// A process that exists and waits for [`Control::begin`].
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) control: Control,
    /// Its status, once it is dead and reaped.
    pub(crate) exited: Pin<Box<dyn Future<Output = u32> + Send>>,
}

/// The hold on a live process.
pub(crate) enum Control {
    /// A task listens.
    Virtual(mpsc::UnboundedSender<Nudge>),
    /// A child listens on its standard input; signals go through the descriptor, so never to somebody else.
    Real { pidfd: OwnedFd, stdin: OwnedFd },
}

/// What a virtual process can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nudge {
    Begin,
    CloseStdin,
    Freeze(bool),
    End(u32),
}

impl Spawner {
    /// A maker of tasks.
    pub(crate) fn of_tasks() -> Self {
        // The kernel's limit of pids is 2^22.
        const FIRST: u32 = 1 << 23;
        Self::Virtual { next_pid: Arc::new(AtomicU32::new(FIRST)) }
    }

    pub(crate) fn spawn(&self, launch: &Launch<'_>) -> io::Result<Spawned> {
        match self {
            Self::Virtual { next_pid } => {
                Ok(virtual_process::spawn(next_pid.fetch_add(1, Ordering::Relaxed), launch.behaviour))
            }
            Self::Real { executable, lifetime } => real::spawn(executable, *lifetime, launch),
        }
    }
}

impl Control {
    /// Lets the process do what it is for.
    pub(crate) fn begin(&self) {
        self.tell(Nudge::Begin);
    }

    pub(crate) fn close_stdin(&self) {
        self.tell(Nudge::CloseStdin);
    }

    /// Sends a signal the process is known to die of.
    pub(crate) fn signal(&self, signal: i32) -> Result<(), Failure> {
        match self {
            Self::Virtual(_) => {
                self.tell(Nudge::End(128 + signal.unsigned_abs()));
                Ok(())
            }
            Self::Real { pidfd, .. } => real::signal(pidfd, signal),
        }
    }

    /// Makes it end with this status, as if by itself.
    pub(crate) fn end(&self, status: u32) -> bool {
        self.tell(Nudge::End(status))
    }

    /// Stops or continues it.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<(), Failure> {
        match self {
            Self::Virtual(_) => {
                self.tell(Nudge::Freeze(frozen));
                Ok(())
            }
            Self::Real { pidfd, .. } => real::freeze(pidfd, frozen),
        }
    }

    /// Whether anybody was there to hear it.
    fn tell(&self, nudge: Nudge) -> bool {
        match self {
            Self::Virtual(to) => to.send(nudge).is_ok(),
            Self::Real { stdin, .. } => real::tell(stdin, nudge),
        }
    }
}
