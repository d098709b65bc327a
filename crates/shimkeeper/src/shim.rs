// SPDX-License-Identifier: Apache-2.0
//! One shim and the task it serves, as its handles see it. The data path is here: a call takes a clone of the
//! connection and goes straight to the shim, with no mailbox and no lock on the way. Only the
//! [supervisor](crate::supervisor) ends a shim; whoever wants that asks for a [`Permit`] and settles it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use shimkeeper_core::{ExecId, Incarnation, ProcessKey, TaskKey};
use shimkeeper_shim::{Bundle, Call, CallError, Connection, LogPump, Pidfd, ProcessIdentity, ShimBinary};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::env::Env;
use crate::error::{Error, Refused, Step};
use crate::ledger::Ledger;
use crate::machine::{self, End, Fate, State};
use crate::phases::Phases;
use crate::record::RecordFile;
use crate::stdio::{Plumbing, ProcessIo};

/// A shim, its task, and everything that is known of both.
pub(crate) struct Shim {
    pub(crate) env: Arc<Env>,
    pub(crate) key: TaskKey,
    pub(crate) incarnation: Incarnation,
    pub(crate) binary: ShimBinary,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) record: Arc<RecordFile>,
    pub(crate) ledger: Ledger,
    pub(crate) log: LogPump,
    /// Cancelled when the shim is over, and when the manager leaves.
    over: CancellationToken,
    pub(crate) state: watch::Sender<State>,
    holds: mpsc::Sender<oneshot::Sender<Permit>>,
    link: Mutex<Link>,
    people: Mutex<People>,
    parting: Mutex<Parting>,
    plumbing: Mutex<HashMap<ProcessKey, Plumbing>>,
    phases: OnceLock<Phases>,
    /// Held while something is published, so that the order of events is the ledger's.
    voice: Mutex<()>,
}

/// How the shim was parted with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parting {
    /// It answered Delete: by its own word nothing of the task is left.
    pub(crate) task_deleted: bool,
    /// It answered Shutdown, and then ended by itself.
    pub(crate) left_by_itself: bool,
}

/// The connection, and what is wrong with it.
#[derive(Default)]
struct Link {
    connection: Option<Connection>,
    trouble: Option<String>,
}

/// The processes we can name for certain.
#[derive(Default)]
struct People {
    shim: Option<ProcessIdentity>,
    shim_is_foreign: bool,
    init: Option<Pidfd>,
    execs: HashMap<ExecId, Pidfd>,
}

/// The parts a shim starts with.
pub(crate) struct Parts {
    pub(crate) env: Arc<Env>,
    pub(crate) key: TaskKey,
    pub(crate) incarnation: Incarnation,
    pub(crate) binary: ShimBinary,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) record: Arc<RecordFile>,
    pub(crate) ledger: Ledger,
    pub(crate) log: LogPump,
    /// Cancelled when the shim is over; ends the reading of its log.
    pub(crate) over: CancellationToken,
    pub(crate) connection: Option<Connection>,
}

/// The right to decide a shim's fate; one at a time.
#[must_use = "a permit that is dropped decides for what it was made with"]
pub(crate) struct Permit {
    settle: Option<oneshot::Sender<Fate>>,
    state: watch::Receiver<State>,
    on_drop: Fate,
}

/// What the supervisor receives from a permit.
pub(crate) type Settlement = oneshot::Receiver<Fate>;

/// What the supervisor receives from those who want to hold.
pub(crate) type HoldRequests = mpsc::Receiver<oneshot::Sender<Permit>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shim {
    /// A shim that starts held by whoever made or found it, and what its supervisor needs of it.
    pub(crate) fn new(parts: Parts, link: machine::Link) -> (Arc<Self>, HoldRequests) {
        let (holds, requests) = mpsc::channel(1);
        let shim = Self {
            env: parts.env,
            key: parts.key,
            incarnation: parts.incarnation,
            binary: parts.binary,
            bundle: parts.bundle,
            record: parts.record,
            ledger: parts.ledger,
            log: parts.log,
            over: parts.over,
            state: watch::Sender::new(State::Held(link)),
            holds,
            link: Mutex::new(Link { connection: parts.connection, trouble: None }),
            people: Mutex::default(),
            parting: Mutex::default(),
            plumbing: Mutex::default(),
            phases: OnceLock::new(),
            voice: Mutex::default(),
        };
        (Arc::new(shim), requests)
    }

    /// The right to publish; one at a time, and never held across a wait.
    pub(crate) fn voice(&self) -> MutexGuard<'_, ()> {
        lock(&self.voice)
    }

    /// Whether its task is on the way out: the id is still taken, and soon free.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(*self.state.borrow(), State::Ending | State::Reaping | State::Removing | State::Gone(_))
    }

    /// Lets go of what is kept for a shim that lives, though handles on it may be kept for ever.
    pub(crate) fn retire(&self) {
        if let Some(connection) = self.last_connection() {
            connection.close();
        }
        self.over.cancel();
        *lock(&self.people) = People::default();
        self.close_all_plumbing();
    }

    /// The connection, if there is one that is not known to be closed.
    pub(crate) fn connection(&self) -> Option<Connection> {
        lock(&self.link).connection.clone().filter(|connection| connection.close_reason().is_none())
    }

    /// The connection as it is, closed or not.
    pub(crate) fn last_connection(&self) -> Option<Connection> {
        lock(&self.link).connection.clone()
    }

    pub(crate) fn set_connection(&self, connection: Connection) {
        *lock(&self.link) = Link { connection: Some(connection), trouble: None };
    }

    /// Notes why the shim cannot be used.
    pub(crate) fn set_trouble(&self, reason: impl Into<String>) {
        lock(&self.link).trouble = Some(reason.into());
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.link).trouble.clone()
    }

    pub(crate) fn identity(&self) -> Option<ProcessIdentity> {
        lock(&self.people).shim
    }

    pub(crate) fn set_identity(&self, identity: Option<ProcessIdentity>) {
        let mut people = lock(&self.people);
        (people.shim, people.shim_is_foreign) = (identity, false);
    }

    /// The shim's process was not launched here: its death still proves the shim's, but nobody here ends it.
    pub(crate) fn set_foreign(&self, identity: ProcessIdentity) {
        let mut people = lock(&self.people);
        (people.shim, people.shim_is_foreign) = (Some(identity), true);
    }

    /// Whether the shim's processes were launched here, and may be ended here.
    pub(crate) fn is_ours(&self) -> bool {
        !lock(&self.people).shim_is_foreign
    }

    /// Holds on to the container's init, so that its death can be proven and its status read after.
    pub(crate) fn hold_init(&self, pidfd: Option<Pidfd>) {
        lock(&self.people).init = pidfd;
    }

    pub(crate) fn with_init<T>(&self, f: impl FnOnce(&Pidfd) -> T) -> Option<T> {
        lock(&self.people).init.as_ref().map(f)
    }

    pub(crate) fn init_identity(&self) -> Option<ProcessIdentity> {
        self.with_init(|pidfd| *pidfd.identity())
    }

    pub(crate) fn hold_exec(&self, id: &ExecId, pidfd: Option<Pidfd>) {
        if let Some(pidfd) = pidfd {
            lock(&self.people).execs.insert(id.clone(), pidfd);
        }
    }

    pub(crate) fn release_exec(&self, id: &ExecId) -> Option<Pidfd> {
        lock(&self.people).execs.remove(id)
    }

    pub(crate) fn with_exec<T>(&self, id: &ExecId, f: impl FnOnce(&Pidfd) -> T) -> Option<T> {
        lock(&self.people).execs.get(id).map(f)
    }

    pub(crate) fn set_plumbing(&self, process: &ProcessKey, plumbing: Plumbing) {
        lock(&self.plumbing).insert(process.clone(), plumbing);
    }

    pub(crate) fn take_io(&self, process: &ProcessKey) -> Option<ProcessIo> {
        lock(&self.plumbing).get_mut(process)?.io.take()
    }

    /// Reads on where the reader of a process's output is slow, because the shim is about to wait for it.
    pub(crate) fn drain_output(&self, process: &ProcessKey) {
        if let Some(plumbing) = lock(&self.plumbing).get(process) {
            plumbing.drain(&self.env.scope);
        }
    }

    /// Closes our end of a process's input.
    pub(crate) fn close_input(&self, process: &ProcessKey) {
        if let Some(plumbing) = lock(&self.plumbing).get(process) {
            plumbing.close_input();
        }
    }

    /// The process is no more: whoever reads its output sees the end.
    pub(crate) fn close_plumbing(&self, process: &ProcessKey) {
        let plumbing = lock(&self.plumbing).remove(process);
        if let Some(plumbing) = plumbing {
            plumbing.close();
        }
    }

    /// The same for every process.
    pub(crate) fn close_all_plumbing(&self) {
        let all = std::mem::take(&mut *lock(&self.plumbing));
        for plumbing in all.values() {
            plumbing.close();
        }
    }

    pub(crate) fn set_phases(&self, phases: Phases) {
        // Set once, by the creation.
        let _ = self.phases.set(phases);
    }

    pub(crate) fn phases(&self) -> Phases {
        self.phases.get().cloned().unwrap_or_default()
    }

    pub(crate) fn parting(&self) -> Parting {
        *lock(&self.parting)
    }

    pub(crate) fn note_task_deleted(&self) {
        lock(&self.parting).task_deleted = true;
    }

    pub(crate) fn note_left_by_itself(&self) {
        lock(&self.parting).left_by_itself = true;
    }

    /// Why nothing can be asked of the shim now.
    fn unreachable(&self) -> Refused {
        let reason = || self.trouble().unwrap_or_else(|| "its connection is closed".to_owned());
        match *self.state.borrow() {
            State::Ending | State::Removing | State::Gone(End::Reaped) => Refused::NoSuchTask,
            State::Gone(End::Detached) => Refused::Detaching,
            State::Quarantined => Refused::Quarantined { reason: reason() },
            State::Held(_) | State::Serving | State::Unreachable | State::Reaping => {
                Refused::Unreachable { reason: reason() }
            }
        }
    }

    /// Calls the shim: straight through a clone of the connection, under the method's deadline.
    ///
    /// # Cancel safety
    /// Dropping it withdraws the call; whether the shim still acts on it is not known.
    pub(crate) async fn call<T, F>(
        &self,
        method: &'static str,
        deadline: Duration,
        rpc: impl FnOnce(Connection, Call) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let error = |cause: crate::error::Cause| Error::new(Step::Call(method), cause).of(&self.key);
        let Some(connection) = self.connection() else { return Err(error(self.unreachable().into())) };
        // In a box, because every method of a handle has this future in its own.
        let answer = Box::pin(rpc(connection, Call::within(deadline)));
        // A manager that leaves does not wait for a slow shim.
        let Some(answer) = self.env.scope.detach_token().run_until_cancelled(answer).await else {
            return Err(error(Refused::Detaching.into()));
        };
        answer.map_err(|e| error(e.into()).at_shim(self.binary.path()).with_shim_log(self.log.tail()))
    }

    /// Waits for the right to decide this shim's fate. `Err` with how far it is, once nobody can have that right any
    /// more: it is over, or quarantined.
    ///
    /// # Cancel safety
    /// Yes: a permit that nobody takes is dropped, which keeps the shim.
    pub(crate) async fn hold(&self) -> Result<Permit, State> {
        let (grant, granted) = oneshot::channel();
        let granted = async {
            if self.holds.send(grant).await.is_ok()
                && let Ok(permit) = granted.await
            {
                return Ok(permit);
            }
            Err(State::Gone(self.gone().await))
        };
        tokio::select! {
            biased;
            granted = granted => granted,
            () = self.quarantined() => Err(State::Quarantined),
        }
    }

    async fn quarantined(&self) {
        let mut state = self.state.subscribe();
        let quarantined = state.wait_for(|state| *state == State::Quarantined).await.is_ok();
        if !quarantined {
            // Its sender is this shim's own, so this is never come to.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the shim is over.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn gone(&self) -> End {
        let mut state = self.state.subscribe();
        loop {
            if let State::Gone(end) = *state.borrow_and_update() {
                return end;
            }
            if state.changed().await.is_err() {
                return End::Detached;
            }
        }
    }

    /// Makes what the ledger says durable.
    pub(crate) async fn persist(&self) -> Result<(), Error> {
        self.record.update_book(self.ledger.snapshot()).await
    }
}

impl Permit {
    /// A permit and its other end. A permit that is dropped decides `on_drop`.
    pub(crate) fn new(state: watch::Receiver<State>, on_drop: Fate) -> (Self, Settlement) {
        let (settle, settlement) = oneshot::channel();
        (Self { settle: Some(settle), state, on_drop }, settlement)
    }

    /// Decides that the shim lives on, without waiting for that to be noticed.
    pub(crate) fn keep(mut self) {
        self.on_drop = Fate::Keep;
    }

    /// Decides. Waits until a shim that has to go is over, or stuck on its way; answers the state then.
    pub(crate) async fn settle(mut self, fate: Fate) -> State {
        if let Some(settle) = self.settle.take() {
            // The supervisor is gone only after a detach; then there is nothing left to decide.
            let _ = settle.send(fate);
        }
        loop {
            let state = *self.state.borrow_and_update();
            let decided = match state {
                State::Gone(_) | State::Quarantined => true,
                State::Serving | State::Unreachable => fate == Fate::Keep,
                State::Held(_) | State::Ending | State::Reaping | State::Removing => false,
            };
            if decided || self.state.changed().await.is_err() {
                return state;
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            let _ = settle.send(self.on_drop);
        }
    }
}
