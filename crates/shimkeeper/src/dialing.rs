// SPDX-License-Identifier: Apache-2.0
//! Dialing a shim, and seeing that it is the one that is meant.

use std::path::Path;
use std::time::Duration;

use shimkeeper_core::{HasKind as _, Kind, TaskKey};
use shimkeeper_proto::containerd::task::v3::{ConnectRequest, StateRequest, StateResponse};
use shimkeeper_shim::{BootstrapParams, Call, CallError, Connection, DialError, DialMode, ProcessIdentity};

use crate::deadlines::Deadlines;
use crate::env::Env;
use crate::group::Seat;
use crate::role::Role;
use crate::shim::Shim;
use crate::trace;

/// What a shim says of itself when it is first spoken to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Greeting {
    /// The shim's own process id; 0 if it does not say.
    pub(crate) shim_pid: u32,
}

/// Asks a shim who it is. A socket that accepts proves nothing: a stopped shim's does too. A shim that was started
/// with version 3 and speaks only 2 is understood; the answer then carries the connection to go on with.
pub(crate) async fn greet(
    role: Role,
    id: &str,
    connection: Connection,
    call: Call,
) -> Result<(Connection, Greeting), CallError> {
    let call = call.traced(trace::current());
    let request = ConnectRequest { id: id.to_owned() };
    let answer = match connection.connect(&call, &request).await {
        Ok(answer) => (connection, answer),
        Err(error) if error.kind() == Kind::NotImplemented => match connection.downgraded() {
            Some(older) => match older.connect(&call, &request).await {
                Err(error) if role == Role::Sandbox && error.is_not_implemented() => {
                    return Ok((connection, Greeting::default()));
                }
                answer => (older, answer?),
            },
            // `Connect` only tells pids; a shim without it can still serve, as one for sandboxes alone does.
            None => return Ok((connection, Greeting::default())),
        },
        Err(error) => return Err(error),
    };
    Ok((answer.0, Greeting { shim_pid: answer.1.shim_pid }))
}

/// Whose shim is to be reached.
#[derive(Clone, Copy)]
pub(crate) struct Whom<'a> {
    pub(crate) role: Role,
    pub(crate) key: &'a TaskKey,
    /// The binary of its shim.
    pub(crate) binary: &'a Path,
    /// The seat it has.
    pub(crate) seat: Option<&'a Seat>,
    /// The processes that it may be; whoever else answers is not believed. Anybody, if none is named.
    pub(crate) known: &'a [ProcessIdentity],
}

impl<'a> Whom<'a> {
    /// The shim of a task that is in our care.
    pub(crate) fn of(shim: &'a Shim, seat: Option<&'a Seat>, known: &'a [ProcessIdentity]) -> Self {
        Self { role: shim.role, key: &shim.key, binary: shim.binary.path(), seat, known }
    }
}

/// A shim that answers.
pub(crate) struct Answer {
    pub(crate) connection: Connection,
    /// The process it says it is; 0 if it does not say.
    pub(crate) shim_pid: u32,
    /// Where it was reached, and by which service.
    pub(crate) params: BootstrapParams,
    /// The seat at that place, if it is another than the one it had.
    pub(crate) seat: Option<Seat>,
    /// What it told of its task's init in the same breath; `None` if it was not asked, or asked by a service that it does
    /// not know.
    pub(crate) told: Option<Box<Result<StateResponse, CallError>>>,
}

/// A shim that does not answer.
pub(crate) struct Silence {
    pub(crate) reason: String,
    /// Whether there is nobody to answer; the same is seen where a socket was removed under a living shim.
    pub(crate) nobody_listens: bool,
}

/// Dials one place after the other until a shim answers.
pub(crate) async fn reach(
    env: &Env,
    whom: Whom<'_>,
    deadlines: &Deadlines,
    places: Vec<BootstrapParams>,
) -> Result<Answer, Silence> {
    let mut silence: Option<Silence> = None;
    for params in places {
        match ask(env, whom, deadlines, params).await {
            Ok(answer) => return Ok(answer),
            Err(Silence { reason, nobody_listens }) => {
                // The first place is the likeliest, and so is its reason.
                let first = silence.get_or_insert(Silence { reason, nobody_listens });
                first.nobody_listens &= nobody_listens;
            }
        }
    }
    Err(silence
        .unwrap_or_else(|| Silence { reason: "its address is not known".into(), nobody_listens: true }))
}

async fn ask(
    env: &Env,
    whom: Whom<'_>,
    deadlines: &Deadlines,
    params: BootstrapParams,
) -> Result<Answer, Silence> {
    let Whom { role, key, seat, known, .. } = whom;
    let mut new_seat = None;
    let seat = match seat.filter(|seat| *seat.address() == params.address) {
        Some(seat) => seat,
        None => match env.groups.seat(&key.namespace, &params.address) {
            Ok(seat) => &*new_seat.insert(seat),
            Err(_) => {
                return Err(Silence { reason: "its shim is just ending".into(), nobody_listens: false });
            }
        },
    };
    let dialed = seat.connect(&env.scope, &params, DialMode::Existing, deadlines.dial).await;
    let connection = dialed.map_err(|error| Silence {
        reason: error.to_string(),
        nobody_listens: matches!(error, DialError::Missing { .. } | DialError::Refused { .. }),
    })?;
    // Both at once: what it says of the task counts only if it is believed to be the task's shim.
    let call = Call::within(deadlines.state);
    let call = if role == Role::Task { call.before_another() } else { call };
    let greeting = greet(role, key.id.as_str(), connection.clone(), call);
    let state = async { Ok(Box::pin(state_of(env, whom, &connection, deadlines.state)).await) };
    let reason = match tokio::try_join!(greeting, state) {
        Ok(((believed, Greeting { shim_pid }), told)) => {
            let told = told.filter(|_| believed.api() == connection.api());
            let connection = believed;
            if known.is_empty() || shim_pid == 0 || known.iter().any(|known| known.pid == shim_pid) {
                // An older service than was announced may have answered.
                let params = BootstrapParams { api: connection.api(), ..params };
                return Ok(Answer { connection, shim_pid, params, seat: new_seat, told });
            }
            format!("its socket is answered by process {shim_pid}, not by {}", known[0].pid)
        }
        Err(error) => error.to_string(),
    };
    connection.close();
    Err(Silence { reason, nobody_listens: false })
}

/// What the shim says of its task's init; `None` of a sandbox, which is asked otherwise.
async fn state_of(
    env: &Env,
    Whom { role, key, binary, .. }: Whom<'_>,
    connection: &Connection,
    deadline: Duration,
) -> Option<Box<Result<StateResponse, CallError>>> {
    if role == Role::Sandbox {
        return None;
    }
    let request = StateRequest { id: key.id.to_string(), exec_id: String::new() };
    let call = Call::within(deadline);
    Some(Box::new(env.observed(binary, "State", connection.state(&call, &request)).await))
}
