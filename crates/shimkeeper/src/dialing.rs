// SPDX-License-Identifier: Apache-2.0
//! Dialing a shim, the first time and again after its connection was lost.

use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::{HasKind as _, Kind, TaskKey};
use shimkeeper_proto::containerd::task::v3::ConnectRequest;
use shimkeeper_shim::{BootstrapParams, Call, CallError, Connection, DialError, DialMode};

use crate::ending;
use crate::env::Env;
use crate::machine::Input;
use crate::reconcile::{Finding, reconcile};
use crate::shim::Shim;

/// First and longest wait between two tries to dial again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What a shim says of itself when it is first spoken to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Greeting {
    /// The shim's own process id; 0 if it does not say.
    pub(crate) shim_pid: u32,
}

/// Dials, under the deadline for it.
pub(crate) async fn dial(
    env: &Env,
    key: &TaskKey,
    params: &BootstrapParams,
    mode: DialMode,
) -> Result<Connection, DialError> {
    Connection::dial(params, &key.namespace, mode, env.scope.tasks(), env.config.deadlines.dial).await
}

/// Asks a shim who it is. A socket that accepts proves nothing: a stopped shim's does too. A shim that was started
/// with version 3 and speaks only 2 is understood; the answer then carries the connection to go on with.
pub(crate) async fn greet(
    id: &str,
    connection: Connection,
    deadline: Duration,
) -> Result<(Connection, Greeting), CallError> {
    let call = Call::within(deadline);
    let request = ConnectRequest { id: id.to_owned() };
    let answer = match connection.connect(&call, &request).await {
        Ok(answer) => (connection, answer),
        Err(error) if error.kind() == Kind::NotImplemented => match connection.downgraded() {
            Some(older) => {
                let answer = older.connect(&call, &request).await?;
                (older, answer)
            }
            // `Connect` only tells pids; a shim without it can still serve.
            None => return Ok((connection, Greeting::default())),
        },
        Err(error) => return Err(error),
    };
    Ok((answer.0, Greeting { shim_pid: answer.1.shim_pid }))
}

/// Dials a lost shim until it answers or is proven dead.
pub(crate) async fn redial(shim: &Arc<Shim>) -> Input {
    let mut wait = BACK_OFF.0;
    loop {
        if ending::proven_dead(shim, Duration::ZERO).await {
            return Input::Died;
        }
        match try_again(shim).await {
            Ok(connection) => match reconcile(shim, &connection).await {
                Finding::Silent(error) => shim.set_trouble(error.to_string()),
                Finding::Alive | Finding::Ended | Finding::Absent => {
                    shim.set_connection(connection);
                    return Input::Dialed;
                }
            },
            Err(reason) => shim.set_trouble(reason),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

async fn try_again(shim: &Shim) -> Result<Connection, String> {
    let params = BootstrapParams::read(&shim.bundle).map_err(|e| e.to_string())?;
    let connection =
        dial(&shim.env, &shim.key, &params, DialMode::Existing).await.map_err(|e| e.to_string())?;
    let (connection, greeting) = greet(shim.key.id.as_str(), connection, shim.env.config.deadlines.state)
        .await
        .map_err(|e| e.to_string())?;
    match shim.identity() {
        Some(known) if greeting.shim_pid != 0 && greeting.shim_pid != known.pid => {
            connection.close();
            Err(format!("its socket is answered by process {}, not by {}", greeting.shim_pid, known.pid))
        }
        _ => Ok(connection),
    }
}
