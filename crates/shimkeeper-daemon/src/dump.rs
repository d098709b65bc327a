// SPDX-License-Identifier: Apache-2.0
//! What there is, into the log: for SIGUSR1, and what became of the adoption. Nothing of it waits for anybody.

use shimkeeper::{Adoption, Survey};

use crate::controls::Parts;

/// One line about the daemon, one about each task, each sandbox, and each bundle that is not known to be one.
pub(crate) async fn everything(parts: &Parts) {
    let Parts { manager, store, gate, calls, started, .. } = parts;
    let (adoption, census, counts) = (manager.adoption(), manager.census(), gate.counts());
    let shims: Vec<String> = census
        .shims
        .iter()
        .map(|((care, health), count)| format!("{count} {}, {health}", care.as_str()))
        .collect();
    tracing::info!(
        uptime = ?started.elapsed(),
        shims = shims.join("; "),
        creating = census.creating,
        adopting = census.adopting,
        stranded = census.stranded,
        found = adoption.found,
        adoption_finished = adoption.finished,
        connections = counts.connected,
        refused = counts.refused,
        calls = calls.brief(),
        subscribers = census.events.subscribers,
        events = census.events.published,
        unkept = census.unkept,
        records = ?store.counts(),
        "dump"
    );
    // Not even a moment's patience: what there is no verdict on is told as that.
    let Survey { tasks, unknown, .. } = manager.survey(std::time::Duration::ZERO).await;
    for task in tasks {
        let (execs, pid, shim_pid, health) = (task.execs().len(), task.pid(), task.shim_pid(), task.health());
        let exit = task.exit().map(|record| record.exit.status);
        tracing::info!(
            namespace = %task.key().namespace, task = %task.key().id, pid, exit, execs,
            shim = %task.shim_binary().display(), shim_pid,
            health = %health.state, reason = health.reason, "dump"
        );
    }
    for sandbox in manager.sandboxes() {
        let health = sandbox.health();
        tracing::info!(
            namespace = %sandbox.key().namespace, sandbox = %sandbox.key().id,
            health = %health.state, reason = health.reason,
            "dump"
        );
    }
    for bundle in unknown {
        let reason = bundle.reason.unwrap_or_else(|| "there is no verdict on it yet".to_owned());
        tracing::info!(
            namespace = %bundle.key.namespace, bundle = %bundle.key.id, reason,
            "dump"
        );
    }
}

/// How the adoption ended.
pub(crate) fn adoption(adoption: &Adoption) {
    if adoption.found > 0 {
        tracing::info!(found = adoption.found, "everything that was found has its verdict");
    }
}
