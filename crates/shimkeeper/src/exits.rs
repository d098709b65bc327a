// SPDX-License-Identifier: Apache-2.0
//! Recording an end: the exit, and what the container's memory group said at that moment, which is gone soon after.

use shimkeeper_core::{Exit, ProcessKey};

use crate::shim::Shim;

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
