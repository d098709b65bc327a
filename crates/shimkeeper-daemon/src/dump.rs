// SPDX-License-Identifier: Apache-2.0
//! What there is, into the log: for SIGUSR1, and what became of the adoption.

use std::time::Instant;

use shimkeeper::{Adoption, Manager};

use crate::accept::Gate;
use crate::calls::Calls;

/// One line about the daemon, one about each task. Nothing of it waits for anybody.
pub(crate) fn everything(manager: &Manager, gate: &Gate, calls: &Calls, started: Instant) {
    let (adoption, tasks, counts) = (manager.adoption(), manager.list(), gate.counts());
    tracing::info!(
        uptime = ?started.elapsed(),
        tasks = tasks.len(),
        connections = counts.connected,
        refused = counts.refused,
        calls = calls.brief(),
        adopted = adoption.verdicts.len(),
        of = adoption.found,
        "dump"
    );
    for task in tasks {
        let (execs, pid, shim_pid) = (task.execs().len(), task.pid(), task.shim_pid());
        tracing::info!(task = %task.key(), pid, shim_pid, shim = %task.shim_binary().display(), execs, "dump");
    }
}

/// How the adoption ended.
pub(crate) fn adoption(adoption: &Adoption) {
    if adoption.found > 0 {
        tracing::info!(found = adoption.found, "everything that was found has its verdict");
    }
}
