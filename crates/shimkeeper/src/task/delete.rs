// SPDX-License-Identifier: Apache-2.0
//! Deleting a task: the shim is asked under a permit, and what it answers decides whether the supervisor ends it.
//!
//! ```text
//! hold → Delete ─┬─ ok, or not found ──────▶ settle(End): Shutdown, proof, reap, events, bundle, id free
//!                ├─ no answer, but dead ──▶ settle(End)
//!                └─ refused, or no answer ▶ settle(Keep): nothing is touched
//! ```

use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{Exit, Kind, ProcessKey};
use shimkeeper_proto::containerd::task::v3::DeleteRequest;

use crate::ending::{self, DYING};
use crate::error::{Error, Refused, Step};
use crate::identify;
use crate::machine::{End, Fate, State};
use crate::process;
use crate::record::Stage;
use crate::shim::{Permit, Shim};

const STEP: Step = Step::Call("Delete");

pub(super) async fn delete(shim: &Arc<Shim>) -> Result<Exit, Error> {
    let job = shim.env.scope.spawn({
        let shim = shim.clone();
        async move { run(&shim).await }
    });
    match job.await {
        Ok(result) => result,
        Err(join) => {
            Err(Error::io(STEP, "run", shim.bundle.dir(), std::io::Error::other(join)).of(&shim.key))
        }
    }
}

async fn run(shim: &Arc<Shim>) -> Result<Exit, Error> {
    let permit = match shim.hold().await {
        Ok(permit) => permit,
        // It ended under another's hands: a second delete gives the same answer.
        Err(state) => return outcome(shim, state),
    };
    match ask(shim).await {
        Ok(()) => end(shim, permit).await,
        Err(error) => {
            permit.settle(Fate::Keep).await;
            Err(error)
        }
    }
}

/// Asks the shim. `Ok` if the task is over, whoever says so.
async fn ask(shim: &Arc<Shim>) -> Result<(), Error> {
    shim.drain_output(&ProcessKey::Init);
    let request = DeleteRequest { id: shim.key.id.to_string(), exec_id: String::new() };
    let deadline = shim.env.config.deadlines.delete;
    let answer =
        shim.call("Delete", deadline, |c, call| async move { c.delete(&call, &request).await }).await;
    match answer {
        Ok(answer) => {
            let was_started = shim.ledger.process(&ProcessKey::Init).is_some_and(|p| p.was_started());
            if let Some(exit) = process::exit_of(&answer, was_started) {
                shim.ledger.record_exit(&ProcessKey::Init, exit);
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
    let init_is_dead = match shim.init_identity() {
        Some(init) => identify::is_gone(&init),
        None => shim.ledger.exit(&ProcessKey::Init).is_some(),
    };
    init_is_dead || ending::proven_dead(shim, DYING).await
}

async fn end(shim: &Arc<Shim>, permit: Permit) -> Result<Exit, Error> {
    let book = shim.ledger.snapshot();
    let noted = shim.record.update(move |record| {
        record.stage = Stage::Deleting;
        record.book = book;
    });
    if let Err(error) = noted.await {
        // A full disk must not keep anybody from making room.
        tracing::warn!(task = %shim.key, %error, "the deletion could not be recorded");
    }
    outcome(shim, permit.settle(Fate::End).await)
}

/// What a deletion that has come to an end answers.
fn outcome(shim: &Shim, state: State) -> Result<Exit, Error> {
    match state {
        State::Gone(End::Reaped) => Ok(final_exit(shim)),
        State::Gone(End::Detached) => Err(Error::new(STEP, Refused::Detaching).of(&shim.key)),
        _ => {
            let reason = shim.trouble().unwrap_or_default();
            Err(Error::new(Step::Reap, Refused::Quarantined { reason })
                .of(&shim.key)
                .at_shim(shim.binary.path()))
        }
    }
}

fn final_exit(shim: &Shim) -> Exit {
    // The supervisor records an exit before it ends; a task that never had a process has none to tell.
    shim.ledger.exit(&ProcessKey::Init).unwrap_or_else(|| Exit::unknown(0, SystemTime::now()))
}
