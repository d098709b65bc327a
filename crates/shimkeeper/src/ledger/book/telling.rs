// SPDX-License-Identifier: Apache-2.0
//! What the public is told: every step of a process once, those before it first, and the end of the init last.

use shimkeeper_core::{Exit, ProcessKey};

use super::{Book, Notice, Phase, Process, Told};

impl Book {
    /// Publishes a step of a process as reported, after supplying the steps before it; nothing if it is known.
    pub(super) fn tell(&mut self, process: &ProcessKey, step: Told) -> Vec<Notice> {
        let mut notices = self.supply_up_to(process, step);
        if !notices.is_empty() {
            notices.pop();
            notices.push(Notice::AsReported);
        }
        notices
    }

    /// The notices of every step up to `step` that has not been told; marks them told.
    pub(crate) fn supply_up_to(&mut self, process: &ProcessKey, step: Told) -> Vec<Notice> {
        let mut notices = match process {
            ProcessKey::Exec(_) if self.init.told < Told::Started => {
                self.supply_up_to(&ProcessKey::Init, Told::Started)
            }
            ProcessKey::Exec(_) | ProcessKey::Init => Vec::new(),
        };
        let Some(found) = self.process_mut(process) else { return notices };
        let (from, pid, exit) = (found.told, found.pid, found.exit);
        found.told = from.max(step);
        let missing = |s: Told| from < s && s <= step;
        if missing(Told::Made) {
            notices.push(match process {
                ProcessKey::Init => Notice::Create { pid },
                ProcessKey::Exec(id) => Notice::ExecAdded(id.clone()),
            });
        }
        // A start that nobody knows to have happened is not told on the way to an exit.
        let has_started = |p: &Process| matches!(p.phase, Phase::Starting | Phase::Started);
        if missing(Told::Started) && (step == Told::Started || self.process(process).is_some_and(has_started))
        {
            notices.push(Notice::Start(process.clone(), pid));
        }
        if missing(Told::Exited)
            && let Some(exit) = exit
        {
            notices.push(Notice::Exit(process.clone(), exit));
        }
        notices
    }

    /// Whether every end that is known here is known there.
    pub(crate) fn has_same_ends(&self, other: &Self) -> bool {
        let all = self.execs.iter().map(|(id, exec)| (exec, other.execs.get(id)));
        let mut all = all.chain([(&self.init, Some(&other.init))]);
        all.all(|(here, there)| here.exit.is_none() || there.is_some_and(|there| there.exit == here.exit))
    }

    /// The processes whose end is known, and owed to the public; execs first.
    pub(crate) fn ended(&self) -> Vec<ProcessKey> {
        let execs = self.execs.iter().filter(|(_, exec)| exec.was_started());
        let execs = execs.map(|(id, exec)| (ProcessKey::Exec(id.clone()), exec));
        let all = execs.chain([(ProcessKey::Init, &self.init)]);
        all.filter(|(_, process)| process.exit.is_some()).map(|(key, _)| key).collect()
    }

    /// The notices owed for a process that has ended. The init's end waits for those of its execs, which are for others
    /// to tell: whoever has recorded one knows when it is on disk.
    pub(crate) fn announce_exit(&mut self, process: &ProcessKey) -> Vec<Notice> {
        let mut notices = match process {
            ProcessKey::Exec(_) => self.tell_exit(process),
            ProcessKey::Init => {
                self.init.waits = self.init.exit.is_some();
                Vec::new()
            }
        };
        notices.extend(self.release_init());
        notices
    }

    /// The init's end, though execs may run on; nothing while the end of one is about to be told.
    pub(crate) fn announce_init(&mut self) -> Vec<Notice> {
        let is_about_to_be_told = |exec: &Process| {
            exec.was_started() && exec.told < Told::Exited && (exec.exit.is_some() || exec.under_way.deletion)
        };
        if self.execs.values().any(is_about_to_be_told) {
            return Vec::new();
        }
        self.tell_exit(&ProcessKey::Init)
    }

    pub(super) fn tell_exit(&mut self, process: &ProcessKey) -> Vec<Notice> {
        if self.finished || self.process(process).is_none_or(|p| p.exit.is_none() || p.told == Told::Exited) {
            return Vec::new();
        }
        self.supply_up_to(process, Told::Exited)
    }

    /// Whether an exec that was started, or is just being started, has not ended in public.
    pub(super) fn owes_exit_of_exec(&self) -> bool {
        self.execs.values().any(|exec| exec.may_have_started() && exec.told < Told::Exited)
    }

    /// The init's end, if that has waited for those of the execs and they are told.
    pub(super) fn release_init(&mut self) -> Vec<Notice> {
        if self.owes_exit_of_exec() || !std::mem::take(&mut self.init.waits) {
            return Vec::new();
        }
        self.tell_exit(&ProcessKey::Init)
    }

    /// Whether the public is owed an exit of this process at the end of its task.
    fn owes_exit(&self, process: &ProcessKey) -> bool {
        self.process(process).is_some_and(|found| match process {
            // Made and waiting to be started, it was a process that somebody may be waiting for.
            ProcessKey::Init => found.was_started() || (self.made && found.told > Told::Nothing),
            // Without a pid nobody was told that it started, and it may never have.
            ProcessKey::Exec(_) => found.was_started() || (found.may_have_started() && found.pid != 0),
        })
    }

    /// The notices owed for every process that has ended, execs first; the init's end waits for nobody any more.
    pub(crate) fn announce_exits(&mut self) -> Vec<Notice> {
        // The shim answered that it made the task, so it has a beginning and an end in public too.
        let mut notices = match self.init.pid {
            0 => Vec::new(),
            _ => self.supply_up_to(&ProcessKey::Init, Told::Made),
        };
        let execs: Vec<_> = self.execs.keys().cloned().map(ProcessKey::Exec).collect();
        for process in execs.iter().chain([&ProcessKey::Init]) {
            if self.owes_exit(process) {
                notices.extend(self.tell_exit(process));
            }
        }
        notices
    }

    pub(crate) fn finish(&mut self) -> Vec<Notice> {
        let mut notices = self.announce_exits();
        // A task the public has never heard of needs no end.
        if self.init.told > Told::Nothing && !self.deleted_told {
            self.deleted_told = true;
            let exit = self.init.exit.unwrap_or(Exit {
                pid: self.init.pid,
                status: 0,
                at: std::time::UNIX_EPOCH,
                provenance: shimkeeper_core::Provenance::Unknown,
            });
            notices.push(Notice::Delete(exit));
        }
        self.finished = true;
        notices
    }
}
