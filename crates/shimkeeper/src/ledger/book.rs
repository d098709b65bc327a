// SPDX-License-Identifier: Apache-2.0
//! The ledger's pages: plain data and the rules by which reports change it. No lock, no clock, no I/O.
//! [`telling`] says what follows of it for the public, [`recording`] what a record on disk says of it.

mod recording;
mod telling;

use std::collections::{BTreeMap, VecDeque};

use shimkeeper_core::{ExecId, Exit, ProcessKey};

use crate::error::Refused;
use crate::rare::Rare;

/// Deleted execs that are remembered, so that a late report of one is recognised.
const REMEMBERED: usize = 32;

/// Most execs that are taken on a shim's word alone.
const MOST_FOUND: usize = 1024;

/// How far the manager knows a process to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Made, not started.
    Made,
    /// The shim has been asked to start it.
    Starting,
    /// The shim was asked and never answered.
    Unsure,
    /// Started.
    Started,
    /// Could not be started, and never will be.
    Failed,
}

/// What has been published of a process; later ones include the earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Nothing,
    Made,
    Started,
    Exited,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Process id on the host; 0 before it is known.
    pub(crate) pid: u32,
    pub(crate) phase: Phase,
    pub(crate) exit: Option<Exit>,
    /// How many processes of its container had been killed for want of memory when it ended.
    pub(crate) oom_kills: Option<u64>,
    pub(crate) told: Told,
    /// Whether a start was never answered, so that whoever tries again has to be told how the first went.
    pub(crate) in_doubt: bool,
    pub(crate) under_way: UnderWay,
    /// Whether the shim has told of its end, and the public is told only after the ends of others.
    pub(crate) waits: bool,
}

/// What is under way about a process; nothing that a record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnderWay {
    /// Somebody waits for its end.
    pub(crate) wait: bool,
    /// The shim is being asked to delete it; the answer says how it ended.
    pub(crate) deletion: bool,
}

/// What is known of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Book {
    pub(crate) init: Process,
    /// Whether the shim has answered that it made the task, so that its init has a life to be told of.
    pub(crate) made: bool,
    pub(crate) execs: BTreeMap<ExecId, Process>,
    pub(crate) deleted_told: bool,
    pub(crate) finished: bool,
    pub(crate) forgotten: Rare<VecDeque<(ExecId, u32)>>,
}

/// What a shim reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Created {
        pid: u32,
    },
    Started {
        pid: u32,
    },
    ExecAdded(ExecId),
    ExecStarted(ExecId, u32),
    Exited(ProcessKey, Exit),
    Deleted(ProcessKey, Exit),
    /// Something that has no place in the order (paused, out of memory, …).
    Other,
}

/// What is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The shim's own event, as it came.
    AsReported,
    /// An event the shim owes: the task was created.
    Create { pid: u32 },
    /// … a process was started.
    Start(ProcessKey, u32),
    /// … an exec was added.
    ExecAdded(ExecId),
    /// … a process ended.
    Exit(ProcessKey, Exit),
    /// … the task was deleted.
    Delete(Exit),
}

impl Process {
    const NEW: Self = Self {
        pid: 0,
        phase: Phase::Made,
        exit: None,
        oom_kills: None,
        told: Told::Nothing,
        in_doubt: false,
        under_way: UnderWay { wait: false, deletion: false },
        waits: false,
    };

    /// Whether an exit is owed to the public.
    pub(crate) fn was_started(&self) -> bool {
        self.phase == Phase::Started || self.told >= Told::Started
    }

    /// Whether it may have been started, for all that is known.
    pub(crate) fn may_have_started(&self) -> bool {
        self.was_started() || !matches!(self.phase, Phase::Made | Phase::Failed)
    }

    /// Whether a report of this pid is about another process: one of an earlier life of the id, told late.
    fn is_not(&self, pid: u32) -> bool {
        self.pid != 0 && pid != 0 && self.pid != pid
    }
}

impl Default for Book {
    fn default() -> Self {
        Self {
            init: Process::NEW,
            made: false,
            execs: BTreeMap::new(),
            deleted_told: false,
            finished: false,
            forgotten: Rare::NONE,
        }
    }
}

/// How a start may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartTurn {
    /// Nobody has started it.
    First,
    /// An earlier start was never answered: ask the shim for the state before trying again.
    AfterUnsure,
}

impl Book {
    pub(crate) fn process(&self, process: &ProcessKey) -> Option<&Process> {
        match process {
            ProcessKey::Init => Some(&self.init),
            ProcessKey::Exec(id) => self.execs.get(id),
        }
    }

    fn process_mut(&mut self, process: &ProcessKey) -> Option<&mut Process> {
        match process {
            ProcessKey::Init => Some(&mut self.init),
            ProcessKey::Exec(id) => self.execs.get_mut(id),
        }
    }

    pub(crate) fn add_exec(&mut self, id: &ExecId) -> Result<(), Refused> {
        if self.execs.contains_key(id) {
            return Err(Refused::ExecExists);
        }
        self.execs.insert(id.clone(), Process::NEW);
        Ok(())
    }

    pub(crate) fn remove_exec(&mut self, id: &ExecId) {
        if let Some(process) = self.execs.remove(id) {
            let forgotten = self.forgotten.make();
            forgotten.push_back((id.clone(), process.pid));
            if forgotten.len() > REMEMBERED {
                forgotten.pop_front();
            }
        }
    }

    pub(crate) fn begin_start(&mut self, process: &ProcessKey) -> Result<StartTurn, Refused> {
        let found = self.process_mut(process).ok_or(Refused::NoSuchExec)?;
        if std::mem::take(&mut found.in_doubt) {
            if !found.was_started() {
                found.phase = Phase::Starting;
            }
            return Ok(StartTurn::AfterUnsure);
        }
        if found.exit.is_some() {
            return Err(if found.was_started() { Refused::AlreadyStarted } else { Refused::NeverStarted });
        }
        let turn = match found.phase {
            Phase::Made => StartTurn::First,
            Phase::Unsure => StartTurn::AfterUnsure,
            Phase::Starting | Phase::Started => return Err(Refused::AlreadyStarted),
            Phase::Failed => return Err(Refused::NeverStarted),
        };
        found.phase = Phase::Starting;
        Ok(turn)
    }

    pub(crate) fn set_phase(&mut self, process: &ProcessKey, phase: Phase, pid: Option<u32>) {
        if let Some(found) = self.process_mut(process) {
            found.in_doubt = phase == Phase::Unsure;
            // An event may have come before the answer: what is known to have started is never taken back.
            if phase == Phase::Started || !found.was_started() {
                found.phase = phase;
            }
            if let Some(pid) = pid.filter(|pid| *pid != 0) {
                found.pid = pid;
            }
        }
    }

    pub(crate) fn take_watch(&mut self, process: &ProcessKey) -> bool {
        self.process_mut(process).is_some_and(|found| !std::mem::replace(&mut found.under_way.wait, true))
    }

    pub(crate) fn set_deleting(&mut self, process: &ProcessKey, deleting: bool) {
        if let Some(found) = self.process_mut(process) {
            found.under_way.deletion = deleting;
        }
    }

    pub(crate) fn record_exit(&mut self, process: &ProcessKey, exit: Exit) -> bool {
        // Of a deleted exec, whose id another one has by now.
        if matches!(process, ProcessKey::Exec(id) if exit.pid != 0 && self.is_past(id, exit.pid)) {
            return false;
        }
        let Some(found) = self.process_mut(process) else { return false };
        if found.exit.is_some() {
            return false;
        }
        // Whoever reports an exit may be the first to say whose.
        set_pid(found, exit.pid);
        let pid = if exit.pid == 0 { found.pid } else { exit.pid };
        found.exit = Some(Exit { pid, ..exit });
        true
    }

    pub(crate) fn note_oom_kills(&mut self, process: &ProcessKey, kills: u64) {
        if let Some(found) = self.process_mut(process) {
            found.oom_kills.get_or_insert(kills);
        }
    }

    pub(crate) fn ingest(&mut self, fact: Fact) -> Vec<Notice> {
        if self.finished || self.deleted_told {
            return Vec::new();
        }
        if self.is_foreign(&fact) {
            return Vec::new();
        }
        match fact {
            Fact::Other => vec![Notice::AsReported],
            Fact::Created { pid } => {
                set_pid(&mut self.init, pid);
                self.tell(&ProcessKey::Init, Told::Made)
            }
            Fact::Started { pid } => self.ingest_start(&ProcessKey::Init, pid),
            // It may be of an exec that is gone: everything that was to be said of that has been said.
            Fact::ExecAdded(id) if self.is_past(&id, 0) => Vec::new(),
            Fact::ExecStarted(id, pid) if self.is_past(&id, pid) => Vec::new(),
            Fact::ExecAdded(id) => {
                self.execs.entry(id.clone()).or_insert(Process::NEW);
                self.tell(&ProcessKey::Exec(id), Told::Made)
            }
            Fact::ExecStarted(id, pid) => {
                self.execs.entry(id.clone()).or_insert(Process::NEW);
                self.ingest_start(&ProcessKey::Exec(id), pid)
            }
            Fact::Exited(process, exit) => self.ingest_exit(&process, exit),
            Fact::Deleted(process, exit) => self.ingest_delete(&process, exit),
        }
    }

    /// Whether a report is about a process of another life of the id, or one exec too many. Ids are used again at once,
    /// and what an old shim sent last may be read after the new one was made.
    fn is_foreign(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Created { pid } | Fact::Started { pid } => self.init.is_not(*pid),
            Fact::Deleted(process, exit) => self.process(process).is_some_and(|p| p.is_not(exit.pid)),
            Fact::ExecAdded(id) | Fact::ExecStarted(id, _) | Fact::Exited(ProcessKey::Exec(id), _) => {
                (self.execs.len() >= MOST_FOUND && !self.execs.contains_key(id)) || self.is_too_late(id)
            }
            Fact::Exited(ProcessKey::Init, _) | Fact::Other => false,
        }
    }

    /// Whether the task has ended in public before anybody knew that the exec was started: a dead shim's words may be
    /// read after its end was told. Then there was no such exec.
    fn is_too_late(&self, id: &ExecId) -> bool {
        self.init.told == Told::Exited && self.execs.get(id).is_none_or(|exec| !exec.was_started())
    }

    /// Whether a report is of a deleted exec. Its pid tells it from a later exec of the same id; without one (0) the
    /// later one, if there is one, is meant.
    fn is_past(&self, id: &ExecId, pid: u32) -> bool {
        let is_taken = self.execs.contains_key(id);
        self.forgotten.get().into_iter().flatten().any(|(past, past_pid)| {
            past == id && if is_taken { pid != 0 && *past_pid == pid } else { pid == 0 || *past_pid == pid }
        })
    }

    /// Whether a report of an exit is of another process than it seems, or comes too late.
    fn is_stale(&self, process: &ProcessKey, pid: u32) -> bool {
        let is_past = match process {
            ProcessKey::Init => false,
            ProcessKey::Exec(id) => self.is_past(id, pid) || self.is_too_late(id),
        };
        is_past || self.process(process).is_some_and(|p| p.told == Told::Exited || p.is_not(pid))
    }

    fn ingest_start(&mut self, process: &ProcessKey, pid: u32) -> Vec<Notice> {
        if let Some(found) = self.process_mut(process) {
            set_pid(found, pid);
            if found.told < Told::Exited {
                found.phase = Phase::Started;
            }
        }
        self.tell(process, Told::Started)
    }

    /// Takes in an exit that a shim reports, without announcing it yet; `false` if it is nothing new or not about
    /// this life of the process.
    pub(crate) fn accept_exit(&mut self, process: &ProcessKey, exit: Exit) -> bool {
        if self.finished || self.deleted_told || self.is_stale(process, exit.pid) {
            return false;
        }
        if let ProcessKey::Exec(id) = process {
            // One that is not known is of a time before us.
            let older = Process { phase: Phase::Started, told: Told::Started, ..Process::NEW };
            let exec = self.execs.entry(id.clone()).or_insert(older);
            // Only what was started ends, also where the start was never answered.
            if exec.phase != Phase::Failed {
                exec.phase = Phase::Started;
                set_pid(exec, exit.pid);
            }
        }
        self.record_exit(process, exit);
        true
    }

    /// The same of a process that a shim says it has deleted, and whose exit it has not told.
    pub(crate) fn accept_deleted(&mut self, process: &ProcessKey, exit: Exit) -> bool {
        let is_its = |found: &Process| found.was_started() && !found.is_not(exit.pid);
        !self.finished
            && !self.deleted_told
            && self.process(process).is_some_and(is_its)
            && self.record_exit(process, exit)
    }

    fn ingest_exit(&mut self, process: &ProcessKey, exit: Exit) -> Vec<Notice> {
        if !self.accept_exit(process, exit) {
            return Vec::new();
        }
        if *process == ProcessKey::Init && self.owes_exit_of_exec() {
            self.init.waits = true;
            return Vec::new();
        }
        let recorded = self.process(process).and_then(|p| p.exit);
        let agrees = recorded.is_some_and(|r| r.status == exit.status && r.pid == exit.pid);
        let mut notices = self.tell_exit(process);
        // The shim's own event is passed on untouched, unless `wait` has already answered something else.
        if agrees && let Some(last @ Notice::Exit(..)) = notices.last_mut() {
            *last = Notice::AsReported;
        }
        notices.extend(self.release_init());
        notices
    }

    fn ingest_delete(&mut self, process: &ProcessKey, exit: Exit) -> Vec<Notice> {
        let mut notices = Vec::new();
        if self.process(process).is_some_and(Process::was_started) {
            self.record_exit(process, exit);
            if *process == ProcessKey::Init && self.owes_exit_of_exec() {
                self.init.waits = true;
                return notices;
            }
            notices = self.announce_exit(process);
        }
        if *process == ProcessKey::Init {
            // Not before its execs have ended, and not before anybody knows how it ended, which a shim may not when
            // it deletes what was never started: the end of the task supplies both, and this after them.
            let Some(known) = self.init.exit.filter(|_| !self.owes_exit_of_exec()) else {
                return notices;
            };
            self.deleted_told = true;
            if (known.status, known.pid) != (exit.status, exit.pid) {
                notices.push(Notice::Delete(known));
                return notices;
            }
        }
        notices.push(Notice::AsReported);
        notices
    }

    pub(crate) fn running(&self) -> Vec<(ProcessKey, u32)> {
        let execs = self.execs.iter().map(|(id, process)| (ProcessKey::Exec(id.clone()), process));
        execs
            .chain([(ProcessKey::Init, &self.init)])
            .filter(|(_, process)| process.may_have_started() && process.exit.is_none())
            .map(|(key, process)| (key, process.pid))
            .collect()
    }
}

fn set_pid(process: &mut Process, pid: u32) {
    if pid != 0 {
        process.pid = pid;
    }
}

#[cfg(test)]
mod tests;
