// SPDX-License-Identifier: Apache-2.0
//! The verdict on one bundle, and what follows from it.

use std::sync::Arc;

use shimkeeper_core::{Incarnation, TaskKey};
use shimkeeper_shim::{Connection, DialMode, LogPump, ShimBinary};

use super::bundle::Remains;
use super::report::Verdict;
use crate::env::Env;
use crate::ledger::{Book, Ledger, Phase, Told};
use crate::machine::{Fate, Link};
use crate::reconcile::{Finding, reconcile};
use crate::record::{Record, RecordFile, Stage};
use crate::registry::Reservation;
use crate::shim::{Parts, Shim};
use crate::supervisor::Supervisor;
use crate::{dialing, identify, reap};

/// Concludes what has become of a bundle, and gives it a supervisor or removes it.
pub(super) async fn adopt(env: Arc<Env>, key: TaskKey, reservation: Reservation) -> Verdict {
    let remains = {
        let (env, key) = (env.clone(), key.clone());
        tokio::task::spawn_blocking(move || Remains::read(&env, &key)).await
    };
    let remains = match remains {
        Ok(Ok(remains)) => remains,
        Ok(Err(error)) => return Verdict::Unreachable { reason: error.to_string() },
        Err(join) => return Verdict::Unreachable { reason: join.to_string() },
    };
    if remains.was_never_created() {
        return undo(&env, remains).await;
    }
    supervise(env, key, reservation, remains).await
}

/// Removes a half-made bundle, after ending what was launched for it.
async fn undo(env: &Env, remains: Remains) -> Verdict {
    let sockets = match &remains.record {
        Some(record) => identify::kill_marked(record.incarnation, env.config.deadlines.signal).await,
        None => Some(Vec::new()),
    };
    let Some(sockets) = sockets else {
        return Verdict::Unreachable {
            reason: "what was launched for it does not end, not even by SIGKILL".into(),
        };
    };
    match reap::remove(&env.scope, &remains.bundle, sockets).await {
        Ok(()) => Verdict::Leaked,
        Err(reason) => Verdict::Unreachable { reason },
    }
}

async fn supervise(env: Arc<Env>, key: TaskKey, reservation: Reservation, remains: Remains) -> Verdict {
    let bundle = Arc::new(remains.bundle.clone());
    let over = env.scope.detach_token().child_token();
    let (log, driver) = match LogPump::open(&bundle) {
        Ok(opened) => opened,
        Err(error) => return Verdict::Unreachable { reason: error.to_string() },
    };
    env.scope.spawn(driver.run(over.clone()));
    let dead = remains.is_proven_dead();
    let dialed = if dead {
        Err("its process is gone".to_owned())
    } else {
        dial(&env, &key, remains.params.as_ref()).await
    };
    let link = match (&dialed, dead) {
        (_, true) => Link::Dead,
        (Ok(_), false) => Link::Up,
        (Err(_), false) => Link::Lost,
    };
    let record = remains.record.unwrap_or_else(|| unrecorded(&env, &remains.binary));
    let identity = record.shim.or(match remains.shims.as_slice() {
        [only] => Some(*only),
        _ => None,
    });
    let (stage, foreign) = (record.stage, record.shim_is_foreign);
    let parts = Parts {
        env: env.clone(),
        key,
        incarnation: record.incarnation,
        binary: ShimBinary::formerly_at(remains.binary),
        bundle: bundle.clone(),
        ledger: Ledger::new(record.book.clone()),
        record: RecordFile::new(&env.scope, bundle, Record { shim: identity, ..record }),
        log,
        over: over.clone(),
        connection: dialed.as_ref().ok().cloned(),
    };
    let (shim, requests) = Shim::new(parts, link);
    match identity {
        Some(identity) if foreign => shim.set_foreign(identity),
        identity => shim.set_identity(identity),
    }
    shim.hold_init(remains.init.and_then(|init| identify::hold(init.pid)));
    let ticket = reservation.fulfil(&shim);
    let (supervisor, permit) = Supervisor::new(shim.clone(), ticket, requests);
    env.scope.spawn(supervisor.run());

    let (verdict, fate) = match dialed {
        Err(_) if dead => (Verdict::Dead, Fate::End),
        Err(reason) => {
            shim.set_trouble(reason.clone());
            (Verdict::Unreachable { reason }, Fate::Keep)
        }
        Ok(connection) => conclude(&shim, &connection, stage).await,
    };
    // The end of a dead one takes its time, and nobody has to wait for it here.
    env.scope.spawn(async move { permit.settle(fate).await });
    verdict
}

async fn dial(
    env: &Env,
    key: &TaskKey,
    params: Option<&shimkeeper_shim::BootstrapParams>,
) -> Result<Connection, String> {
    let params = params.ok_or("its address is not known")?;
    let connection = dialing::dial(env, key, params, DialMode::Existing).await.map_err(|e| e.to_string())?;
    let greeted = dialing::greet(key.id.as_str(), connection.clone(), env.config.deadlines.state).await;
    greeted.map(|(connection, _)| connection).map_err(|error| {
        connection.close();
        error.to_string()
    })
}

/// What the shim itself says decides.
async fn conclude(shim: &Arc<Shim>, connection: &Connection, stage: Stage) -> (Verdict, Fate) {
    let init_is_alive = shim.init_identity().is_some_and(|init| !identify::is_gone(&init));
    match reconcile(shim, connection).await {
        Finding::Ended if stage == Stage::Deleting => (Verdict::Leaked, Fate::End),
        Finding::Ended => (Verdict::EndedWhileAway, Fate::Keep),
        Finding::Alive => (Verdict::Adopted, Fate::Keep),
        // The shim has no such task. Only if nothing of it lives is that the whole truth.
        Finding::Absent if init_is_alive => {
            let reason = "its shim does not know the task, whose init is alive".to_owned();
            shim.set_trouble(reason.clone());
            (Verdict::Unreachable { reason }, Fate::Keep)
        }
        Finding::Absent => (Verdict::Leaked, Fate::End),
        Finding::Silent(error) => {
            let reason = error.to_string();
            shim.set_trouble(reason.clone());
            // Closed, so that it is dialed, and asked, again.
            connection.close();
            (Verdict::Unreachable { reason }, Fate::Keep)
        }
    }
}

/// A record for a bundle that another manager made. What it told its clients is taken as told up to the start.
fn unrecorded(env: &Env, binary: &std::path::Path) -> Record {
    let mut book = Book::default();
    book.init.phase = Phase::Unsure;
    book.init.told = Told::Started;
    Record {
        incarnation: Incarnation::fresh(),
        boot_id: env.boot_id,
        stage: Stage::Live,
        runtime: binary.to_owned(),
        bootstrap: None,
        shim: None,
        shim_is_foreign: false,
        init: None,
        book,
    }
}
