// SPDX-License-Identifier: Apache-2.0
//! Task events, typed: read from an envelope, and the two that we send ourselves.
//!
//! The payload of an envelope stays as it came; this is a view of it. Shims say `exit` and `delete` themselves;
//! ours are for a shim that died before it could.

use std::time::SystemTime;

use prost::{DecodeError, Message, Name};
use shimkeeper_core::{Any, ExecId, Exit, HasKind, IdError, Kind, ProcessKey, TaskKey, time};
use shimkeeper_proto::containerd::events as wire;
use shimkeeper_proto::google::protobuf::Timestamp;

use crate::envelope::Envelope;
use crate::topic::Topic;

/// What happened to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskEvent {
    /// The task was created; its init process waits to be started.
    Create {
        /// Init's process id on the host.
        pid: u32,
        /// The bundle directory, as the shim names it.
        bundle: String,
        /// The checkpoint it was created from; empty if from none.
        checkpoint: String,
    },
    /// Init runs.
    Start {
        /// Its process id on the host.
        pid: u32,
    },
    /// A process ended.
    Exit {
        /// Which.
        process: ProcessKey,
        /// Its process id on the host.
        pid: u32,
        /// Exit code, or 128 + signal number.
        status: u32,
        /// When it ended; the time of the envelope if the shim does not say.
        at: SystemTime,
    },
    /// A process was deleted: init, and with it the task, or an exec.
    Delete {
        /// Which.
        process: ProcessKey,
        /// Its process id on the host.
        pid: u32,
        /// Exit code, or 128 + signal number.
        status: u32,
        /// When it ended; the time of the envelope if the shim does not say.
        at: SystemTime,
    },
    /// The kernel killed a process for want of memory.
    Oom,
    /// An exec was added.
    ExecAdded {
        /// Which.
        exec: ExecId,
    },
    /// An exec runs.
    ExecStarted {
        /// Which.
        exec: ExecId,
        /// Its process id on the host.
        pid: u32,
    },
    /// The task was paused.
    Paused,
    /// The task was resumed.
    Resumed,
    /// The task was checkpointed.
    Checkpointed {
        /// Where to, as the shim names it.
        checkpoint: String,
    },
}

/// Why an envelope on a task topic holds no task event.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TaskEventError {
    /// The payload is of another type than the topic promises.
    #[error("event on {topic} is a {found:?}, not a {expected}")]
    Type {
        /// The topic.
        topic: Topic,
        /// The type that belongs to it.
        expected: String,
        /// The type URL found.
        found: String,
    },
    /// The payload is no message of its type.
    #[error("event on {topic} cannot be decoded")]
    Decode {
        /// The topic.
        topic: Topic,
        /// What the decoder says.
        #[source]
        source: DecodeError,
    },
    /// The id of the task or of the exec is none.
    #[error("event on {topic} names an invalid id")]
    Id {
        /// The topic.
        topic: Topic,
        /// What is wrong with it.
        #[source]
        source: IdError,
    },
}

// === impl TaskEvent ===

impl TaskEvent {
    /// The task an envelope is about and what happened to it; `None` if its topic is none of a task's.
    ///
    /// # Errors
    /// [`TaskEventError`] if the payload is not what the topic promises. Shims are not believed: the ids in
    /// it are checked, and the namespace is the envelope's.
    pub fn decode(envelope: &Envelope) -> Result<Option<(TaskKey, Self)>, TaskEventError> {
        let reader = Reader(envelope);
        let topic = envelope.topic();
        if *topic == Topic::TASK_EXIT {
            reader.exit().map(Some)
        } else if *topic == Topic::TASK_START {
            let m: wire::TaskStart = reader.message()?;
            reader.task(&m.container_id, Self::Start { pid: m.pid }).map(Some)
        } else if *topic == Topic::TASK_CREATE {
            let m: wire::TaskCreate = reader.message()?;
            let event = Self::Create { pid: m.pid, bundle: m.bundle, checkpoint: m.checkpoint };
            reader.task(&m.container_id, event).map(Some)
        } else if *topic == Topic::TASK_DELETE {
            reader.delete().map(Some)
        } else {
            reader.rarer()
        }
    }
}

/// Reads one envelope.
struct Reader<'a>(&'a Envelope);

// === impl Reader ===

impl Reader<'_> {
    fn exit(&self) -> Result<(TaskKey, TaskEvent), TaskEventError> {
        let m: wire::TaskExit = self.message()?;
        let process = self.process(&m.container_id, &m.id)?;
        let at = self.time(m.exited_at);
        self.task(&m.container_id, TaskEvent::Exit { process, pid: m.pid, status: m.exit_status, at })
    }

    fn delete(&self) -> Result<(TaskKey, TaskEvent), TaskEventError> {
        let m: wire::TaskDelete = self.message()?;
        let process = self.process(&m.container_id, &m.id)?;
        let at = self.time(m.exited_at);
        self.task(&m.container_id, TaskEvent::Delete { process, pid: m.pid, status: m.exit_status, at })
    }

    fn rarer(&self) -> Result<Option<(TaskKey, TaskEvent)>, TaskEventError> {
        let topic = self.0.topic();
        let (container_id, event) = if *topic == Topic::TASK_OOM {
            (self.message::<wire::TaskOom>()?.container_id, TaskEvent::Oom)
        } else if *topic == Topic::TASK_EXEC_ADDED {
            let m: wire::TaskExecAdded = self.message()?;
            (m.container_id, TaskEvent::ExecAdded { exec: self.exec(&m.exec_id)? })
        } else if *topic == Topic::TASK_EXEC_STARTED {
            let m: wire::TaskExecStarted = self.message()?;
            (m.container_id, TaskEvent::ExecStarted { exec: self.exec(&m.exec_id)?, pid: m.pid })
        } else if *topic == Topic::TASK_PAUSED {
            (self.message::<wire::TaskPaused>()?.container_id, TaskEvent::Paused)
        } else if *topic == Topic::TASK_RESUMED {
            (self.message::<wire::TaskResumed>()?.container_id, TaskEvent::Resumed)
        } else if *topic == Topic::TASK_CHECKPOINTED {
            let m: wire::TaskCheckpointed = self.message()?;
            (m.container_id, TaskEvent::Checkpointed { checkpoint: m.checkpoint })
        } else {
            return Ok(None);
        };
        self.task(&container_id, event).map(Some)
    }

    fn message<M: Message + Name + Default>(&self) -> Result<M, TaskEventError> {
        let event = self.0.event();
        let expected = M::full_name();
        if !event.is(&expected) {
            let (topic, found) = (self.0.topic().clone(), event.type_url.clone());
            return Err(TaskEventError::Type { topic, expected, found });
        }
        M::decode(event.value.clone())
            .map_err(|source| TaskEventError::Decode { topic: self.0.topic().clone(), source })
    }

    fn task(&self, id: &str, event: TaskEvent) -> Result<(TaskKey, TaskEvent), TaskEventError> {
        let id = id.parse().map_err(|source| self.bad_id(source))?;
        Ok((TaskKey::new(self.0.namespace().clone(), id), event))
    }

    /// An exit names init by the id of the task, a delete by none at all; shims are not of one mind, so both
    /// are understood in both.
    fn process(&self, task: &str, id: &str) -> Result<ProcessKey, TaskEventError> {
        if id.is_empty() || id == task { Ok(ProcessKey::Init) } else { self.exec(id).map(ProcessKey::Exec) }
    }

    fn exec(&self, id: &str) -> Result<ExecId, TaskEventError> {
        id.parse().map_err(|source| self.bad_id(source))
    }

    fn time(&self, at: Option<Timestamp>) -> SystemTime {
        at.and_then(|at| time::from_parts(at.seconds, at.nanos)).unwrap_or_else(|| self.0.at())
    }

    fn bad_id(&self, source: IdError) -> TaskEventError {
        TaskEventError::Id { topic: self.0.topic().clone(), source }
    }
}

// === impl Envelope: the events we send ourselves ===

impl Envelope {
    /// The exit of a process whose shim cannot say so any more. Init goes by the id of its task.
    pub fn task_exit(task: &TaskKey, process: &ProcessKey, exit: &Exit) -> Self {
        let id = match process {
            ProcessKey::Init => task.id.as_str(),
            ProcessKey::Exec(exec) => exec.as_str(),
        };
        let message = wire::TaskExit {
            container_id: task.id.to_string(),
            id: id.to_owned(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)),
        };
        Self::of_task(task, Topic::TASK_EXIT, &message)
    }

    /// The deletion of a process whose shim cannot say so any more. Init goes by no id at all.
    pub fn task_delete(task: &TaskKey, process: &ProcessKey, exit: &Exit) -> Self {
        let message = wire::TaskDelete {
            container_id: task.id.to_string(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)),
            id: process.exec_id().to_owned(),
        };
        Self::of_task(task, Topic::TASK_DELETE, &message)
    }

    pub(crate) fn of_task<M: Message + Name>(task: &TaskKey, topic: Topic, message: &M) -> Self {
        let event = Any::new(M::full_name(), message.encode_to_vec());
        Self::new(task.namespace.clone(), topic, SystemTime::now(), event)
            .expect("ids and numbers are far smaller than the largest event")
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let (seconds, nanos) = time::to_parts(at);
    Timestamp { seconds, nanos }
}

impl HasKind for TaskEventError {
    fn kind(&self) -> Kind {
        match self {
            Self::Type { .. } | Self::Id { .. } => Kind::InvalidArgument,
            Self::Decode { .. } => Kind::DataLoss,
        }
    }
}

#[cfg(test)]
mod tests;
