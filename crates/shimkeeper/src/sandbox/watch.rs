// SPDX-License-Identifier: Apache-2.0
//! How a sandbox is doing, and how it ended: what its shim says, as far as that says anything.
//!
//! Some shims serve the sandbox service without having a sandbox (runc's of containerd 1.7 does): their answer to Wait
//! comes at once and says nothing. An end has a time; an answer without one is not taken for an end, unless the sandbox
//! has been stopped.

use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{Exit, HasKind as _, Kind, ProcessKey, Provenance};
use shimkeeper_proto::containerd::runtime::sandbox::v1 as wire;
use shimkeeper_shim::{Call, CallError, Connection};

use crate::ledger::Phase;
use crate::reconcile::Finding;
use crate::shim::Shim;
use crate::{convert, identify, monitor, publish};

/// Waits for its end, as the shim tells it. `Ok(None)` if the shim tells none.
pub(crate) async fn wait_for(
    shim: &Shim,
    connection: &Connection,
    call: &Call,
) -> Result<Option<Exit>, CallError> {
    let answer = ask(shim, connection, call).await?;
    Ok(convert::moment(answer.exited_at.as_ref()).map(|at| exit(shim, answer.exit_status, at)))
}

/// The end of one that its shim has stopped, by the shim's word.
pub(super) async fn end_of_stopped(shim: &Shim, connection: &Connection) -> Option<Exit> {
    let call = Call::within(shim.deadlines().state);
    let answer = ask(shim, connection, &call).await.ok()?;
    let at = convert::moment(answer.exited_at.as_ref()).unwrap_or_else(SystemTime::now);
    Some(exit(shim, answer.exit_status, at))
}

async fn ask(
    shim: &Shim,
    connection: &Connection,
    call: &Call,
) -> Result<wire::WaitSandboxResponse, CallError> {
    let request = wire::WaitSandboxRequest { sandbox_id: shim.key.id.to_string() };
    connection.wait_sandbox(call, &request).await
}

fn exit(shim: &Shim, status: u32, at: SystemTime) -> Exit {
    Exit { pid: shim.ledger.pid(), status, at, provenance: Provenance::Observed }
}

/// Brings the ledger up to what the shim says of its sandbox, after a time in which nobody listened.
pub(crate) async fn reconcile(shim: &Arc<Shim>, connection: &Connection) -> Finding {
    let call = Call::within(shim.deadlines().state);
    let request = wire::SandboxStatusRequest { sandbox_id: shim.key.id.to_string(), verbose: false };
    let finding = match connection.sandbox_status(&call, &request).await {
        Ok(answer) => take_in(shim, connection, &answer).await,
        Err(error) if error.kind() == Kind::NotFound => Finding::Absent,
        Err(error) => Finding::Silent(error),
    };
    if matches!(finding, Finding::Ended) {
        // Durable before it is told.
        monitor::persist(shim).await;
        publish::decided(shim, None, |ledger| ledger.announce_exit(&ProcessKey::Init));
        monitor::told(shim).await;
    }
    finding
}

async fn take_in(shim: &Arc<Shim>, connection: &Connection, answer: &wire::SandboxStatusResponse) -> Finding {
    let was_started = shim.ledger.process(&ProcessKey::Init).is_some_and(|p| p.was_started());
    if answer.pid != 0 && shim.init_identity().is_none_or(|init| init.pid != answer.pid) {
        shim.hold_init(identify::hold_init(shim, answer.pid));
    }
    let Some(at) = convert::moment(answer.exited_at.as_ref()) else {
        if was_started {
            shim.ledger.found(&ProcessKey::Init, Phase::Started, answer.pid);
            monitor::watch_once(shim, &ProcessKey::Init);
        }
        // One that has been stopped is known to be, whatever a shim without a sandbox says.
        return if shim.ledger.exit(&ProcessKey::Init).is_some() { Finding::Ended } else { Finding::Alive };
    };
    let call = Call::within(shim.deadlines().state);
    let status = ask(shim, connection, &call).await.map_or(Exit::UNKNOWN_STATUS, |answer| answer.exit_status);
    shim.ledger.found(&ProcessKey::Init, Phase::Started, answer.pid);
    shim.ledger
        .record_exit(&ProcessKey::Init, Exit { provenance: Provenance::Recovered, ..exit(shim, status, at) });
    Finding::Ended
}
