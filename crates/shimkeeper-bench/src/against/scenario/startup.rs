// SPDX-License-Identifier: Apache-2.0
//! `startup`: from the execution of the daemon to its first answer, with nothing to find and with 200 running tasks; and
//! until all of those are listed as running.

use std::time::Instant;

use rustix::process::Signal;
use shimkeeper_proto::containerd::v1::types::Status;

use crate::against::client::CALL;
use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::program::Pairing;
use crate::against::side::{LOOK, Side, both, turn, turns};
use crate::args::Comparison;
use crate::measure::cpu_of;
use crate::stats::millis;

/// Tasks that are found.
const TASKS: usize = 200;

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    for side in turn(0) {
        tally.note(side, "size of the binary", Unit::Mib, pairing.program(side).size()?);
    }
    let mut sides = both(pairing, options).await?;
    for side in turns(options.times(7, 2)) {
        empty(side, &mut sides[side], &mut tally).await?;
    }
    let tasks = options.many(TASKS, 3);
    let mut ids = Vec::new();
    for side in &sides {
        ids.push(side.fill(tasks).await?);
    }
    for side in turns(options.times(3, 1)) {
        full(side, &mut sides[side], tasks, &mut tally).await?;
    }
    for (side, ids) in sides.into_iter().zip(ids) {
        side.clear(ids).await?;
        side.close().await?;
    }
    Ok(tally.figures())
}

/// The root directory has been used before, as it has nearly always.
async fn empty(index: usize, side: &mut Side, tally: &mut Tally) -> Result<(), AgainstError> {
    let ended = side.daemon.end(Signal::TERM).await?;
    tally.note(index, "empty: TERM to end", Unit::Millis, millis(ended));
    let began = side.start_again().await?;
    tally.note(index, "empty: exec to first answer", Unit::Millis, millis(began.elapsed()));
    let cpu = cpu_of(side.daemon.pid()?)?;
    tally.note(index, "empty: CPU to first answer", Unit::Millis, millis(cpu));
    Ok(())
}

async fn full(index: usize, side: &mut Side, tasks: usize, tally: &mut Tally) -> Result<(), AgainstError> {
    side.daemon.end(Signal::TERM).await?;
    let began = side.start_again().await?;
    tally.note(index, "200 tasks: exec to first answer", Unit::Millis, millis(began.elapsed()));
    all_running(side, tasks).await?;
    tally.note(index, "200 tasks: exec to all Running", Unit::Millis, millis(began.elapsed()));
    let cpu = cpu_of(side.daemon.pid()?)?;
    tally.note(index, "200 tasks: CPU to all Running", Unit::Millis, millis(cpu));
    Ok(())
}

async fn all_running(side: &Side, tasks: usize) -> Result<(), AgainstError> {
    let deadline = Instant::now() + CALL;
    loop {
        let listed = side.client.list().await?;
        let running = listed.iter().filter(|task| task.status() == Status::Running).count();
        if running == tasks {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let name = side.daemon.program.name();
            let text = format!("{name} lists {running} of {tasks} tasks as running");
            return Err(AgainstError::Unexpected(text));
        }
        tokio::time::sleep(LOOK).await;
    }
}
