// SPDX-License-Identifier: Apache-2.0
//! The handle of a task.

mod delete;
pub(crate) mod denial;
mod exec;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::{Any, ExecId, Exit, Incarnation, ProcessKey, TaskKey};
use shimkeeper_proto::containerd::runc::v1::ProcessDetails;
use shimkeeper_proto::containerd::task::v3 as wire;
use shimkeeper_proto::google::protobuf;

pub use exec::ExecTask;

use crate::checkpoint::Checkpoint;
use crate::convert;
use crate::error::{Error, Refused, Step};
use crate::health::Health;
use crate::ledger::ExitRecord;
use crate::limit::Limit;
use crate::phases::Phases;
use crate::process::{self, Process};
use crate::resources::Resources;
use crate::shim::Shim;
use crate::state::ProcessState;
use crate::stats::Stats;
use crate::stdio::{self, ProcessIo};

/// A task: a container and the shim it runs under. A clone is another handle on the same one.
///
/// A handle is bound to one life of its id: when the task is deleted and the id used again, the old handle answers
/// `NotFound` and never touches the new task. Dropping every handle leaves the task running.
#[derive(Clone)]
pub struct Task {
    pub(crate) shim: Arc<Shim>,
    limit: Limit,
}

/// A process in a task's container, as the shim counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskPid {
    /// Process id on the host.
    pub pid: u32,
    /// The exec it is, if the shim says so.
    pub exec: Option<String>,
}

impl Task {
    pub(crate) fn new(shim: Arc<Shim>) -> Self {
        Self { shim, limit: Limit::default() }
    }

    /// The same task, through a handle of which every call has to be over within `limit`: for a caller with less time
    /// than the manager's [`Deadlines`](crate::Deadlines) give. A longer one changes nothing. It holds for
    /// [`Task::wait`] and [`Task::delete`] too, and not for the execs that the handle makes.
    ///
    /// A call that is not over by then fails with `DeadlineExceeded`, as one that its shim does not answer; a deletion
    /// goes on in the background.
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit: Limit::of(limit), ..self.clone() }
    }

    /// How its shim is doing, as far as that is known without asking it.
    pub fn health(&self) -> Health {
        self.shim.vitals.get()
    }

    /// Namespace and id.
    pub fn key(&self) -> &TaskKey {
        &self.shim.key
    }

    /// Which life of the id this is.
    pub fn incarnation(&self) -> Incarnation {
        self.shim.incarnation
    }

    /// Process id of the container's init on the host; `None` where the shim does not name one.
    pub fn pid(&self) -> Option<u32> {
        Some(self.shim.ledger.pid()).filter(|pid| *pid != 0)
    }

    /// The binary of its shim.
    pub fn shim_binary(&self) -> &Path {
        self.shim.binary.path()
    }

    /// Process id of its shim, where that is known for certain.
    pub fn shim_pid(&self) -> Option<u32> {
        self.shim.identity().map(|identity| identity.pid)
    }

    /// The bundle directory.
    pub fn bundle(&self) -> PathBuf {
        self.shim.bundle.dir()
    }

    /// How long each part of its creation took; empty for an adopted task.
    pub fn phases(&self) -> Phases {
        self.shim.phases()
    }

    /// The last lines its shim logged, escaped.
    pub fn shim_log(&self) -> Vec<String> {
        self.shim.log.tail()
    }

    /// How its init ended, if that is known.
    pub fn exit(&self) -> Option<ExitRecord> {
        self.shim.ledger.exit_record(&ProcessKey::Init)
    }

    /// Starts the container's init; answers its process id. It is started once in its life.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the init starts; starting again finds out.
    pub async fn start(&self) -> Result<u32, Error> {
        process::start(&self.shim, &ProcessKey::Init, self.limit).await
    }

    /// Asks the shim for its state.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn state(&self) -> Result<ProcessState, Error> {
        process::state(&self.shim, &ProcessKey::Init, self.limit).await
    }

    /// Its state, without asking where that is certain: the shim is well, and nothing was heard since it told the state
    /// that may have changed it. Else this asks.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn known_state(&self) -> Result<ProcessState, Error> {
        process::known_state(&self.shim, &ProcessKey::Init, self.limit).await
    }

    /// Waits until its init ends, however long that takes, also when the shim dies meanwhile. The answer is the one
    /// that the exit event has. It may be waited for before it is started, and after it ended.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn wait(&self) -> Result<Exit, Error> {
        process::wait(&self.shim, &ProcessKey::Init, self.limit).await
    }

    /// Sends a signal to its init, or with `all` to every process of the container. SIGKILL reaches them past a shim
    /// that does not answer: see [`Config::bypass_kill`](crate::Config::bypass_kill).
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the signal is sent.
    pub async fn kill(&self, signal: u32, all: bool) -> Result<(), Error> {
        process::kill(&self.shim, &ProcessKey::Init, signal, all, self.limit).await
    }

    /// Deletes it, once it has ended or if it was never started: the container, the shim, the bundle. Answers how it
    /// ended, with nothing of it left and the id free.
    ///
    /// A second delete joins a running one. What an earlier one could not clear up is tried again at once. A task that still runs is refused with `FailedPrecondition`.
    ///
    /// # Cancel safety
    /// A dropped delete goes on in the background.
    pub async fn delete(&self) -> Result<Exit, Error> {
        delete::delete(&self.shim, self.limit).await
    }

    /// Adds a process to the container; it runs once it is started.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the shim takes the exec; its id stays taken until it is deleted.
    pub async fn exec(&self, exec: ExecTask) -> Result<Process, Error> {
        exec::exec(&self.shim, exec, self.limit).await
    }

    /// An exec made before.
    pub fn process(&self, id: &ExecId) -> Result<Process, Error> {
        let key = ProcessKey::Exec(id.clone());
        match self.shim.ledger.process(&key) {
            Some(_) => Ok(Process::new(self.shim.clone(), id.clone())),
            None => Err(Error::new(Step::Find, Refused::NoSuchExec).of(self.key()).of_process(&key)),
        }
    }

    /// The execs that have not been deleted.
    pub fn execs(&self) -> Vec<Process> {
        let ids = self.shim.ledger.execs();
        ids.into_iter().map(|id| Process::new(self.shim.clone(), id)).collect()
    }

    /// The processes in the container.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn pids(&self) -> Result<Vec<TaskPid>, Error> {
        let request = wire::PidsRequest { id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().query);
        let answer =
            self.shim.call("Pids", deadline, |c, call| async move { c.pids(&call, &request).await }).await?;
        let exec = |info: Option<&protobuf::Any>| {
            let details = shimkeeper_proto::unpack::<ProcessDetails>(info?)?.ok()?;
            Some(details.exec_id).filter(|id| !id.is_empty())
        };
        Ok(answer.processes.iter().map(|p| TaskPid { pid: p.pid, exec: exec(p.info.as_ref()) }).collect())
    }

    /// Freezes every process of the container.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it happens.
    pub async fn pause(&self) -> Result<(), Error> {
        let request = wire::PauseRequest { id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().change);
        let answer =
            self.shim.call("Pause", deadline, |c, call| async move { c.pause(&call, &request).await }).await;
        // Whatever the answer, it may have happened.
        self.shim.ledger.memo.stir();
        answer
    }

    /// Lets a frozen container go on.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it happens.
    pub async fn resume(&self) -> Result<(), Error> {
        let request = wire::ResumeRequest { id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().change);
        let answer = self
            .shim
            .call("Resume", deadline, |c, call| async move { c.resume(&call, &request).await })
            .await;
        // Whatever the answer, it may have happened.
        self.shim.ledger.memo.stir();
        answer
    }

    /// Changes the container's limits.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it happens.
    pub async fn update(&self, resources: &Resources) -> Result<(), Error> {
        let request = wire::UpdateTaskRequest {
            id: self.id(),
            resources: Some(convert::any(resources.to_any())),
            annotations: resources.to_annotations(),
        };
        let deadline = self.limit.begin().cap(self.shim.deadlines().change);
        self.shim
            .call("Update", deadline, |c, call| async move { c.update(&call, &request).await })
            .await
            .map(drop)
    }

    /// What the container uses.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.raw_stats().await.map(Stats::decode)
    }

    /// The same as the shim says it, for whoever passes it on.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn raw_stats(&self) -> Result<Any, Error> {
        let request = wire::StatsRequest { id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().query);
        let answer = self
            .shim
            .call("Stats", deadline, |c, call| async move { c.stats(&call, &request).await })
            .await?;
        Ok(answer.stats.map(convert::from_any).unwrap_or_default())
    }

    /// Sets the size of its terminal, in characters.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        process::resize(&self.shim, &ProcessKey::Init, width, height, self.limit).await
    }

    /// Ends its input, whoever holds the pipe. Done by the [`StdinPipe`](crate::StdinPipe) too when that is shut down
    /// or dropped.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn close_stdin(&self) -> Result<(), Error> {
        stdio::close_stdin(&self.shim, &ProcessKey::Init, self.limit).await
    }

    /// Writes its state into a directory, from which [`CreateTask::restore_from`](crate::CreateTask::restore_from)
    /// can make it again.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether, and how far, it happens.
    pub async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let request = wire::CheckpointTaskRequest {
            id: self.id(),
            path: checkpoint.directory().to_string_lossy().into_owned(),
            options: Some(checkpoint.to_options()),
        };
        let deadline = self.limit.begin().cap(self.shim.deadlines().checkpoint);
        self.shim
            .call("Checkpoint", deadline, |c, call| async move { c.checkpoint(&call, &request).await })
            .await
            .map(drop)
    }

    /// Takes its pipes; `None` if it has none, if they were taken before, or once it is deleted.
    pub fn take_io(&self) -> Option<ProcessIo> {
        self.shim.take_io(&ProcessKey::Init)
    }

    fn id(&self) -> String {
        self.shim.key.id.to_string()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("key", &self.shim.key)
            .field("incarnation", &self.shim.incarnation)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
