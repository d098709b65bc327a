// SPDX-License-Identifier: Apache-2.0
//! What is known of a task's processes, and what has been said of them in public.
//!
//! Every report of a process, from the shim's events, from its answers, from the kernel, or from the supervisor at
//! the end, goes into the ledger first, and only the ledger says what is to be published. So each started process
//! gets exactly one exit, with the status that `wait` answers too; what comes twice is dropped, what is missing is
//! supplied, and the order is create < start < exit < delete, whatever order reports arrive in.

mod book;

use std::sync::{Mutex, MutexGuard};

use shimkeeper_core::{ExecId, Exit, ProcessKey};
use tokio::sync::watch;

pub(crate) use book::{Book, Fact, Notice, Phase, Process, Told};

use crate::error::Refused;

/// The ledger of one task. Its supervisor, its handles and the event endpoint share it.
#[derive(Debug)]
pub(crate) struct Ledger {
    book: Mutex<Book>,
    changed: watch::Sender<()>,
}

/// How a start may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartTurn {
    /// Nobody has started it.
    First,
    /// An earlier start was never answered: ask the shim for the state before trying again.
    AfterUnsure,
}

impl Ledger {
    pub(crate) fn new(book: Book) -> Self {
        Self { book: Mutex::new(book), changed: watch::Sender::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes the book and wakes whoever waits for it.
    fn change<T>(&self, f: impl FnOnce(&mut Book) -> T) -> T {
        let answer = f(&mut self.lock());
        self.changed.send_replace(());
        answer
    }

    /// A copy of the book, for the record on disk.
    pub(crate) fn snapshot(&self) -> Book {
        self.lock().clone()
    }

    /// The shim has made the task; its init has this pid.
    pub(crate) fn created(&self, pid: u32) {
        self.change(|book| (book.init.pid, book.made) = (pid, true));
    }

    /// The init's pid; 0 before it is known.
    pub(crate) fn pid(&self) -> u32 {
        self.lock().init.pid
    }

    /// What is known of a process.
    pub(crate) fn process(&self, process: &ProcessKey) -> Option<Process> {
        self.lock().process(process).cloned()
    }

    /// The execs that have not been deleted.
    pub(crate) fn execs(&self) -> Vec<ExecId> {
        self.lock().execs.keys().cloned().collect()
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

    /// Whether nobody watches the process yet; from now on somebody does.
    pub(crate) fn take_watch(&self, process: &ProcessKey) -> bool {
        self.change(|book| book.take_watch(process))
    }

    /// The shim has refused to start it: it may be tried again.
    pub(crate) fn start_refused(&self, process: &ProcessKey) {
        self.change(|book| book.set_phase(process, Phase::Made, None));
    }

    /// Nobody knows whether the shim has started it.
    pub(crate) fn start_unsure(&self, process: &ProcessKey) {
        self.change(|book| book.set_phase(process, Phase::Unsure, None));
    }

    /// Records an exit, unless one is known already. The first report counts.
    pub(crate) fn record_exit(&self, process: &ProcessKey, exit: Exit) -> bool {
        self.change(|book| book.record_exit(process, exit))
    }

    /// The exit of a process, if it is known.
    pub(crate) fn exit(&self, process: &ProcessKey) -> Option<Exit> {
        self.lock().process(process).and_then(|p| p.exit)
    }

    /// Takes in an exit that the shim reports, so that it can be made durable before it is announced.
    pub(crate) fn accept_exit(&self, process: &ProcessKey, exit: Exit) -> bool {
        self.change(|book| book.accept_exit(process, exit))
    }

    /// Takes in what the shim says has happened; the answer is what to publish, in order.
    pub(crate) fn ingest(&self, fact: Fact) -> Vec<Notice> {
        self.change(|book| book.ingest(fact))
    }

    /// Waits until a process's exit is public.
    ///
    /// # Cancel safety
    /// Yes: nothing is consumed.
    pub(crate) async fn told_exit(&self, process: &ProcessKey) {
        let mut changed = self.changed.subscribe();
        loop {
            let is_told = |p: &Process| p.told == Told::Exited;
            if self.lock().process(process).is_none_or(is_told) || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// The notices owed for a process whose exit is recorded and not yet public.
    pub(crate) fn announce_exit(&self, process: &ProcessKey) -> Vec<Notice> {
        self.change(|book| book.announce_exit(process))
    }

    /// Started processes without a known exit, execs first.
    pub(crate) fn running(&self) -> Vec<(ProcessKey, u32)> {
        self.lock().running()
    }

    /// Closes the book: what is still owed, in order. Nothing is published after this.
    pub(crate) fn finish(&self) -> Vec<Notice> {
        self.change(Book::finish)
    }

    /// Waits for a process's exit. `Err` once it is certain that there will be none.
    ///
    /// # Cancel safety
    /// Yes: nothing is consumed.
    pub(crate) async fn exited(&self, process: &ProcessKey) -> Result<Exit, Refused> {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let book = self.lock();
                match book.process(process) {
                    Some(Process { exit: Some(exit), .. }) => return Ok(*exit),
                    Some(_) if book.finished => return Err(Refused::NeverStarted),
                    None => return Err(Refused::NoSuchExec),
                    Some(_) => {}
                }
            }
            if changed.changed().await.is_err() {
                return Err(Refused::Detaching);
            }
        }
    }
}
