// SPDX-License-Identifier: Apache-2.0
//! One shim and the task, or the sandbox, it was launched for, as its handles see it. The data path is here: a call
//! takes a clone of the connection and goes straight to the shim, with no mailbox and no lock on the way. Only the
//! [supervisor](crate::supervisor) ends a shim; whoever wants that asks for a [`Permit`] and settles it.

mod holds;
mod people;
mod voice;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use shimkeeper_core::{Exit, Incarnation, ProcessKey, TaskKey};
use shimkeeper_shim::{Bundle, Call, CallError, CloseReason, Connection, ShimBinary, ShimLog};
use tokio::sync::oneshot;

use crate::deadlines::{Deadlines, Timing};
use crate::early::Early;
use crate::env::Env;
use crate::error::{Error, Refused, Step};
use crate::group::{Leaving, Seat};
use crate::health::{HealthState, Vitals};
use crate::ledger::{Book, Ledger};
use crate::machine::{self, End, State};
use crate::phases::Phases;
use crate::rare::Rare;
use crate::record::{Record, RecordFile};
use crate::role::Role;
use crate::stdio::{Plumbing, ProcessIo};
use crate::sync::lock;
use crate::trace;
use crate::waiting::{Watched, until};
use holds::Holds;
pub(crate) use holds::{Permit, Settlement};
use people::People;
use voice::Voice;

/// How long a caller waits for a bundle to be made again.
const MENDING: Duration = Duration::from_secs(2);

/// A shim, its task, and everything that is known of both.
pub(crate) struct Shim {
    pub(crate) env: Arc<Env>,
    pub(crate) role: Role,
    pub(crate) key: TaskKey,
    pub(crate) incarnation: Incarnation,
    pub(crate) binary: ShimBinary,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) record: Arc<RecordFile>,
    pub(crate) ledger: Ledger,
    pub(crate) early: Early,
    pub(crate) log: ShimLog,
    timing: Timing,
    pub(crate) vitals: Vitals,
    /// Its place among those that the shim's process serves; none while nobody knows where that listens, and once the
    /// shim is over.
    seat: Mutex<Option<Arc<Seat>>>,
    pub(crate) state: Arc<Watched<State>>,
    holds: Holds,
    link: Mutex<Option<Connection>>,
    people: Mutex<People>,
    parting: Mutex<Parting>,
    /// Whether it died, and what it left was ended and told of; the task is still to be cleared up.
    orphans_ended: AtomicBool,
    plumbing: Mutex<Rare<BTreeMap<ProcessKey, Plumbing>>>,
    phases: OnceLock<Phases>,
    /// Whether somebody does not want to wait for the next retry.
    hurry: AtomicBool,
    /// Whether it was found at the start, so that its events are also for those who listened then and are not back yet.
    pub(crate) is_found: bool,
    pub(crate) denial: Denial,
    pub(crate) voice: Voice,
}

/// How the shim was parted with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parting {
    /// It answered Delete: by its own word nothing of the task is left.
    pub(crate) task_deleted: bool,
    /// It answered Shutdown, and then ended by itself; or it stays for others.
    pub(crate) shim_agrees: bool,
    /// The machine was started anew: nothing of the task can be left running.
    pub(crate) rebooted: bool,
}

/// Whether a shim is taken at its word when it denies its task.
#[derive(Debug, Default)]
pub(crate) struct Denial {
    pub(crate) is_credible: AtomicBool,
    /// Whether somebody looks into one.
    pub(crate) is_heard: AtomicBool,
}

/// The parts a shim starts with.
pub(crate) struct Parts {
    pub(crate) env: Arc<Env>,
    pub(crate) role: Role,
    pub(crate) key: TaskKey,
    pub(crate) incarnation: Incarnation,
    pub(crate) binary: ShimBinary,
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) record: Arc<RecordFile>,
    pub(crate) ledger: Ledger,
    pub(crate) log: ShimLog,
    pub(crate) seat: Option<Seat>,
    pub(crate) connection: Option<Connection>,
    /// Whether it was found at the start.
    pub(crate) is_found: bool,
}

impl Denial {
    /// Who answers is known to be the task's own shim: it made the task, has known it, or is proven to be.
    pub(crate) fn believe(&self) {
        self.is_credible.store(true, Ordering::Relaxed);
    }
}

impl Shim {
    /// A shim that starts held by whoever made or found it.
    pub(crate) fn new(parts: Parts, link: machine::Link) -> Arc<Self> {
        let timing = parts.env.timing_of(parts.binary.path());
        let changed = parts.ledger.changed().clone();
        let shim = Self {
            vitals: Vitals::new(timing.clone(), changed.clone()),
            timing,
            env: parts.env,
            role: parts.role,
            key: parts.key,
            incarnation: parts.incarnation,
            binary: parts.binary,
            bundle: parts.bundle,
            record: parts.record,
            ledger: parts.ledger,
            early: Early::default(),
            log: parts.log,
            seat: Mutex::new(parts.seat.map(Arc::new)),
            state: Arc::new(Watched::new(State::Held(link), changed)),
            holds: Holds::new(),
            link: Mutex::new(parts.connection),
            people: Mutex::default(),
            parting: Mutex::default(),
            orphans_ended: AtomicBool::default(),
            plumbing: Mutex::default(),
            phases: OnceLock::new(),
            hurry: AtomicBool::default(),
            is_found: parts.is_found,
            denial: Denial::default(),
            voice: Voice::default(),
        };
        Arc::new(shim)
    }

    /// How long it may take for what, as of now.
    pub(crate) fn deadlines(&self) -> Arc<Deadlines> {
        self.timing.now()
    }

    /// Whether its task is on the way out: the id is still taken, and soon free.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state.get(), State::Ending | State::Reaping | State::Removing | State::Gone(_))
    }

    /// Its place among those that the shim's process serves.
    pub(crate) fn seat(&self) -> Option<Arc<Seat>> {
        lock(&self.seat).clone()
    }

    /// Goes from among those that the shim's process serves, and says what that means for it.
    pub(crate) fn leave(&self) -> Leaving {
        self.seat().map_or(Leaving::Last, |seat| seat.leave())
    }

    /// Whether it has left the shim to others.
    pub(crate) fn is_given_up(&self) -> bool {
        self.seat().is_some_and(|seat| seat.is_given_up())
    }

    /// Lets go of what is kept for a shim that lives, though handles on it may be kept for ever.
    pub(crate) fn retire(&self) {
        self.holds.close();
        lock(&self.seat).take();
        if let Some(connection) = self.last_connection() {
            connection.close();
        }
        self.log.end();
        *lock(&self.people) = People::default();
        self.close_all_plumbing();
    }

    /// The connection, if there is one that is not known to be closed.
    pub(crate) fn connection(&self) -> Option<Connection> {
        lock(&self.link).clone().filter(|connection| connection.close_reason().is_none())
    }

    /// The connection as it is, closed or not.
    pub(crate) fn last_connection(&self) -> Option<Connection> {
        lock(&self.link).clone()
    }

    /// Whether there is a connection, and no doubt that the shim is there to answer.
    pub(crate) fn is_well(&self) -> bool {
        self.connection().is_some() && self.vitals.get().state == HealthState::Healthy && !self.is_ending()
    }

    /// Why the connection ended, if there is one that has.
    pub(crate) fn link_end(&self) -> Option<CloseReason> {
        lock(&self.link).as_ref()?.close_reason()
    }

    pub(crate) fn set_connection(&self, connection: Connection) {
        self.ledger.memo.stir();
        *lock(&self.link) = Some(connection);
        self.vitals.connected();
    }

    /// Notes why the shim cannot be used.
    pub(crate) fn set_trouble(&self, reason: impl Into<String>) {
        self.vitals.trouble(reason.into());
    }

    pub(crate) fn set_plumbing(&self, process: &ProcessKey, plumbing: Plumbing) {
        lock(&self.plumbing).make().insert(process.clone(), plumbing);
    }

    pub(crate) fn take_io(&self, process: &ProcessKey) -> Option<ProcessIo> {
        lock(&self.plumbing).get_mut()?.get_mut(process)?.io.take()
    }

    /// Reads on where the reader of a process's output is slow, because the shim is about to wait for it.
    pub(crate) fn drain_output(&self, process: &ProcessKey) {
        if let Some(plumbing) = lock(&self.plumbing).get().and_then(|all| all.get(process)) {
            plumbing.drain(&self.env.scope);
        }
    }

    /// Closes our end of a process's input.
    pub(crate) fn close_input(&self, process: &ProcessKey) {
        if let Some(plumbing) = lock(&self.plumbing).get().and_then(|all| all.get(process)) {
            plumbing.close_input();
        }
    }

    /// The process is no more: whoever reads its output sees the end.
    pub(crate) fn close_plumbing(&self, process: &ProcessKey) {
        let plumbing = lock(&self.plumbing).get_mut().and_then(|all| all.remove(process));
        if let Some(plumbing) = plumbing {
            plumbing.close();
        }
    }

    /// The same for every process.
    pub(crate) fn close_all_plumbing(&self) {
        let all = lock(&self.plumbing).take();
        for plumbing in all.iter().flat_map(BTreeMap::values) {
            plumbing.close();
        }
    }

    pub(crate) fn set_phases(&self, phases: Phases) {
        // Set once, by the creation.
        let _ = self.phases.set(phases);
    }

    pub(crate) fn phases(&self) -> Phases {
        self.phases.get().copied().unwrap_or_default()
    }

    /// Does not want to wait for the next retry.
    pub(crate) fn hurry(&self) {
        self.hurry.store(true, Ordering::Release);
        self.ledger.changed().notify_waiters();
    }

    /// Waits until somebody is in a hurry, who may have said so before.
    pub(crate) async fn hurried(&self) {
        until(self.ledger.changed(), || self.hurry.swap(false, Ordering::AcqRel).then_some(())).await;
    }

    pub(crate) fn parting(&self) -> Parting {
        *lock(&self.parting)
    }

    pub(crate) fn note_task_deleted(&self) {
        lock(&self.parting).task_deleted = true;
    }

    pub(crate) fn note_reboot(&self) {
        lock(&self.parting).rebooted = true;
    }

    pub(crate) fn note_orphans_ended(&self) {
        self.orphans_ended.store(true, Ordering::Relaxed);
    }

    /// How a process ended whose shim is dead and cannot be asked, until the deletion of its task is told.
    pub(crate) fn exit_told_for_dead_shim(&self, process: &ProcessKey) -> Option<Exit> {
        let is_listed = !matches!(self.state.get(), State::Removing | State::Gone(_));
        if is_listed && self.orphans_ended.load(Ordering::Relaxed) { self.ledger.exit(process) } else { None }
    }

    pub(crate) fn note_shim_agrees(&self) {
        lock(&self.parting).shim_agrees = true;
    }

    /// Why nothing can be asked of the shim now.
    fn unreachable(&self) -> Refused {
        let reason = || match self.vitals.get().reason {
            reason if reason.is_empty() => "its connection is closed".to_owned(),
            reason => reason,
        };
        match self.state.get() {
            State::Ending | State::Removing | State::Gone(End::Reaped) => self.role.absent(),
            State::Gone(End::Detached) => Refused::Detaching,
            State::Quarantined => Refused::Quarantined { reason: reason() },
            State::Held(_) | State::Serving | State::Unreachable | State::Reaping => {
                Refused::Unreachable { reason: reason() }
            }
        }
    }

    /// Calls the shim: straight through a clone of the connection, under the deadline. A stuck shim is not called.
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
        if let Some(refused) = self.vitals.refusal() {
            return Err(error(refused.into()));
        }
        let waiting = self.vitals.waiting(method);
        // In a box, because every method of a handle has this future in its own.
        // Not before it is asked: it is then that its trace is known.
        let asking = async move { rpc(connection, Call::within(deadline).traced(trace::current())).await };
        let answer = Box::pin(self.env.observed(self.binary.path(), method, asking));
        // A manager that leaves does not wait for a slow shim.
        let Some(answer) = self.env.scope.detach_token().run_until_cancelled(answer).await else {
            return Err(error(Refused::Detaching.into()));
        };
        waiting.ended(answer.as_ref());
        let failed = match answer {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        // No shim has a code for that.
        let was_mended = failed.shim_message().is_some() && Box::pin(self.mend()).await;
        let error = error(failed.into()).at_shim(self.binary.path()).with_shim_log(self.log.tail());
        Err(if was_mended { error.because(Refused::BundleRemoved) } else { error })
    }

    /// Makes the bundle again if somebody else has removed it; whether that was so.
    ///
    /// # Cancel safety
    /// Dropped, it may happen all the same.
    async fn mend(&self) -> bool {
        let record = self.record.clone();
        let mending = tokio::time::timeout(MENDING, self.env.scope.in_state(move || record.mend()));
        match mending.await {
            Ok(Ok(Ok(was_removed))) => was_removed,
            Ok(Ok(Err(error))) => {
                tracing::warn!(
                    namespace = %self.key.namespace, task = %self.key.id, %error,
                    "its bundle is not to be seen, and cannot be made again"
                );
                false
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Waits for the right to decide this shim's fate. `Err` with how far it is, once nobody can have that right any
    /// more: it is over, or quarantined.
    ///
    /// # Cancel safety
    /// Yes: a permit that nobody takes is dropped, which keeps the shim.
    pub(crate) async fn hold(&self) -> Result<Permit, State> {
        let granted = async {
            if let Some(granted) = self.holds.ask() {
                self.ledger.changed().notify_waiters();
                if let Ok(permit) = granted.await {
                    return Ok(permit);
                }
            }
            Err(State::Gone(self.gone().await))
        };
        tokio::select! {
            biased;
            granted = granted => granted,
            () = self.quarantined() => Err(State::Quarantined),
        }
    }

    /// The next who waits for that right; for the supervisor, which grants it.
    pub(crate) fn next_hold(&self) -> Option<oneshot::Sender<Permit>> {
        self.holds.next()
    }

    async fn quarantined(&self) {
        self.state.until(|state| state == State::Quarantined).await;
    }

    /// Waits until the shim is over.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn gone(&self) -> End {
        match self.state.until(|state| matches!(state, State::Gone(_))).await {
            State::Gone(end) => end,
            // Not what was waited for.
            _ => End::Detached,
        }
    }

    /// Makes what the ledger says durable: what it says when it is written, so that nobody writes over what is newer.
    pub(crate) async fn persist(self: &Arc<Self>) -> Result<(), Error> {
        self.keep_displaced_ends().await;
        let shim = self.clone();
        self.record.update_book(move |recorded| shim.recordable(recorded)).await
    }

    /// A record has room for one exec of an id: the end of the one before is in the journal then. If its disk takes too
    /// long, what is known now counts for more.
    async fn keep_displaced_ends(&self) {
        if self.record.may_have_displaced_end(&self.ledger) {
            self.env.journaled().await;
        }
    }

    /// What a record that says this so far may say now.
    fn recordable(&self, recorded: &Book) -> Book {
        // First the book: whoever tells something has said so by then.
        let book = self.ledger.snapshot();
        if self.voice.is_kept(&self.env) { book } else { book.hold_back(recorded) }
    }

    /// The same, together with another change of the record.
    pub(crate) async fn persist_and(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Record) + Send + 'static,
    ) -> Result<(), Error> {
        self.keep_displaced_ends().await;
        let shim = self.clone();
        let change = move |record: &mut Record| {
            record.book = shim.recordable(&record.book);
            change(record);
        };
        self.record.update(change).await
    }
}
