// SPDX-License-Identifier: Apache-2.0
//! What can be done with a process of a task, its init and its execs alike; and the handle of an exec.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{ExecId, Exit, Kind, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3 as wire;

use crate::error::{Cause, Error, Refused, Step};
use crate::ledger::StartTurn;
use crate::shim::Shim;
use crate::state::{ProcessState, Status};
use crate::stdio::ProcessIo;
use crate::{convert, diagnosis, identify, monitor, publish, signals};

/// An exec: an extra process of a task. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Process {
    shim: Arc<Shim>,
    id: ExecId,
    key: ProcessKey,
}

impl Process {
    pub(crate) fn new(shim: Arc<Shim>, id: ExecId) -> Self {
        let key = ProcessKey::Exec(id.clone());
        Self { shim, id, key }
    }

    /// Its id within the task.
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    /// Its process id on the host, once it has been started.
    pub fn pid(&self) -> Option<u32> {
        self.shim.ledger.process(&self.key).map(|p| p.pid).filter(|pid| *pid != 0)
    }

    /// Starts it; answers the process id. A process is started once in its life.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the process starts; starting again finds out.
    pub async fn start(&self) -> Result<u32, Error> {
        start(&self.shim, &self.key).await
    }

    /// Asks the shim for its state.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn state(&self) -> Result<ProcessState, Error> {
        state(&self.shim, &self.key).await
    }

    /// Waits until it ends, however long that takes. It may be waited for before it is started, and after it ended.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn wait(&self) -> Result<Exit, Error> {
        wait(&self.shim, &self.key).await
    }

    /// Sends it a signal.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the signal is sent.
    pub async fn kill(&self, signal: u32) -> Result<(), Error> {
        kill(&self.shim, &self.key, signal, false).await
    }

    /// Removes it, once it has ended; answers how it ended. Its id can then be used again.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it is removed; deleting again then answers `NotFound`.
    pub async fn delete(&self) -> Result<Exit, Error> {
        delete_exec(&self.shim, &self.id).await
    }

    /// Sets the size of its terminal, in characters.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        resize(&self.shim, &self.key, width, height).await
    }

    /// Ends its input, whoever holds the pipe. Done by the [`StdinPipe`](crate::StdinPipe) too when that is shut down
    /// or dropped.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn close_stdin(&self) -> Result<(), Error> {
        close_stdin(&self.shim, &self.key).await
    }

    /// Takes its pipes; `None` if it has none, if they were taken before, or once it is deleted.
    pub fn take_io(&self) -> Option<ProcessIo> {
        self.shim.take_io(&self.key)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("task", &self.shim.key)
            .field("exec", &self.id)
            .finish_non_exhaustive()
    }
}

fn refuse(shim: &Shim, process: &ProcessKey, step: Step, refused: Refused) -> Error {
    Error::new(step, refused).of(&shim.key).of_process(process)
}

pub(crate) async fn start(shim: &Arc<Shim>, process: &ProcessKey) -> Result<u32, Error> {
    let step = Step::Call("Start");
    let turn = shim.ledger.begin_start(process).map_err(|r| refuse(shim, process, step, r))?;
    // Until the shim has answered: dropping this future leaves the process in doubt, not blocked.
    let doubt = DoubtOnDrop { shim, process };
    if turn == StartTurn::AfterUnsure
        && let Some(pid) = started_after_all(shim, process).await?
    {
        doubt.resolved();
        return Ok(note_started(shim, process, pid));
    }
    let request = wire::StartRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let deadline = shim.env.config.deadlines.start;
    match shim.call("Start", deadline, |c, call| async move { c.start(&call, &request).await }).await {
        Ok(answer) => {
            doubt.resolved();
            let pid = note_started(shim, process, answer.pid);
            monitor::persist(shim).await;
            Ok(pid)
        }
        Err(error) => {
            if matches!(error.kind(), Kind::DeadlineExceeded | Kind::Unavailable | Kind::Canceled) {
                drop(doubt);
            } else {
                doubt.resolved();
                shim.ledger.start_refused(process);
            }
            Err(diagnosis::explain(shim, process, error).await.of_process(process))
        }
    }
}

/// The pid, if an earlier start that was never answered did happen.
async fn started_after_all(shim: &Arc<Shim>, process: &ProcessKey) -> Result<Option<u32>, Error> {
    let state = state(shim, process).await?;
    Ok(match state.status {
        Status::Running | Status::Paused | Status::Pausing | Status::Stopped => Some(state.pid),
        Status::Created | Status::Unknown => None,
    })
}

fn note_started(shim: &Arc<Shim>, process: &ProcessKey, pid: u32) -> u32 {
    shim.ledger.started(process, pid);
    if let ProcessKey::Exec(id) = process {
        shim.hold_exec(id, identify::hold(pid));
    }
    monitor::watch_once(shim, process);
    pid
}

struct DoubtOnDrop<'a> {
    shim: &'a Shim,
    process: &'a ProcessKey,
}

impl DoubtOnDrop<'_> {
    fn resolved(self) {
        std::mem::forget(self);
    }
}

impl Drop for DoubtOnDrop<'_> {
    fn drop(&mut self) {
        self.shim.ledger.start_unsure(self.process);
    }
}

pub(crate) async fn state(shim: &Shim, process: &ProcessKey) -> Result<ProcessState, Error> {
    let request = wire::StateRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let deadline = shim.env.config.deadlines.state;
    let answer = shim
        .call("State", deadline, |c, call| async move { c.state(&call, &request).await })
        .await
        .map_err(|e| e.of_process(process))?;
    Ok(ProcessState::new(answer, shim.ledger.exit(process)))
}

pub(crate) async fn wait(shim: &Shim, process: &ProcessKey) -> Result<Exit, Error> {
    let exited = tokio::select! {
        biased;
        exited = shim.ledger.exited(process) => exited,
        () = shim.env.scope.detach_token().cancelled() => Err(Refused::Detaching),
    };
    exited.map_err(|refused| refuse(shim, process, Step::Call("Wait"), refused))
}

pub(crate) async fn kill(shim: &Shim, process: &ProcessKey, signal: u32, all: bool) -> Result<(), Error> {
    let signal = signals::admit(signal).map_err(|r| refuse(shim, process, Step::Call("Kill"), r))?;
    let request = wire::KillRequest {
        id: shim.key.id.to_string(),
        exec_id: process.exec_id().to_owned(),
        signal,
        all: all && *process == ProcessKey::Init,
    };
    let deadline = shim.env.config.deadlines.kill;
    shim.call("Kill", deadline, |c, call| async move { c.kill(&call, &request).await })
        .await
        .map(drop)
        .map_err(|e| e.of_process(process))
}

pub(crate) async fn resize(shim: &Shim, process: &ProcessKey, width: u32, height: u32) -> Result<(), Error> {
    let request = wire::ResizePtyRequest {
        id: shim.key.id.to_string(),
        exec_id: process.exec_id().to_owned(),
        width,
        height,
    };
    let deadline = shim.env.config.deadlines.query;
    shim.call("ResizePty", deadline, |c, call| async move { c.resize_pty(&call, &request).await })
        .await
        .map(drop)
        .map_err(|e| e.of_process(process))
}

pub(crate) async fn close_stdin(shim: &Shim, process: &ProcessKey) -> Result<(), Error> {
    // The shim closes its end; the process sees the end of its input only once ours is closed too.
    shim.close_input(process);
    let request = wire::CloseIoRequest {
        id: shim.key.id.to_string(),
        exec_id: process.exec_id().to_owned(),
        stdin: true,
    };
    let deadline = shim.env.config.deadlines.query;
    shim.call("CloseIO", deadline, |c, call| async move { c.close_io(&call, &request).await })
        .await
        .map(drop)
        .map_err(|e| e.of_process(process))
}

pub(crate) async fn delete_exec(shim: &Arc<Shim>, id: &ExecId) -> Result<Exit, Error> {
    let process = ProcessKey::Exec(id.clone());
    let step = Step::Call("Delete");
    if shim.ledger.process(&process).is_none() {
        return Err(refuse(shim, &process, step, Refused::NoSuchExec));
    }
    shim.drain_output(&process);
    let request = wire::DeleteRequest { id: shim.key.id.to_string(), exec_id: id.to_string() };
    let deadline = shim.env.config.deadlines.delete;
    let answer = shim
        .call("Delete", deadline, |c, call| async move { c.delete(&call, &request).await })
        .await
        .map_err(|e| meant(e).of_process(&process))?;
    let was_started = shim.ledger.process(&process).is_some_and(|p| p.was_started());
    let reported = exit_of(&answer, was_started).unwrap_or_else(|| Exit::unknown(0, SystemTime::now()));
    if shim.ledger.record_exit(&process, reported) {
        monitor::persist(shim).await;
    }
    let exit = shim.ledger.exit(&process).unwrap_or(reported);
    if was_started {
        publish::decided(shim, None, |ledger| ledger.announce_exit(&process));
    }
    shim.close_plumbing(&process);
    shim.release_exec(id);
    shim.ledger.remove_exec(id);
    Ok(exit)
}

/// What the answer to Delete says of the end; `None` if that is no more than zeros. A shim that deletes what was never
/// started may answer before it has seen the end itself, with status 0 and no time.
pub(crate) fn exit_of(answer: &wire::DeleteResponse, was_started: bool) -> Option<Exit> {
    let at = convert::moment(answer.exited_at.as_ref());
    if at.is_none() && !was_started {
        return None;
    }
    Some(Exit {
        pid: answer.pid,
        status: answer.exit_status,
        at: at.unwrap_or_else(SystemTime::now),
        provenance: Provenance::Observed,
    })
}

/// Shims refuse what does not fit a process's state with an unspecific code; the state they mean has one of its own.
pub(crate) fn meant(error: Error) -> Error {
    let refused = match error.cause() {
        Cause::Call(call) => match call.shim_message().unwrap_or_default() {
            text if text.contains("cannot delete a running process") => Refused::StillRunning,
            text if text.contains("cannot exec in a stopped state") => Refused::TaskEnded,
            _ => return error,
        },
        _ => return error,
    };
    error.because(refused)
}
