// SPDX-License-Identifier: Apache-2.0
//! The containers of a fake shim: what an honest shim would know about them, and do to them.
//!
//! ```text
//! created ── start ──▶ running ◀── pause/resume ──▶ paused
//!    │                    │                            │
//!    └──────── the process ends, by itself or killed ──┴──▶ stopped ── delete ──▶ forgotten
//! ```
//!
//! One lock guards everything, and events are queued under it, so their order is that of the changes they tell
//! of. The texts of errors are those of the runc shim: clients match some of them.

mod behaviour;
mod failure;
mod lifecycle;
mod process;
mod queries;
mod real;
mod spawn;
mod virtual_process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::task::TaskTracker;

use crate::outbox::Outbox;

use behaviour::Behaviour;
pub(crate) use failure::Failure;
use process::{Ended, Phase, Process};
pub(crate) use real::{ACTION as INIT_ACTION, run_init};
pub(crate) use spawn::Spawner;
use spawn::{Control, Launch, Spawned, StdioPaths};

/// The containers of one shim. A cheap handle.
#[derive(Clone)]
pub(crate) struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    tasks: Mutex<BTreeMap<String, Task>>,
    spawner: Spawner,
    outbox: Outbox,
    tracker: TaskTracker,
}

/// One container.
pub(crate) struct Task {
    pub(crate) bundle: String,
    pub(crate) init: Process,
    pub(crate) execs: BTreeMap<String, Process>,
}

impl Model {
    pub(crate) fn new(spawner: Spawner, outbox: Outbox, tracker: TaskTracker) -> Self {
        Self { shared: Arc::new(Shared { tasks: Mutex::default(), spawner, outbox, tracker }) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tasks().is_empty()
    }

    /// Ends a process with this status, as if by itself. False if there is no such live process.
    pub(crate) fn end(&self, id: &str, exec_id: &str, status: u32) -> bool {
        let tasks = self.tasks();
        let Some(process) = tasks.get(id).and_then(|task| task.process(exec_id).ok()) else { return false };
        process.phase != Phase::Stopped && process.control.as_ref().is_some_and(|control| control.end(status))
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Task>> {
        self.shared.tasks.lock().expect("no code panics while it holds the lock")
    }

    /// Runs `look` on a container under the lock.
    fn with<R>(&self, id: &str, look: impl FnOnce(&mut Task) -> Result<R, Failure>) -> Result<R, Failure> {
        look(self.tasks().get_mut(id).ok_or_else(Failure::no_container)?)
    }
}

impl Task {
    pub(crate) fn process(&self, exec_id: &str) -> Result<&Process, Failure> {
        match exec_id {
            "" => Ok(&self.init),
            exec => self.execs.get(exec).ok_or_else(|| Failure::no_process(exec)),
        }
    }

    fn process_mut(&mut self, exec_id: &str) -> Result<&mut Process, Failure> {
        match exec_id {
            "" => Ok(&mut self.init),
            exec => self.execs.get_mut(exec).ok_or_else(|| Failure::no_process(exec)),
        }
    }
}
