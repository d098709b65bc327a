// SPDX-License-Identifier: Apache-2.0
//! One wait per started process: the exit is learned from the shim's answer too, not from its events alone, which it
//! may lose, and from the kernel while the shim can tell nothing. Whoever waits for the process waits for the ledger.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3::WaitRequest;
use shimkeeper_shim::{Call, CallError, Connection};

use crate::ledger::Ledger;
use crate::machine::State;
use crate::reconcile::{self, Finding};
use crate::role::Role;
use crate::shim::Shim;
use crate::{convert, exits, publish, sandbox, witness};

/// How long the shim's own exit event may be behind its answer to Wait before ours takes its place.
const EVENT_GRACE: Duration = Duration::from_secs(2);

/// Starts to wait for a process of the shim, unless that has begun.
pub(crate) fn watch_once(shim: &Arc<Shim>, process: &ProcessKey) {
    if !shim.ledger.take_watch(process) {
        return;
    }
    let process = process.clone();
    let (shim, detach) = (shim.clone(), shim.env.scope.detach_token().clone());
    shim.env.scope.clone().spawn(async move {
        // Pinned here, because whoever takes a future over has room for it twice, and each process has one.
        let following = pin!(follow(&shim, &process));
        if detach.run_until_cancelled(following).await.is_some() {
            // Also by a manager that leaves, or the next one announces the exit again.
            told(&shim).await;
        }
    });
}

async fn follow(shim: &Arc<Shim>, process: &ProcessKey) {
    // Its id may be another exec's by the time of the answer; the pid tells.
    let pid = shim.ledger.process(process).map_or(0, |p| p.pid);
    let (exit, grace) = tokio::select! {
        biased;
        exit = shim.ledger.exited(process) => match exit {
            Ok(_) => (None, EVENT_GRACE),
            // There will be none.
            Err(_) => return,
        },
        exit = ask(shim, process, pid) => (Some(exit), EVENT_GRACE),
        // Nobody else is about to tell.
        exit = witness::exit_of(shim, process) => (Some(exit), Duration::ZERO),
    };
    if let Some(exit) = exit
        && exits::record(shim, process, exit)
    {
        persist(shim).await;
    }
    // An event that is on its way comes first, so that the shim's own words are passed on.
    if shim.role == Role::Task && tokio::time::timeout(grace, shim.ledger.told_exit(process)).await.is_err() {
        // Whoever has recorded it may be waiting for the disk.
        persist(shim).await;
    }
    publish::decided(shim, None, |ledger| ledger.announce_exit(process));
    if *process == ProcessKey::Init && shim.ledger.init_waits() {
        // In a box of its own, because each process has this future, and few come to this.
        Box::pin(tell_after_execs(shim)).await;
    }
    crate::failpoint::hit("C8-told");
}

/// Tells of the init's end, which waits for those of its execs, once these are told: by whoever learns of them, by the
/// shim when it is asked for them, or, where it is dead, by the end of the task. Only a shim that answers, and still says
/// that one of them runs, is waited for no longer.
async fn tell_after_execs(shim: &Arc<Shim>) {
    loop {
        if !shim.is_mute()
            && let Some(connection) = shim.connection()
            && !matches!(reconcile::reconcile(shim, &connection, None).await, Finding::Silent(_))
        {
            break;
        }
        if tokio::time::timeout(EVENT_GRACE, shim.ledger.told_exit(&ProcessKey::Init)).await.is_ok() {
            return;
        }
    }
    publish::decided(shim, None, Ledger::announce_exits);
}

/// Makes durable what has been announced, so that a restart does not announce it again. Not before it is in the journal:
/// a restart in between announces it once more, and never not at all.
pub(crate) async fn told(shim: &Shim) {
    if shim.env.journaled().await {
        crate::failpoint::hit("C8-journaled");
        persist(shim).await;
    }
}

/// Asks the shim until it answers. For ever, if it is over without an answer: others settle the exit then.
async fn ask(shim: &Shim, process: &ProcessKey, pid: u32) -> Exit {
    if shim.is_found {
        // Its events tell as well: this can wait until every shim that was found has been asked who it is.
        shim.env.rush_is_over.cancelled().await;
    }
    let mut state = shim.state.subscribe();
    loop {
        if let Some(connection) = shim.connection() {
            let answer = match shim.role {
                Role::Task => wait_for(shim, &connection, process, pid).await.map(Some),
                Role::Sandbox => sandbox::wait_for(shim, &connection, &Call::unbounded()).await,
            };
            match answer {
                Ok(Some(exit)) => return exit,
                // It tells of none.
                Ok(None) => return pending().await,
                Err(error) if !error.is_closed() => {
                    tracing::debug!(
                        namespace = %shim.key.namespace, task = %shim.key.id, %process, %error,
                        "the shim does not wait"
                    );
                    return pending().await;
                }
                Err(_) => {}
            }
        }
        // Connected again, or over.
        loop {
            if state.changed().await.is_err() || matches!(*state.borrow_and_update(), State::Gone(_)) {
                return pending().await;
            }
            if shim.connection().is_some() {
                break;
            }
        }
    }
}

async fn wait_for(
    shim: &Shim,
    connection: &Connection,
    process: &ProcessKey,
    pid: u32,
) -> Result<Exit, CallError> {
    let request = WaitRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let answer = connection.wait(&Call::unbounded(), &request).await?;
    let at = convert::moment(answer.exited_at.as_ref());
    Ok(Exit {
        pid,
        status: answer.exit_status,
        at: at.unwrap_or_else(SystemTime::now),
        provenance: Provenance::Observed,
    })
}

/// Makes an exit durable before it is announced.
pub(crate) async fn persist(shim: &Shim) {
    if let Err(error) = shim.persist().await {
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, %error,
            "an exit could not be recorded"
        );
    }
}
