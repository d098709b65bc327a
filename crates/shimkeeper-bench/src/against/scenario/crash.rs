// SPDX-License-Identifier: Apache-2.0
//! `crash`: 50 shims are killed at once. Their containers are to be told of as ended, the first soon and all in the end,
//! and nothing is to be left of them.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use shimkeeper_proto::containerd::events::TaskExit;
use tokio::sync::mpsc;

use crate::against::client::CALL;
use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::program::Pairing;
use crate::against::side::{LOOK, Side, both, left, turns};
use crate::against::sockets;
use crate::against::subscriber::Subscriber;
use crate::args::Comparison;
use crate::error::BenchError;
use crate::stats::{count, millis};

const SHIMS: usize = 50;

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    let sides = both(pairing, options).await?;
    for index in turns(options.times(1, 1)) {
        one(index, &sides[index], options.many(SHIMS, 3), &mut tally).await?;
    }
    for side in sides {
        side.close().await?;
    }
    Ok(tally.figures())
}

async fn one(index: usize, side: &Side, shims: usize, tally: &mut Tally) -> Result<(), AgainstError> {
    let ids = side.fill(shims).await?;
    let address = side.daemon.address();
    let sockets = || ids.iter().filter(|id| sockets::of(&address, id).exists()).count();
    if sockets() != shims {
        return Err(AgainstError::Unexpected("the shims have their sockets elsewhere".to_owned()));
    }
    let (seen, mut exits) = mpsc::unbounded_channel();
    let mut subscriber = Subscriber::open(side, move |event| {
        if let Some(Ok(exit)) = event.event.as_ref().and_then(shimkeeper_proto::unpack::<TaskExit>) {
            // Nobody wants to know of those after the last.
            let _ = seen.send((exit.container_id, Instant::now()));
        }
    })
    .await?;
    let before = side.used()?;
    let began = kill_shims(side)?;
    let (mut missing, mut first, mut last): (HashSet<_>, _, _) = (ids.iter().cloned().collect(), None, began);
    while !missing.is_empty() {
        let Ok(Some((id, when))) = tokio::time::timeout(CALL, exits.recv()).await else {
            subscriber.check()?;
            let text = format!("{} exits of {shims} were never told", missing.len());
            return Err(AgainstError::Unexpected(text));
        };
        if missing.remove(&id) {
            first.get_or_insert(when);
            last = when;
        }
    }
    let first = first.unwrap_or(last);
    tally.note(index, "50 shims killed: first exit", Unit::Millis, millis(first - began));
    tally.note(index, "50 shims killed: all exits", Unit::Millis, millis(last - began));
    let gone = none_listed(side, began).await?;
    tally.note(index, "50 shims killed: none listed", Unit::Millis, millis(gone));
    let used = side.used()?.since(before);
    tally.note(index, "50 shims killed: CPU, daemon", Unit::Millis, used.daemon);
    tally.note(index, "50 shims killed: CPU, all", Unit::Millis, used.all);
    let sockets = left(|| Ok(sockets())).await?;
    tally.note(index, "50 shims killed: sockets left", Unit::Count, count(sockets));
    for id in &ids {
        side.client.delete_container(id).await?;
    }
    Ok(())
}

/// Everything in the plane but the daemon.
fn kill_shims(side: &Side) -> Result<Instant, AgainstError> {
    let daemon = side.daemon.pid()?;
    let shims: Vec<_> = side.daemon.plane.processes()?.into_iter().filter(|pid| *pid != daemon).collect();
    let began = Instant::now();
    for pid in shims {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let killed = pid.map_or(Ok(()), |pid| kill_process(pid, Signal::KILL));
        killed.map_err(|e| BenchError::io("kill a shim", e))?;
    }
    Ok(began)
}

/// Waits until no task is listed, and what was started to clear up has ended.
async fn none_listed(side: &Side, began: Instant) -> Result<Duration, AgainstError> {
    let deadline = Instant::now() + CALL;
    while !side.client.list().await?.is_empty() {
        if Instant::now() >= deadline {
            return Err(AgainstError::Unexpected("tasks of dead shims stay listed".to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let gone = began.elapsed();
    side.quiet(0).await?;
    Ok(gone)
}
