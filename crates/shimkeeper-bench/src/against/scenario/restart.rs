// SPDX-License-Identifier: Apache-2.0
//! `restart`: a daemon is killed, or told to end, with 8 lifecycles under way; then it is started again, and a client
//! removes every container that there is a record of. What is left then belongs to nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rustix::process::Signal;
use tokio::task::JoinSet;

use super::lifecycle::lifecycle;
use crate::against::client::{CALL, Client};
use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::program::Pairing;
use crate::against::side::{GRACE, LOOK, Side, left, turns};
use crate::args::Comparison;
use crate::stats::count;

const IN_FLIGHT: usize = 8;

/// Where bundles are, below a state directory.
const BUNDLES: &str = "io.containerd.runtime.v2.task/bench";

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    for (signal, how) in [(Signal::KILL, "killed"), (Signal::TERM, "told to end")] {
        for index in turns(options.times(1, 1)) {
            // New ones, so that what one round left is not found in the next.
            let mut side = Side::start(index, pairing, options).await?;
            interrupt(&mut side, signal).await?;
            discard_all(&side).await?;
            let shims = left(|| Ok(side.daemon.plane.processes()?.len().saturating_sub(1))).await?;
            let bundles = side.daemon.dirs.state().join(BUNDLES);
            let bundles = left(|| Ok(std::fs::read_dir(&bundles).map_or(0, Iterator::count))).await?;
            let name = |what: &str| format!("{how} with 8 in flight: {what} left");
            tally.note(index, &name("shims"), Unit::Count, count(shims));
            tally.note(index, &name("bundles"), Unit::Count, count(bundles));
            let groups = left(|| Ok(side.daemon.plane.containers())).await?;
            tally.note(index, &name("control groups"), Unit::Count, count(groups));
            tally.note(index, &name("tasks"), Unit::Count, count(side.client.list().await?.len()));
            side.close().await?;
        }
    }
    Ok(tally.figures())
}

/// Ends it in the middle of everything, and starts it again.
async fn interrupt(side: &mut Side, signal: Signal) -> Result<(), AgainstError> {
    let done = Arc::new(AtomicUsize::new(0));
    let mut lanes = JoinSet::new();
    for lane in 0..IN_FLIGHT {
        let (maker, done) = (side.maker(), done.clone());
        let ids: Vec<_> = (0..100).map(|_| side.daemon.new_id()).collect();
        lanes.spawn(async move {
            for id in ids {
                // It ends with the session, and is meant to.
                if lifecycle(&maker, &id).await.is_err() {
                    return;
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            unreachable!("lane {lane} was never interrupted");
        });
    }
    let deadline = Instant::now() + CALL;
    while done.load(Ordering::Relaxed) < IN_FLIGHT {
        if Instant::now() >= deadline || lanes.len() < IN_FLIGHT {
            return Err(AgainstError::Unexpected("lifecycles fail before anybody is killed".to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
    side.daemon.end(signal).await?;
    lanes.join_all().await;
    side.start_again().await.map(drop)
}

async fn discard_all(side: &Side) -> Result<(), AgainstError> {
    let mut jobs = JoinSet::new();
    for id in side.client.container_ids().await? {
        jobs.spawn(discard(side.client.clone(), id));
    }
    jobs.join_all().await;
    Ok(())
}

/// Whether a step fails is not the question, as some have been taken already; what is left is.
async fn discard(client: Client, id: String) {
    let _ = client.kill(&id).await;
    let _ = tokio::time::timeout(GRACE, client.wait(&id, "")).await;
    let _ = client.delete(&id).await;
    let _ = client.delete_container(&id).await;
}
