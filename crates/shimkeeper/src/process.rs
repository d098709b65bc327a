// SPDX-License-Identifier: Apache-2.0
//! What can be done with a process of a task, its init and its execs alike; and the handle of an exec.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shimkeeper_core::{ExecId, Exit, HasKind as _, Kind, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3 as wire;
use shimkeeper_shim::{Call, CallError, Connection};

use crate::error::{Cause, Error, Refused, Step};
use crate::ledger::{ExitRecord, StartTurn};
use crate::limit::{Limit, Until};
use crate::shim::Shim;
use crate::state::{ProcessState, Status};
use crate::stdio::{self, ProcessIo};
use crate::task::denial;
use crate::{bypass, convert, diagnosing, exits, identify, monitor, publish, signals};

/// An exec: an extra process of a task. A clone is another handle on the same one.
#[derive(Clone)]
pub struct Process {
    shim: Arc<Shim>,
    id: ExecId,
    key: ProcessKey,
    limit: Limit,
}

impl Process {
    pub(crate) fn new(shim: Arc<Shim>, id: ExecId) -> Self {
        let key = ProcessKey::Exec(id.clone());
        Self { shim, id, key, limit: Limit::default() }
    }

    /// The same process, through a handle of which every call has to be over within `limit`: see
    /// [`Task::within`](crate::Task::within).
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit: Limit::of(limit), ..self.clone() }
    }

    /// Its id within the task.
    pub fn id(&self) -> &ExecId {
        &self.id
    }

    /// Its process id on the host, once it has been started.
    pub fn pid(&self) -> Option<u32> {
        self.shim.ledger.process(&self.key).map(|p| p.pid).filter(|pid| *pid != 0)
    }

    /// How it ended, if that is known.
    pub fn exit(&self) -> Option<ExitRecord> {
        self.shim.ledger.exit_record(&self.key)
    }

    /// Starts it; answers the process id. A process is started once in its life.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the process starts; starting again finds out.
    pub async fn start(&self) -> Result<u32, Error> {
        start(&self.shim, &self.key, self.limit).await
    }

    /// Asks the shim for its state.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn state(&self) -> Result<ProcessState, Error> {
        state(&self.shim, &self.key, self.limit).await
    }

    /// Its state, without asking where that is certain: see [`Task::known_state`](crate::Task::known_state).
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn known_state(&self) -> Result<ProcessState, Error> {
        known_state(&self.shim, &self.key, self.limit).await
    }

    /// Waits until it ends, however long that takes. It may be waited for before it is started, and after it ended.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn wait(&self) -> Result<Exit, Error> {
        wait(&self.shim, &self.key, self.limit).await
    }

    /// Sends it a signal. SIGKILL reaches it past a shim that does not answer: see
    /// [`Config::bypass_kill`](crate::Config::bypass_kill).
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether the signal is sent.
    pub async fn kill(&self, signal: u32) -> Result<(), Error> {
        kill(&self.shim, &self.key, signal, false, self.limit).await
    }

    /// Removes it, once it has ended; answers how it ended. Its id can then be used again.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it is removed; deleting again then answers `NotFound`.
    pub async fn delete(&self) -> Result<Exit, Error> {
        delete_exec(&self.shim, &self.id, self.limit).await
    }

    /// Sets the size of its terminal, in characters.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn resize(&self, width: u32, height: u32) -> Result<(), Error> {
        resize(&self.shim, &self.key, width, height, self.limit).await
    }

    /// Ends its input, whoever holds the pipe. Done by the [`StdinPipe`](crate::StdinPipe) too when that is shut down
    /// or dropped.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn close_stdin(&self) -> Result<(), Error> {
        stdio::close_stdin(&self.shim, &self.key, self.limit).await
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

pub(crate) async fn start(shim: &Arc<Shim>, process: &ProcessKey, limit: Limit) -> Result<u32, Error> {
    let until = limit.begin();
    let step = Step::Call("Start");
    let turn = shim.ledger.begin_start(process).map_err(|r| refuse(shim, process, step, r))?;
    // Until the shim has answered: dropping this future leaves the process in doubt, not blocked.
    let doubt = DoubtOnDrop { shim, process };
    if turn == StartTurn::AfterUnsure
        && let Some(pid) = started_after_all(shim, process, until).await?
    {
        doubt.resolved();
        return Ok(note_started(shim, process, pid));
    }
    crate::failpoint::hit("E2");
    let request = wire::StartRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let deadline = until.cap(shim.deadlines().start);
    // An exec joins the container's control groups in a moment; the init is in them.
    if matches!(process, ProcessKey::Exec(_)) {
        shim.env.attaching.expect_soon(&shim.env.scope);
    }
    match shim.call("Start", deadline, |c, call| async move { c.start(&call, &request).await }).await {
        Ok(answer) => {
            doubt.resolved();
            let pid = note_started(shim, process, answer.pid);
            crate::failpoint::hit("E3");
            monitor::persist(shim).await;
            Ok(pid)
        }
        Err(error) => {
            if matches!(error.kind(), Kind::DeadlineExceeded | Kind::Unavailable | Kind::Canceled) {
                drop(doubt);
            } else {
                doubt.resolved();
                shim.ledger.start_refused(process);
                note_failed(shim, process, &error, until).await;
            }
            Err(diagnosing::explain(shim, process, error).await.of_process(process))
        }
    }
}

/// An exec that could not be started is over for its shim: nobody may wait for it for ever.
async fn note_failed(shim: &Arc<Shim>, process: &ProcessKey, error: &Error, until: Until) {
    if !matches!(process, ProcessKey::Exec(_)) {
        return;
    }
    // What the runtime failed with has no code. Some shims call such an exec created for ever, and would crash at the
    // end of one that is started at a second try.
    let is_the_runtimes =
        matches!(error.cause(), Cause::Call(call) if call.kind() == Kind::Unknown) || lacked_bundle(error);
    if is_the_runtimes || state_until(shim, process, until).await.is_ok_and(|s| s.status == Status::Stopped) {
        shim.ledger.start_failed(process);
    }
}

/// The pid, if an earlier start that was never answered did happen.
async fn started_after_all(
    shim: &Arc<Shim>,
    process: &ProcessKey,
    until: Until,
) -> Result<Option<u32>, Error> {
    let state = state_until(shim, process, until).await?;
    Ok(match state.status {
        Status::Running | Status::Paused | Status::Pausing | Status::Stopped => Some(state.pid),
        Status::Created | Status::Unknown => None,
    })
}

fn note_started(shim: &Arc<Shim>, process: &ProcessKey, pid: u32) -> u32 {
    shim.ledger.started(process, pid);
    if let ProcessKey::Exec(id) = process {
        shim.hold_exec(id, identify::hold_exec(shim, pid));
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

pub(crate) async fn state(
    shim: &Arc<Shim>,
    process: &ProcessKey,
    limit: Limit,
) -> Result<ProcessState, Error> {
    state_until(shim, process, limit.begin()).await
}

/// The state as the shim told it last, if nothing was heard since and the shim is well; else as it tells it now.
pub(crate) async fn known_state(
    shim: &Arc<Shim>,
    process: &ProcessKey,
    limit: Limit,
) -> Result<ProcessState, Error> {
    let memo = &shim.ledger.memo;
    if shim.is_well()
        && let Some(known) = memo.get(process)
    {
        return Ok(known);
    }
    let asking = memo.ask();
    let state = state(shim, process, limit).await?;
    memo.keep(asking, process, &state);
    Ok(state)
}

async fn state_until(shim: &Arc<Shim>, process: &ProcessKey, until: Until) -> Result<ProcessState, Error> {
    if let Some(exit) = shim.exit_told_for_dead_shim(process) {
        return Ok(ProcessState::of_ended(exit));
    }
    let request = wire::StateRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let deadline = until.cap(shim.deadlines().state);
    let answer = shim.call("State", deadline, |c, call| async move { c.state(&call, &request).await }).await;
    if *process == ProcessKey::Init && answer.as_ref().is_err_and(|error| error.kind() == Kind::NotFound) {
        denial::heard(shim);
    }
    let answer = answer.map_err(|e| e.of_process(process))?;
    Ok(ProcessState::new(answer, shim.ledger.exit(process)))
}

pub(crate) async fn wait(shim: &Shim, process: &ProcessKey, limit: Limit) -> Result<Exit, Error> {
    let exited = limit.begin().wait_for(async {
        tokio::select! {
            biased;
            exited = shim.ledger.exited(process) => exited,
            () = shim.env.scope.detach_token().cancelled() => Err(Refused::Detaching),
        }
    });
    exited.await.flatten().map_err(|refused| refuse(shim, process, Step::Call("Wait"), refused))
}

pub(crate) async fn kill(
    shim: &Shim,
    process: &ProcessKey,
    signal: u32,
    all: bool,
    limit: Limit,
) -> Result<(), Error> {
    let until = limit.begin();
    let signal = signals::admit(signal).map_err(|r| refuse(shim, process, Step::Call("Kill"), r))?;
    let request = &wire::KillRequest {
        id: shim.key.id.to_string(),
        exec_id: process.exec_id().to_owned(),
        signal,
        all: all && *process == ProcessKey::Init,
    };
    let deadline = || until.cap(shim.deadlines().kill);
    let rpc = |c: Connection, call| async move { c.kill(&call, request).await };
    match call_repeatable(shim, "Kill", deadline, rpc).await.map(drop) {
        Err(error)
            if signal == signals::KILL && shim.env.config.bypass_kill && bypass::is_in_order(&error) =>
        {
            if !Box::pin(bypass::kill(shim, process, all)).await {
                return Err(error.of_process(process));
            }
            tracing::warn!(
                namespace = %shim.key.namespace, task = %shim.key.id, %process, %error,
                "the shim does not kill: done past it"
            );
            Ok(())
        }
        answer => answer.map_err(|e| e.of_process(process)),
    }
}

/// Calls the shim for what may be asked for twice: once more, where it failed for want of its bundle.
///
/// # Cancel safety
/// As [`Shim::call`].
pub(crate) async fn call_repeatable<T, F: Future<Output = Result<T, CallError>>>(
    shim: &Shim,
    method: &'static str,
    deadline: impl Fn() -> Duration,
    rpc: impl Fn(Connection, Call) -> F,
) -> Result<T, Error> {
    match shim.call(method, deadline(), &rpc).await {
        Err(error) if lacked_bundle(&error) => shim.call(method, deadline(), rpc).await,
        answer => answer,
    }
}

/// Whether the shim failed for want of its bundle.
fn lacked_bundle(error: &Error) -> bool {
    matches!(error.cause(), Cause::Refused(Refused::BundleRemoved))
}

pub(crate) async fn resize(
    shim: &Shim,
    process: &ProcessKey,
    width: u32,
    height: u32,
    limit: Limit,
) -> Result<(), Error> {
    let request = wire::ResizePtyRequest {
        id: shim.key.id.to_string(),
        exec_id: process.exec_id().to_owned(),
        width,
        height,
    };
    let deadline = limit.begin().cap(shim.deadlines().query);
    shim.call("ResizePty", deadline, |c, call| async move { c.resize_pty(&call, &request).await })
        .await
        .map(drop)
        .map_err(|e| e.of_process(process))
}

pub(crate) async fn delete_exec(shim: &Arc<Shim>, id: &ExecId, limit: Limit) -> Result<Exit, Error> {
    let process = ProcessKey::Exec(id.clone());
    let step = Step::Call("Delete");
    if shim.ledger.process(&process).is_none() {
        return Err(refuse(shim, &process, step, Refused::NoSuchExec));
    }
    shim.drain_output(&process);
    // The shim is about to forget it, and whoever waited may have been told already.
    monitor::persist_ends(shim).await;
    let request = wire::DeleteRequest { id: shim.key.id.to_string(), exec_id: id.to_string() };
    let _deleting = shim.ledger.deleting(&process);
    let deadline = limit.begin().cap(shim.deadlines().delete);
    let answer = shim
        .call("Delete", deadline, |c, call| async move { c.delete(&call, &request).await })
        .await
        .map_err(|e| meant(e).of_process(&process))?;
    let was_started = shim.ledger.process(&process).is_some_and(|p| p.was_started());
    let reported = exit_of(&answer, was_started).unwrap_or_else(|| Exit::unknown(0, SystemTime::now()));
    exits::record(shim, &process, reported);
    // Also where somebody else has recorded it, who may still wait for the disk.
    monitor::persist_ends(shim).await;
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
