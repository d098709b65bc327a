// SPDX-License-Identifier: Apache-2.0
//! Recording an end: the exit, and what the container's memory group said at that moment, which is gone soon after.

use std::time::SystemTime;

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_shim::ReapAnswer;

use crate::ledger::KILLED;
use crate::shim::Shim;
use crate::witness::status_from_kernel;

/// Records an exit, unless one is known already; answers whether it is news.
pub(crate) fn record(shim: &Shim, process: &ProcessKey, exit: Exit) -> bool {
    note_memory(shim, process);
    shim.ledger.record_exit(process, exit)
}

/// Records an exit that the shim reports, as far as the ledger believes it.
pub(crate) fn accept(shim: &Shim, process: &ProcessKey, exit: Exit) -> bool {
    note_memory(shim, process);
    shim.ledger.accept_exit(process, exit)
}

/// Records the exit of a process that the shim says it has deleted, if it has not told of it before.
pub(crate) fn accept_deleted(shim: &Shim, process: &ProcessKey, exit: Exit) -> bool {
    note_memory(shim, process);
    shim.ledger.accept_deleted(process, exit)
}

/// Looks at the memory group for a process that has ended, or is about to; the first look counts.
pub(crate) fn note_memory(shim: &Shim, process: &ProcessKey) {
    let is_new = shim.ledger.process(process).is_some_and(|p| p.exit.is_none());
    if is_new && let Some(kills) = shim.cgroup().and_then(|cgroup| cgroup.oom_kills()) {
        shim.ledger.note_oom_kills(process, kills);
    }
}

/// The processes whose exit has to be found out, and their pids; execs first.
pub(crate) fn owed(shim: &Shim) -> Vec<(ProcessKey, u32)> {
    let mut owed = shim.ledger.running();
    // One that was only made was there all the same.
    if shim.ledger.exit(&ProcessKey::Init).is_none() && !owed.iter().any(|(key, _)| *key == ProcessKey::Init)
    {
        owed.push((ProcessKey::Init, shim.ledger.pid()));
    }
    owed
}

/// Gives every process that started and has no exit one, from the best source there is.
pub(crate) fn record_owed(shim: &Shim, init_was_alive: bool, answer: Option<&ReapAnswer>) {
    let at = answer.and_then(|answer| answer.at).unwrap_or_else(SystemTime::now);
    for (process, pid) in owed(shim) {
        let from_kernel = shim.held(&process).and_then(|held| status_from_kernel(&held));
        let exit = match from_kernel {
            Some(status) => Exit { pid, status, at, provenance: Provenance::Recovered },
            // It lived until the runtime was told to kill it, or we killed it.
            None if init_was_alive || shim.was_killed(&process) => {
                Exit { pid, status: KILLED, at, provenance: Provenance::Inferred }
            }
            None => Exit::unknown(pid, at),
        };
        record(shim, &process, exit);
    }
}
