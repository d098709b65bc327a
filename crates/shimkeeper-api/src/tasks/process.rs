// SPDX-License-Identifier: Apache-2.0
//! What most methods are about: a task's init where the exec id is empty, an exec otherwise.

use std::time::Duration;

use shimkeeper::{
    Cause, Error, ExecId, Exit, ExitRecord, Process, ProcessState, Refused, Status as State, Task,
};
use shimkeeper_proto::containerd::v1::types as wire;
use shimkeeper_proto::google::protobuf::Timestamp;
use tonic::Status;

use crate::{convert, status};

/// A process of a task.
pub(crate) enum Target {
    Init(Task),
    Exec(Task, Process),
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn failed(error: Error) -> Status {
    status::of_library(&error)
}

impl Target {
    /// The process of `task` with this exec id, for calls within this time.
    pub(crate) fn of(task: Task, exec: &str, within: Option<Duration>) -> Result<Self, Status> {
        if exec.is_empty() {
            return Ok(Self::Init(task));
        }
        let id: ExecId = exec.parse().map_err(|_| status::no_process(exec))?;
        let process = task.process(&id).map_err(failed)?;
        let process = within.map_or_else(|| process.clone(), |limit| process.within(limit));
        Ok(Self::Exec(task, process))
    }

    pub(crate) fn task(&self) -> &Task {
        match self {
            Self::Init(task) | Self::Exec(task, _) => task,
        }
    }

    pub(crate) async fn start(&self) -> Result<u32, Status> {
        let started = match self {
            Self::Init(task) => task.start().await,
            Self::Exec(_, process) => process.start().await,
        };
        started.map_err(|error| match error.cause() {
            Cause::Refused(Refused::AlreadyStarted) if self.exit().is_some() => status::ended(),
            _ => failed(error),
        })
    }

    pub(crate) async fn kill(&self, signal: u32, all: bool) -> Result<(), Status> {
        match self {
            Self::Init(task) => task.kill(signal, all).await,
            Self::Exec(_, process) => process.kill(signal).await,
        }
        .map_err(failed)
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) -> Result<(), Status> {
        match self {
            Self::Init(task) => task.resize(width, height).await,
            Self::Exec(_, process) => process.resize(width, height).await,
        }
        .map_err(failed)
    }

    pub(crate) async fn close_stdin(&self) -> Result<(), Status> {
        match self {
            Self::Init(task) => task.close_stdin().await,
            Self::Exec(_, process) => process.close_stdin().await,
        }
        .map_err(failed)
    }

    /// How it ended, as far as is known without asking.
    pub(crate) fn exit(&self) -> Option<ExitRecord> {
        match self {
            Self::Init(task) => task.exit(),
            Self::Exec(_, process) => process.exit(),
        }
    }

    /// Status and time of its end.
    pub(crate) async fn wait(&self) -> Result<(u32, Option<Timestamp>), Status> {
        let exit: Result<Exit, Error> = match self {
            Self::Init(task) => task.wait().await,
            Self::Exec(_, process) => process.wait().await,
        };
        match exit {
            Ok(exit) => Ok(convert::exit(Some(&exit))),
            // One that never ran has ended all the same, and whoever waits for it must hear so.
            Err(error) if matches!(error.cause(), Cause::Refused(Refused::NeverStarted)) => {
                Ok(convert::exit(None))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Its state as the API tells it.
    pub(crate) async fn message(&self) -> Result<wire::Process, Status> {
        let (id, state) = match self {
            Self::Init(task) => (task.key().id.to_string(), task.known_state().await),
            Self::Exec(_, process) => (process.id().to_string(), process.known_state().await),
        };
        state.map(|state| message(id, state)).map_err(failed)
    }
}

/// A state as the API tells it. The container's id is left out, as containerd does: clients have it.
pub(super) fn message(id: String, state: ProcessState) -> wire::Process {
    let (exit_status, exited_at) = convert::exit(state.exit.as_ref());
    wire::Process {
        container_id: String::new(),
        id,
        pid: state.pid,
        status: number(state.status).into(),
        stdin: state.stdin,
        stdout: state.stdout,
        stderr: state.stderr,
        terminal: state.terminal,
        exit_status,
        exited_at,
    }
}

fn number(state: State) -> wire::Status {
    match state {
        State::Created => wire::Status::Created,
        State::Running => wire::Status::Running,
        State::Stopped => wire::Status::Stopped,
        State::Paused => wire::Status::Paused,
        State::Pausing => wire::Status::Pausing,
        _ => wire::Status::Unknown,
    }
}
