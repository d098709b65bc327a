// SPDX-License-Identifier: Apache-2.0
//! `lifecycle`: the whole life of `/bin/true`, as a client sees it: record, task, start, exit, delete, record gone. One
//! after the other; with pauses, after which the kernel's locks are cold; 8 and 32 at once. Beside it the shim by hand:
//! what is possible without a manager.

use std::time::{Duration, Instant};

use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::floor::{Floor, costing};
use crate::against::goals::BY_HAND;
use crate::against::program::Pairing;
use crate::against::side::{Maker, Side, both, in_lanes, turn, turns};
use crate::args::Comparison;
use crate::stats::{count, millis};

/// How many may be under way at once.
const IN_FLIGHT: [usize; 2] = [8, 32];
/// Longer than a grace period of the kernel's.
const PAUSE: Duration = Duration::from_millis(200);

/// Our daemon's processor time beside the script's.
const CPU_BY_HAND: &str = "lifecycle: CPU, daemon, beside the script by hand";

/// The parts of a lifecycle.
const PARTS: [&str; 6] = [
    "lifecycle: Containers.Create",
    "lifecycle: Tasks.Create",
    "lifecycle: Tasks.Start",
    "lifecycle: Tasks.Start to exit known",
    "lifecycle: Tasks.Delete",
    "lifecycle: Containers.Delete",
];

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    let sides = both(pairing, options).await?;
    let floor = Floor::new(pairing, options)?;
    for side in turns(options.times(1, 1)) {
        lifecycle(&sides[side].maker(), &sides[side].daemon.new_id()).await?;
        floor.script.lifecycle()?;
    }
    for round in 0..options.times(12, 1) {
        for side in turn(round) {
            one(side, &sides[side], &mut tally).await?;
        }
        let (laps, cost) = costing(|| floor.script.lifecycle())?;
        tally.note(1, BY_HAND, Unit::Millis, millis(laps.total()));
        tally.note(1, CPU_BY_HAND, Unit::Millis, cost);
    }
    for side in turns(options.times(5, 1)) {
        tokio::time::sleep(PAUSE).await;
        let laps = lifecycle(&sides[side].maker(), &sides[side].daemon.new_id()).await?;
        tally.note(side, "lifecycle after a pause", Unit::Millis, laps.total);
        sides[side].quiet(0).await?;
    }
    for in_flight in IN_FLIGHT {
        for round in 0..options.times(1, 1) {
            for side in turn(round) {
                many(side, &sides[side], in_flight, options, &mut tally).await?;
            }
            let total = total(in_flight, options);
            let took = floor.script.many(in_flight, total)?;
            tally.note(1, &many_by_hand(in_flight), Unit::PerSecond, count(total) / took.as_secs_f64());
        }
    }
    for side in sides {
        side.close().await?;
    }
    Ok(tally.figures())
}

/// One by itself, and what it cost until nothing of it was left.
async fn one(index: usize, side: &Side, tally: &mut Tally) -> Result<(), AgainstError> {
    let before = side.used()?;
    let laps = lifecycle(&side.maker(), &side.daemon.new_id()).await?;
    side.quiet(0).await?;
    let used = side.used()?.since(before);
    let total = laps.total;
    tally.note(index, "lifecycle", Unit::Millis, total);
    if index == 0 {
        tally.note(0, BY_HAND, Unit::Millis, total);
        tally.note(0, CPU_BY_HAND, Unit::Millis, used.daemon);
    }
    for (name, lap) in PARTS.into_iter().zip(laps.parts) {
        tally.note(index, name, Unit::Millis, lap);
    }
    tally.note(index, "lifecycle: CPU, daemon", Unit::Millis, used.daemon);
    tally.note(index, "lifecycle: CPU, all", Unit::Millis, used.all);
    Ok(())
}

/// Enough of them that the first and the last do not count for much.
fn total(in_flight: usize, options: &Comparison) -> usize {
    options.many((2 * in_flight).max(40), 4)
}

fn many_by_hand(in_flight: usize) -> String {
    format!("lifecycles, {in_flight} in flight, beside the shim by hand")
}

/// As many at once as may be.
async fn many(
    index: usize,
    side: &Side,
    in_flight: usize,
    options: &Comparison,
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let total = total(in_flight, options);
    let (before, began) = (side.used()?, Instant::now());
    let jobs = (0..total).map(|_| {
        let (maker, id) = (side.maker(), side.daemon.new_id());
        async move { lifecycle(&maker, &id).await }
    });
    let done = in_lanes(in_flight, jobs).await?;
    let took = began.elapsed();
    side.quiet(0).await?;
    let used = side.used()?.since(before);
    let (each, name) = (count(total), |what: &str| format!("lifecycles, {in_flight} in flight{what}"));
    let rate = each / took.as_secs_f64();
    tally.note(index, &name(""), Unit::PerSecond, rate);
    if index == 0 {
        tally.note(0, &many_by_hand(in_flight), Unit::PerSecond, rate);
    }
    for laps in done {
        tally.note(index, &name(": each"), Unit::Millis, laps.total);
    }
    tally.note(index, &name(": CPU, daemon"), Unit::Millis, used.daemon / each);
    tally.note(index, &name(": CPU, all"), Unit::Millis, used.all / each);
    Ok(())
}

/// How long it took, and each part of it, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laps {
    total: f64,
    parts: [f64; PARTS.len()],
}

/// The whole life of `/bin/true`.
pub(super) async fn lifecycle(maker: &Maker, id: &str) -> Result<Laps, AgainstError> {
    let client = maker.client();
    let container = maker.container(id, &["/bin/true"]);
    let began = Instant::now();
    client.create_container(container).await?;
    let recorded = Instant::now();
    client.create(id).await?;
    let created = Instant::now();
    // The exit is asked for before the start is answered: nothing is missed either way.
    let waited = async {
        let status = client.wait(id, "").await?;
        Ok::<_, AgainstError>((status, Instant::now()))
    };
    let started = async {
        client.start(id, "").await?;
        Ok::<_, AgainstError>(Instant::now())
    };
    let (started, waited) = tokio::join!(started, waited);
    let (started, (status, exited)) = (started?, waited?);
    let ended = Instant::now();
    client.delete(id).await?;
    let deleted = Instant::now();
    client.delete_container(id).await?;
    let gone = Instant::now();
    if status != 0 {
        return Err(AgainstError::Unexpected(format!("/bin/true ended with {status}")));
    }
    let parts = [
        recorded - began,
        created - recorded,
        started - created,
        exited - created,
        deleted - ended,
        gone - deleted,
    ];
    Ok(Laps { total: millis(gone - began), parts: parts.map(millis) })
}
