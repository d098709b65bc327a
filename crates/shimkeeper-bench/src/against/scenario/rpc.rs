// SPDX-License-Identifier: Apache-2.0
//! `rpc`: calls that start nothing. Version is what any call costs; Get, List and Metrics are what clients ask for most.

use std::time::Instant;

use crate::against::client::Client;
use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::program::Pairing;
use crate::against::side::{Side, both, in_lanes, turns};
use crate::args::Comparison;
use crate::stats::{count, millis};

/// Tasks that are listed.
const TASKS: usize = 50;

/// Calls that are under way at once, where it is more than one.
const LANES: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Call {
    Version,
    Get,
    List,
    Metrics,
}

/// A call, how many in one turn, one at a time or many.
const TURNS: [(&str, Call, usize, usize); 6] = [
    ("Version", Call::Version, 500, 1),
    ("Version x16", Call::Version, 4000, LANES),
    ("Get", Call::Get, 500, 1),
    ("Get x16", Call::Get, 4000, LANES),
    ("List of 50", Call::List, 50, 1),
    ("Metrics of 50", Call::Metrics, 5, 1),
];

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    let sides = both(pairing, options).await?;
    let mut ids = Vec::new();
    for side in &sides {
        ids.push(side.fill(options.many(TASKS, 2)).await?);
    }
    for (name, call, calls, lanes) in TURNS {
        for side in turns(options.times(2, 1)) {
            let calls = options.many(calls, 16);
            turn(side, &sides[side], &ids[side], (name, call, calls, lanes), &mut tally).await?;
        }
    }
    for (side, ids) in sides.into_iter().zip(ids) {
        side.clear(ids).await?;
        side.close().await?;
    }
    Ok(tally.figures())
}

async fn turn(
    index: usize,
    side: &Side,
    ids: &[String],
    (name, call, calls, lanes): (&str, Call, usize, usize),
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let tasks = ids.len();
    let (before, began) = (side.used()?, Instant::now());
    if lanes == 1 {
        for id in ids.iter().cycle().take(calls) {
            let began = Instant::now();
            made(&side.client, call, id, tasks).await?;
            tally.note(index, name, Unit::Micros, millis(began.elapsed()) * 1000.0);
        }
    } else {
        // A lane of its own for each caller, as they are clients of their own.
        let jobs = (0..lanes).map(|lane| {
            let (client, id) = (side.client.clone(), ids[lane % tasks].clone());
            async move {
                for _ in 0..calls / lanes {
                    made(&client, call, &id, tasks).await?;
                }
                Ok(())
            }
        });
        in_lanes(lanes, jobs).await?;
        let rate = count(calls) / began.elapsed().as_secs_f64();
        tally.note(index, &format!("{name}: calls"), Unit::PerSecond, rate);
    }
    let used = side.used()?.since(before);
    let each = used.daemon * 1000.0 / count(calls);
    tally.note(index, &format!("{name}: CPU, daemon"), Unit::Micros, each);
    Ok(())
}

async fn made(client: &Client, call: Call, id: &str, tasks: usize) -> Result<(), AgainstError> {
    let told = match call {
        Call::Version => return client.version().await.map(drop),
        Call::Get => return client.get(id).await,
        Call::List => client.list().await?.len(),
        Call::Metrics => client.metrics().await?,
    };
    if told == tasks {
        return Ok(());
    }
    Err(AgainstError::Unexpected(format!("{call:?} tells of {told} tasks, and there are {tasks}")))
}
