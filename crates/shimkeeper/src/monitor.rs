// SPDX-License-Identifier: Apache-2.0
//! One wait per started process: the exit is learned from the shim's answer too, not from its events alone, which it
//! may lose. Whoever waits for the process waits for the ledger.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3::WaitRequest;
use shimkeeper_shim::Call;

use crate::convert;
use crate::machine::State;
use crate::publish;
use crate::shim::Shim;

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
        detach.run_until_cancelled(follow(&shim, &process)).await;
    });
}

async fn follow(shim: &Shim, process: &ProcessKey) {
    let exit = tokio::select! {
        exit = shim.ledger.exited(process) => exit.ok(),
        exit = ask(shim, process) => exit,
    };
    let Some(exit) = exit else { return };
    if shim.ledger.record_exit(process, exit) {
        persist(shim).await;
    }
    // An event that is on its way comes first, so that the shim's own words are passed on.
    let _ = tokio::time::timeout(EVENT_GRACE, shim.ledger.told_exit(process)).await;
    publish::decided(shim, None, |ledger| ledger.announce_exit(process));
    // Once more, so that a restart does not announce it again.
    persist(shim).await;
}

/// Asks the shim until it answers. `None` once it is over without an answer; the supervisor then settles the exit.
async fn ask(shim: &Shim, process: &ProcessKey) -> Option<Exit> {
    let mut state = shim.state.subscribe();
    loop {
        if let Some(connection) = shim.connection() {
            let call = Call::unbounded();
            let request = WaitRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
            match connection.wait(&call, &request).await {
                Ok(answer) => {
                    let at = convert::moment(answer.exited_at.as_ref());
                    let pid = shim.ledger.process(process).map_or(0, |p| p.pid);
                    return Some(Exit {
                        pid,
                        status: answer.exit_status,
                        at: at.unwrap_or_else(SystemTime::now),
                        provenance: Provenance::Observed,
                    });
                }
                Err(error) if !error.is_closed() => {
                    tracing::debug!(task = %shim.key, %process, %error, "the shim does not wait");
                    return None;
                }
                Err(_) => {}
            }
        }
        // Connected again, or over.
        loop {
            if state.changed().await.is_err() || matches!(*state.borrow_and_update(), State::Gone(_)) {
                return None;
            }
            if shim.connection().is_some() {
                break;
            }
        }
    }
}

/// Makes an exit durable before it is announced.
pub(crate) async fn persist(shim: &Shim) {
    if let Err(error) = shim.persist().await {
        tracing::warn!(task = %shim.key, %error, "an exit could not be recorded");
    }
}
