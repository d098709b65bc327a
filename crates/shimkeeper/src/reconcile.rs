// SPDX-License-Identifier: Apache-2.0
//! Asking a shim what became of its processes while nobody listened: after a restart, and after a lost connection.
//! Events that were missed are gone; the shim's State is not.

use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{Exit, HasKind as _, Kind, ProcessKey, Provenance};
use shimkeeper_proto::containerd::task::v3::{StateRequest, StateResponse};
use shimkeeper_shim::{Call, CallError, Connection};

use crate::identify;
use crate::ledger::Phase;
use crate::memo::Asking;
use crate::role::Role;
use crate::shim::Shim;
use crate::state::{ProcessState, Status};
use crate::{convert, exits, monitor, publish, sandbox};

/// What the shim knows of its task.
#[derive(Debug)]
pub(crate) enum Finding {
    /// The init is made, running or paused.
    Alive,
    /// The init has ended; how is in the ledger now.
    Ended,
    /// The shim has no such task.
    Absent,
    /// The shim does not say.
    Silent(CallError),
}

/// What a shim told of its task's init, and the moment before it was asked.
pub(crate) struct Told {
    pub(crate) asking: Asking,
    pub(crate) answer: Box<Result<StateResponse, CallError>>,
}

/// Brings the ledger up to what the shim says, publishes the exits that were missed, and watches what still runs. It is
/// not asked for its init if it has `told` of that already.
pub(crate) async fn reconcile(shim: &Arc<Shim>, connection: &Connection, told: Option<Told>) -> Finding {
    if shim.role == Role::Sandbox {
        return sandbox::reconcile(shim, connection).await;
    }
    let told = match told {
        Some(told) => told,
        None => ask(shim, connection, &ProcessKey::Init).await,
    };
    let finding = match *told.answer {
        Ok(answer) => {
            shim.denial.believe();
            take_in(shim, &ProcessKey::Init, told.asking, answer)
        }
        Err(error) if error.kind() == Kind::NotFound => Finding::Absent,
        Err(error) => return Finding::Silent(error),
    };
    for id in shim.ledger.execs() {
        let process = ProcessKey::Exec(id);
        // As it is now: its id may be another's by the time of the answer.
        let pid = shim.ledger.process(&process).map_or(0, |p| p.pid);
        let Told { asking, answer } = ask(shim, connection, &process).await;
        match *answer {
            Ok(answer) => {
                take_in(shim, &process, asking, answer);
            }
            // Deleted, or never taken by the shim. One that ran has ended, and nobody kept how, but the answer to its
            // deletion where that is on its way.
            Err(error) if error.kind() == Kind::NotFound => {
                if !shim.ledger.process(&process).is_some_and(|p| p.under_way.deletion) {
                    exits::record(shim, &process, Exit::unknown(pid, SystemTime::now()));
                }
            }
            Err(error) => return Finding::Silent(error),
        }
    }
    // Who ends while that is written is told of by whoever records it.
    let ended = shim.ledger.ended();
    monitor::persist(shim).await;
    crate::failpoint::hit("L3");
    let has_announced = publish::decided(shim, None, |ledger| {
        ended.iter().flat_map(|process| ledger.announce_exit(process)).collect()
    });
    if shim.ledger.init_waits() {
        // Nobody else may be left to see to it that it is told.
        monitor::watch_once(shim, &ProcessKey::Init);
    }
    crate::failpoint::hit("L4");
    if has_announced {
        // Once more, so that the next restart does not announce them again. Nobody has to wait for that.
        let told = shim.clone();
        shim.env.scope.spawn(async move { monitor::told(&told).await });
    }
    finding
}

/// Asks for the state of a process, whatever is thought of the shim.
pub(crate) async fn ask(shim: &Shim, connection: &Connection, process: &ProcessKey) -> Told {
    let request = StateRequest { id: shim.key.id.to_string(), exec_id: process.exec_id().to_owned() };
    let call = Call::within(shim.deadlines().state);
    let asking = shim.ledger.memo.ask();
    let asked = connection.state(&call, &request);
    let answer = shim.env.observed(shim.binary.path(), "State", asked).await;
    Told { asking, answer: Box::new(answer) }
}

fn take_in(shim: &Arc<Shim>, process: &ProcessKey, asking: Asking, answer: StateResponse) -> Finding {
    let at = convert::moment(answer.exited_at.as_ref());
    let state = ProcessState::new(answer, None);
    match state.status {
        Status::Stopped => {
            let status = state.exit.map_or(Exit::UNKNOWN_STATUS, |exit| exit.status);
            let at = at.unwrap_or_else(SystemTime::now);
            let exit = Exit { pid: state.pid, status, at, provenance: Provenance::Recovered };
            // One that was only made is stopped, too, once it is killed; that does not mean that it was started.
            let known = shim.ledger.process(process).filter(|p| !p.may_have_started());
            let phase = known.map_or(Phase::Started, |p| p.phase);
            shim.ledger.found(process, phase, state.pid);
            exits::record(shim, process, exit);
            Finding::Ended
        }
        Status::Running | Status::Paused | Status::Pausing => {
            shim.ledger.found_alive(process, Phase::Started, asking, &state);
            hold(shim, process, state.pid);
            monitor::watch_once(shim, process);
            Finding::Alive
        }
        Status::Created => {
            shim.ledger.found_alive(process, Phase::Made, asking, &state);
            hold(shim, process, state.pid);
            Finding::Alive
        }
        Status::Unknown => Finding::Alive,
    }
}

/// Holds on to a process, unless it is held already.
fn hold(shim: &Shim, process: &ProcessKey, pid: u32) {
    match process {
        ProcessKey::Init if shim.init_identity().is_none_or(|init| init.pid != pid) => {
            shim.hold_init(identify::hold_init(shim, pid));
        }
        ProcessKey::Exec(id) if shim.held(process).is_none() => {
            shim.hold_exec(id, identify::hold_exec(shim, pid));
        }
        ProcessKey::Init | ProcessKey::Exec(_) => {}
    }
}
