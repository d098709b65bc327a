// SPDX-License-Identifier: Apache-2.0
//! Stopping a sandbox, and ending it with its shim.
//!
//! ```text
//! shutdown: hold → any tasks in it? → ShutdownSandbox ─┬─ ok, or not found, or dead ─▶ settle(End)
//!              └── refused while there are             └─ refused, or no answer ─────▶ settle(Keep)
//! ```

use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::{Exit, Kind, ProcessKey};
use shimkeeper_proto::containerd::runtime::sandbox::v1 as wire;

use super::watch;
use crate::ending::{self, DYING};
use crate::error::{Error, Refused, Step};
use crate::limit::Limit;
use crate::machine::Fate;
use crate::shim::Shim;
use crate::{monitor, publish};

const STEP: Step = Step::Call("ShutdownSandbox");

/// Stops it, and records how it ended.
pub(super) async fn stop(shim: &Arc<Shim>, within: Duration, limit: Limit) -> Result<(), Error> {
    let timeout_secs = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
    let request = wire::StopSandboxRequest { sandbox_id: shim.key.id.to_string(), timeout_secs };
    let deadline = limit.begin().cap(within.saturating_add(shim.deadlines().delete));
    let answer = shim
        .call("StopSandbox", deadline, |c, call| async move { c.stop_sandbox(&call, &request).await })
        .await;
    match answer {
        Ok(_) => {}
        Err(error) if error.kind() == Kind::NotFound => return Ok(()),
        Err(error) if error.kind() == Kind::Unavailable && ending::proven_dead(shim, DYING).await => {
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let was_started = shim.ledger.process(&ProcessKey::Init).is_some_and(|p| p.was_started());
    if was_started
        && let Some(connection) = shim.connection()
        && let Some(exit) = watch::end_of_stopped(shim, &connection).await
    {
        // Or it is recorded already; either way it is public when this returns.
        shim.ledger.record_exit(&ProcessKey::Init, exit);
        monitor::persist(shim).await;
        publish::decided(shim, None, |ledger| ledger.announce_exit(&ProcessKey::Init));
        monitor::told(shim).await;
    }
    Ok(())
}

/// Ends it, on a task of the manager's.
pub(super) async fn shutdown(shim: &Arc<Shim>, limit: Limit) -> Result<Exit, Error> {
    let own = shim.clone();
    ending::done(shim, STEP, limit, async move { run(&own).await }).await
}

async fn run(shim: &Arc<Shim>) -> Result<Exit, Error> {
    let permit = match shim.hold().await {
        Ok(permit) => permit,
        // It ended under another's hands.
        Err(state) => return ending::outcome(shim, STEP, state),
    };
    match ask(shim).await {
        Ok(()) => ending::settle(shim, STEP, permit).await,
        Err(error) => {
            permit.settle(Fate::Keep).await;
            Err(error)
        }
    }
}

/// Asks the shim. `Ok` if the sandbox is over, whoever says so.
async fn ask(shim: &Arc<Shim>) -> Result<(), Error> {
    let seat = shim.seat();
    if let Some(Err(tasks)) = seat.as_ref().map(|seat| seat.begin_to_end()) {
        return Err(Error::new(STEP, Refused::SandboxInUse { tasks }).of(&shim.key));
    }
    let asked = ask_alone(shim).await;
    if let (Err(_), Some(seat)) = (&asked, seat) {
        seat.stay();
    }
    asked
}

async fn ask_alone(shim: &Arc<Shim>) -> Result<(), Error> {
    let request = wire::ShutdownSandboxRequest { sandbox_id: shim.key.id.to_string() };
    let deadline = shim.deadlines().delete;
    let answer = shim
        .call("ShutdownSandbox", deadline, |c, call| async move { c.shutdown_sandbox(&call, &request).await })
        .await;
    match answer {
        Ok(_) => {
            shim.note_task_deleted();
            Ok(())
        }
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        // It ends so quickly that the answer gets lost.
        Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::DeadlineExceeded) => {
            if ending::proven_dead(shim, DYING).await {
                Ok(())
            } else {
                Err(error)
            }
        }
        Err(error) => Err(error),
    }
}
