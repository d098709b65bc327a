// SPDX-License-Identifier: Apache-2.0
//! The tasks a manager owns: all spawned here, told to stop together, awaited together; the last to leave are those
//! that the others need until their own end.

use std::future::Future;
use std::sync::Arc;

use shimkeeper_shim::{Durability, elsewhere, elsewhere_or_here};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A manager's tasks, and the token that tells them to leave. A clone is another handle on the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    detach: CancellationToken,
    tasks: TaskTracker,
    last: TaskTracker,
    /// Whether nobody ever waits for the state directory.
    state_is_in_memory: bool,
}

impl Scope {
    /// That of a manager whose state directory is in memory, or on something slower.
    pub(crate) fn over(state_is_in_memory: bool) -> Self {
        Self(Arc::new(Inner { state_is_in_memory, ..Inner::default() }))
    }

    /// Runs a task that the manager owns: it goes on when whoever asked for it is gone.
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.0.tasks.spawn(task)
    }

    /// Runs file operations off the async threads. They are part of what [`Scope::ended`] waits for, so that nothing
    /// is written to the directories once the manager has left.
    pub(crate) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        #[cfg(test)]
        if crate::simulation::is_on() {
            return self.0.tasks.spawn(async move { work() });
        }
        elsewhere_or_here(until_done(self.0.tasks.token(), work))
    }

    /// The same for what takes long, and is left out where no thread can be had; whether it is not.
    pub(crate) fn spawn_long(&self, work: impl FnOnce() + Send + 'static) -> bool {
        elsewhere(until_done(self.0.tasks.token(), work)).is_ok()
    }

    /// Runs operations on files of the state directory, and of no other: here, where that is in memory, because handing
    /// them to another thread takes longer than they do; off the async threads, where it is on a disk.
    ///
    /// # Cancel safety
    /// Once it was polled, they happen; only their result is lost.
    pub(crate) async fn in_state<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        if self.0.state_is_in_memory {
            return Ok(work());
        }
        self.spawn_blocking(work).await
    }

    /// What it takes to make a file of the state directory durable: of one in memory a crash of the machine leaves
    /// nothing, synced or not.
    pub(crate) fn durability(&self) -> Durability {
        if self.0.state_is_in_memory { Durability::Process } else { Durability::Machine }
    }

    /// Runs a task that leaves after all others: it waits for [`Scope::others_ended`].
    pub(crate) fn spawn_last<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.last.spawn(task);
    }

    /// File operations of such a task.
    pub(crate) fn spawn_blocking_last<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        #[cfg(test)]
        if crate::simulation::is_on() {
            return self.0.last.spawn(async move { work() });
        }
        elsewhere_or_here(until_done(self.0.last.token(), work))
    }

    /// The tracker, for pieces that spawn their own drivers.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// The token that is cancelled when the manager leaves.
    pub(crate) fn detach_token(&self) -> &CancellationToken {
        &self.0.detach
    }

    /// Whether the manager is leaving.
    pub(crate) fn is_detaching(&self) -> bool {
        self.0.detach.is_cancelled()
    }

    /// Tells every task to leave.
    pub(crate) fn start_detach(&self) {
        self.0.detach.cancel();
        self.0.tasks.close();
    }

    /// Waits until every task has left but those that leave last.
    pub(crate) async fn others_ended(&self) {
        // Not before they are told to: a tracker with nothing in it and open is not at its end.
        self.0.tasks.wait().await;
    }

    /// Waits until every task has left.
    pub(crate) async fn ended(&self) {
        self.0.tasks.wait().await;
        self.0.last.close();
        self.0.last.wait().await;
    }
}

/// The work, with a token that is given back when it is done.
fn until_done<T>(token: TaskTrackerToken, work: impl FnOnce() -> T + Send) -> impl FnOnce() -> T + Send {
    move || {
        let done = work();
        drop(token);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_what_may_be_slow_is_handed_to_another_thread() {
        let here = thread::current().id();
        let where_it_ran = async |scope: Scope| scope.in_state(|| thread::current().id()).await.unwrap();
        assert_eq!(where_it_ran(Scope::over(true)).await, here);
        assert_ne!(where_it_ran(Scope::over(false)).await, here);
    }
}
