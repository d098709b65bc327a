// SPDX-License-Identifier: Apache-2.0
//! What is known of a task's processes, and what has been said of them in public.
//!
//! Every report of a process, from the shim's events, from its answers, from the kernel, or from the supervisor at
//! the end, goes into the ledger first, and only the ledger says what is to be published. So each started process
//! gets exactly one exit, with the status that `wait` answers too; what comes twice is dropped, what is missing is
//! supplied, and the order is create < start < exit < delete, whatever order reports arrive in.

mod book;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use shimkeeper_core::{ExecId, Exit, ProcessKey};
use tokio::sync::{Notify, watch};

pub(crate) use book::{Book, Fact, Notice, Phase, Process, StartTurn, Told, UnderWay};

use crate::error::Refused;
use crate::memo::{Asking, Memo};
use crate::rare::Rare;
use crate::state::ProcessState;
use crate::waiting::until;

/// The ledger of one task. Its supervisor, its handles and the event endpoint share it.
#[derive(Debug)]
pub(crate) struct Ledger {
    pages: Mutex<Pages>,
    /// What the shim last told of states.
    pub(crate) memo: Memo,
    /// Tells of every change, and of those of its shim's state and health.
    changed: Arc<Notify>,
}

#[derive(Debug)]
struct Pages {
    book: Book,
    /// The processes that somebody waits for. What is answered here outlives the process's place in the book: an exec
    /// may be deleted, and its id used again, between its end and the moment a waiter looks.
    awaited: Rare<BTreeMap<ProcessKey, watch::Sender<Option<Outcome>>>>,
}

/// What a wait comes to.
pub(crate) type Outcome = Result<Exit, Refused>;

/// How a process ended, and what is known about why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExitRecord {
    /// How it ended.
    pub exit: Exit,
    /// How many processes of the container the kernel had killed by then for want of memory; `None` where nobody can
    /// say.
    pub oom_kills: Option<u64>,
}

impl ExitRecord {
    /// Whether it was most likely ended for want of memory: by SIGKILL, in a container where the kernel did that.
    pub fn is_out_of_memory(&self) -> bool {
        self.exit.status == KILLED && self.oom_kills > Some(0)
    }
}

/// SIGKILL, as shims put it into an exit status.
pub(crate) const KILLED: u32 = 128 + 9;

/// A deletion under way, whether or not its caller waits for the end of it.
pub(crate) struct Deleting<'a> {
    ledger: &'a Ledger,
    process: &'a ProcessKey,
}

impl Drop for Deleting<'_> {
    fn drop(&mut self) {
        self.ledger.turn(|book| book.set_deleting(self.process, false));
    }
}

impl Ledger {
    pub(crate) fn new(book: Book) -> Self {
        let pages = Pages { book, awaited: Rare::NONE };
        Self { pages: Mutex::new(pages), memo: Memo::default(), changed: Arc::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn read<T>(&self, f: impl FnOnce(&Book) -> T) -> T {
        f(&self.pages().book)
    }

    /// Changes the book and wakes whoever waits for it.
    fn change<T>(&self, f: impl FnOnce(&mut Book) -> T) -> T {
        let answer = self.turn(f);
        self.memo.stir();
        self.changed.notify_waiters();
        answer
    }

    fn turn<T>(&self, f: impl FnOnce(&mut Book) -> T) -> T {
        let mut pages = self.pages();
        let answer = f(&mut pages.book);
        pages.answer_waiters();
        answer
    }

    /// What tells of its changes, and of what else is to be waited for together with them.
    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }

    /// A copy of the book, for the record on disk.
    pub(crate) fn snapshot(&self) -> Book {
        self.read(Book::as_recorded)
    }

    /// Whether an exec whose end is still to be told by that record has lost its id to another one.
    pub(crate) fn displaces_an_end(&self, recorded: &Book) -> bool {
        !recorded.execs.is_empty() && self.read(|book| book.displaces_an_end(recorded))
    }

    /// Whether every end that is known is in that book.
    pub(crate) fn has_same_ends(&self, other: &Book) -> bool {
        self.read(|book| book.has_same_ends(other))
    }

    /// The shim has made the task; its init has this pid.
    pub(crate) fn created(&self, pid: u32) {
        self.change(|book| (book.init.pid, book.made) = (pid, true));
    }

    /// The init's pid; 0 before it is known.
    pub(crate) fn pid(&self) -> u32 {
        self.read(|book| book.init.pid)
    }

    /// What is known of a process.
    pub(crate) fn process(&self, process: &ProcessKey) -> Option<Process> {
        self.read(|book| book.process(process).cloned())
    }

    /// The execs that have not been deleted.
    pub(crate) fn execs(&self) -> Vec<ExecId> {
        self.read(|book| book.execs.keys().cloned().collect())
    }

    /// Takes an exec id before the shim is asked.
    pub(crate) fn add_exec(&self, id: &ExecId) -> Result<(), Refused> {
        self.change(|book| book.add_exec(id))
    }

    /// The shim did not take the exec, or has deleted it.
    pub(crate) fn remove_exec(&self, id: &ExecId) {
        self.change(|book| book.remove_exec(id));
    }

    /// Takes the one turn to start a process.
    pub(crate) fn begin_start(&self, process: &ProcessKey) -> Result<StartTurn, Refused> {
        self.change(|book| book.begin_start(process))
    }

    /// The shim has started it.
    pub(crate) fn started(&self, process: &ProcessKey, pid: u32) {
        self.change(|book| book.set_phase(process, Phase::Started, Some(pid)));
    }

    /// What a shim says of a process that was out of sight.
    pub(crate) fn found(&self, process: &ProcessKey, phase: Phase, pid: u32) {
        self.change(|book| book.set_phase(process, phase, Some(pid)));
    }

    /// The same of one that has not ended, whose state is then known from that.
    pub(crate) fn found_alive(
        &self,
        process: &ProcessKey,
        phase: Phase,
        asking: Asking,
        state: &ProcessState,
    ) {
        self.turn(|book| book.set_phase(process, phase, Some(state.pid)));
        self.memo.stir_but_keep(asking, process, state);
        self.changed.notify_waiters();
    }

    /// Whether nobody watches the process yet; from now on somebody does.
    pub(crate) fn take_watch(&self, process: &ProcessKey) -> bool {
        // Of the process itself this tells nothing.
        self.turn(|book| book.take_watch(process))
    }

    /// Whether somebody watches the init, or is to.
    pub(crate) fn is_init_watched(&self) -> bool {
        self.read(|book| book.init.under_way.wait)
    }

    /// The shim is asked to delete an exec, until what this answers is dropped.
    pub(crate) fn deleting<'a>(&'a self, process: &'a ProcessKey) -> Deleting<'a> {
        self.turn(|book| book.set_deleting(process, true));
        Deleting { ledger: self, process }
    }

    /// The shim has refused to start it: it may be tried again.
    pub(crate) fn start_refused(&self, process: &ProcessKey) {
        self.change(|book| book.set_phase(process, Phase::Made, None));
    }

    /// The shim has refused to start it, and counts it as ended.
    pub(crate) fn start_failed(&self, process: &ProcessKey) {
        self.change(|book| book.set_phase(process, Phase::Failed, None));
    }

    /// Nobody knows whether the shim has started it.
    pub(crate) fn start_unsure(&self, process: &ProcessKey) {
        self.change(|book| book.set_phase(process, Phase::Unsure, None));
    }

    /// Records an exit, unless one is known already. The first report counts.
    pub(crate) fn record_exit(&self, process: &ProcessKey, exit: Exit) -> bool {
        self.change(|book| book.record_exit(process, exit))
    }

    /// What the container's memory group said when the process ended; the first look counts.
    pub(crate) fn note_oom_kills(&self, process: &ProcessKey, kills: u64) {
        self.change(|book| book.note_oom_kills(process, kills));
    }

    /// The exit of a process, if it is known, and what was seen at it.
    pub(crate) fn exit_record(&self, process: &ProcessKey) -> Option<ExitRecord> {
        self.read(|book| {
            let found = book.process(process)?;
            Some(ExitRecord { exit: found.exit?, oom_kills: found.oom_kills })
        })
    }

    /// The exit of a process, if it is known.
    pub(crate) fn exit(&self, process: &ProcessKey) -> Option<Exit> {
        self.read(|book| book.process(process)?.exit)
    }

    /// Takes in an exit that the shim reports, so that it can be made durable before it is announced.
    pub(crate) fn accept_exit(&self, process: &ProcessKey, exit: Exit) -> bool {
        self.change(|book| book.accept_exit(process, exit))
    }

    /// The same of a process that the shim says it has deleted, and whose exit it has not told.
    pub(crate) fn accept_deleted(&self, process: &ProcessKey, exit: Exit) -> bool {
        self.change(|book| book.accept_deleted(process, exit))
    }

    /// Takes in what the shim says has happened; the answer is what to publish, in order.
    pub(crate) fn ingest(&self, fact: Fact) -> Vec<Notice> {
        self.change(|book| book.ingest(fact))
    }

    /// Whether a process's exit is public, or never will be.
    fn is_exit_told(&self, process: &ProcessKey) -> bool {
        self.read(|book| book.finished || book.process(process).is_none_or(|p| p.told == Told::Exited))
    }

    /// Whether the init's exit is known, and not public because those of its execs are not.
    pub(crate) fn init_waits(&self) -> bool {
        self.read(|book| book.init.waits && book.init.told < Told::Exited && !book.finished)
    }

    /// Waits until a process's exit is public, or never will be.
    ///
    /// # Cancel safety
    /// Yes: nothing is consumed.
    pub(crate) async fn told_exit(&self, process: &ProcessKey) {
        until(&self.changed, || self.is_exit_told(process).then_some(())).await;
    }

    /// What to publish so that a process is known to have come this far, where its shim does not say so itself.
    pub(crate) fn announce(&self, process: &ProcessKey, step: Told) -> Vec<Notice> {
        self.change(|book| book.supply_up_to(process, step))
    }

    /// The notices owed for a process whose exit is recorded and not yet public.
    pub(crate) fn announce_exit(&self, process: &ProcessKey) -> Vec<Notice> {
        self.change(|book| book.announce_exit(process))
    }

    /// The processes whose end is known, and owed to the public; execs first.
    pub(crate) fn ended(&self) -> Vec<ProcessKey> {
        self.read(Book::ended)
    }

    /// The init's end, though execs may run on; nothing while the end of one is about to be told.
    pub(crate) fn announce_init(&self) -> Vec<Notice> {
        self.change(Book::announce_init)
    }

    /// The notices owed for all processes that have ended, while the task itself goes on to be cleared up.
    pub(crate) fn announce_exits(&self) -> Vec<Notice> {
        self.change(Book::announce_exits)
    }

    /// Started processes without a known exit, execs first.
    pub(crate) fn running(&self) -> Vec<(ProcessKey, u32)> {
        self.read(Book::running)
    }

    /// Closes the book: what is still owed, in order. Nothing is published after this.
    pub(crate) fn finish(&self) -> Vec<Notice> {
        self.change(Book::finish)
    }

    /// What a wait for the process comes to; `None` as long as that is open.
    pub(crate) fn outcome(&self, process: &ProcessKey) -> Option<Outcome> {
        self.pages().outcome(process)
    }

    /// Waits for a process's exit. `Err` once it is certain that there will be none.
    ///
    /// # Cancel safety
    /// Yes: nothing is consumed.
    pub(crate) async fn exited(&self, process: &ProcessKey) -> Result<Exit, Refused> {
        let mut outcome = {
            let mut pages = self.pages();
            if let Some(outcome) = pages.outcome(process) {
                return outcome;
            }
            pages.awaited.make().entry(process.clone()).or_default().subscribe()
        };
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(Refused::Detaching)),
            Err(_) => Err(Refused::Detaching),
        }
    }
}

impl Pages {
    /// What a wait for the process comes to; `None` as long as that is open.
    fn outcome(&self, process: &ProcessKey) -> Option<Outcome> {
        match self.book.process(process) {
            Some(Process { exit: Some(exit), .. }) => Some(Ok(*exit)),
            Some(p) if self.book.finished || p.phase == Phase::Failed => Some(Err(Refused::NeverStarted)),
            None => Some(Err(Refused::NoSuchExec)),
            Some(_) => None,
        }
    }

    /// Tells those who wait for what is decided now. After every change, so nobody's answer can be deleted first.
    fn answer_waiters(&mut self) {
        let Some(mut awaited) = self.awaited.take() else { return };
        awaited.retain(|process, waiters| match self.outcome(process) {
            None => waiters.receiver_count() > 0,
            Some(outcome) => {
                waiters.send_replace(Some(outcome));
                false
            }
        });
        if !awaited.is_empty() {
            self.awaited = Rare::of(awaited);
        }
    }
}

#[cfg(test)]
mod tests;
