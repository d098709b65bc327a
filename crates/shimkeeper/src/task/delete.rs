// SPDX-License-Identifier: Apache-2.0
//! Deleting a task: the shim is asked under a permit, and what it answers decides whether the supervisor ends it.
//!
//! ```text
//! hold → Delete ─┬─ ok, or not found ──────▶ settle(End): Shutdown, proof, reap, events, bundle, id free
//!                ├─ no answer, but dead ──▶ settle(End)
//!                └─ refused, or no answer ▶ settle(Keep): nothing is touched
//! quarantined ─▶ the next try, at once
//! ```

use std::sync::Arc;

use shimkeeper_core::{Exit, Kind, ProcessKey};
use shimkeeper_proto::containerd::task::v3::DeleteRequest;
use shimkeeper_shim::Connection;

use crate::ending::{self, DELETE, DYING};
use crate::error::Error;
use crate::limit::Limit;
use crate::machine::{Fate, State};
use crate::monitor;
use crate::process;
use crate::shim::Shim;
use crate::{exits, identify};

pub(super) async fn delete(shim: &Arc<Shim>, limit: Limit) -> Result<Exit, Error> {
    let own = shim.clone();
    ending::done(shim, DELETE, limit, async move { run(&own).await }).await
}

async fn run(shim: &Arc<Shim>) -> Result<Exit, Error> {
    let permit = match shim.hold().await {
        Ok(permit) => permit,
        Err(State::Quarantined) => return ending::outcome(shim, DELETE, try_again(shim).await),
        // It ended under another's hands: a second delete gives the same answer.
        Err(state) => return ending::outcome(shim, DELETE, state),
    };
    crate::failpoint::hit("D1");
    match ask(shim).await {
        Ok(()) => ending::settle(shim, DELETE, permit).await,
        Err(error) => {
            permit.settle(Fate::Keep).await;
            Err(error)
        }
    }
}

/// Has what is quarantined tried again at once, and waits for what comes of it.
async fn try_again(shim: &Shim) -> State {
    shim.hurry();
    shim.state.until(|state| state != State::Quarantined).await;
    shim.state.until(|state| matches!(state, State::Quarantined | State::Gone(_))).await
}

/// Asks the shim. `Ok` if the task is over, whoever says so.
async fn ask(shim: &Arc<Shim>) -> Result<(), Error> {
    shim.drain_output(&ProcessKey::Init);
    // The shim is about to forget it, and whoever waited may have been told already.
    monitor::persist_ends(shim).await;
    let request = &DeleteRequest { id: shim.key.id.to_string(), exec_id: String::new() };
    let rpc = |c: Connection, call| async move { c.delete(&call, request).await };
    match process::call_repeatable(shim, "Delete", || shim.deadlines().delete, rpc).await {
        Ok(answer) => {
            let was_started = shim.ledger.process(&ProcessKey::Init).is_some_and(|p| p.was_started());
            if let Some(exit) = process::exit_of(&answer, was_started) {
                exits::record(shim, &ProcessKey::Init, exit);
            }
            shim.note_task_deleted();
            Ok(())
        }
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::DeadlineExceeded) => {
            if is_over_anyway(shim).await { Ok(()) } else { Err(error) }
        }
        Err(error) => Err(process::meant(error)),
    }
}

/// Whether a task can go although its shim did not answer: the shim is dead, or what it kept is.
async fn is_over_anyway(shim: &Shim) -> bool {
    let init_is_dead = async {
        match shim.init_identity() {
            Some(init) => identify::ends(&init, DYING).await,
            None => shim.ledger.exit(&ProcessKey::Init).is_some(),
        }
    };
    // Sent SIGKILL by us, it may be kept from ending by its shim alone: the init of a PID namespace is not dead before
    // every exec in it has been waited for, and their parent is the shim.
    if shim.was_killed(&ProcessKey::Init) {
        return true;
    }
    let (init_is_dead, shim_is_dead) = tokio::join!(init_is_dead, ending::proven_dead(shim, DYING));
    init_is_dead || shim_is_dead
}
