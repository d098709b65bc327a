// SPDX-License-Identifier: Apache-2.0
//! `rpc`: calls that start nothing. Version is what any call costs; Get, List and Metrics are what clients ask for most.

use std::time::Instant;

use shimkeeper_proto::containerd::services::tasks::v1::GetRequest;
use shimkeeper_proto::google::protobuf::Empty;

use crate::against::client::Client;
use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::flood::Flood;
use crate::against::program::Pairing;
use crate::against::side::{Side, Used, both, turns};
use crate::args::Comparison;
use crate::stats::{count, millis};

/// Tasks that are listed.
const TASKS: usize = 50;

/// Calls that are under way at once, where it is more than one.
const IN_FLIGHT: usize = 16;

#[derive(Clone, Copy, Debug)]
enum Call {
    Version,
    Get,
    List,
    Metrics,
}

/// Calls one at a time, and how many of them in one turn.
const SINGLE: [(&str, Call, usize); 4] = [
    ("Version", Call::Version, 500),
    ("Get", Call::Get, 500),
    ("List of 50", Call::List, 50),
    ("Metrics of 50", Call::Metrics, 5),
];

/// Calls in one turn of those that are made many at a time.
const CALLS: usize = 8000;

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    let sides = both(pairing, options).await?;
    let mut ids = Vec::new();
    for side in &sides {
        ids.push(side.fill(options.many(TASKS, 2)).await?);
    }
    for (name, call, calls) in SINGLE {
        for side in turns(options.times(2, 1)) {
            let calls = options.many(calls, 16);
            one_by_one(side, &sides[side], &ids[side], (name, call, calls), &mut tally).await?;
        }
    }
    for index in turns(options.times(2, 1)) {
        let (side, calls) = (&sides[index], options.many(CALLS, 64));
        let address = side.daemon.address();
        let version = Flood::open(&address, "/containerd.services.version.v1.Version/Version", &Empty {})?;
        at_once(index, side, ("Version x16", version, calls), &mut tally)?;
        let request = GetRequest { container_id: ids[index][0].clone(), exec_id: String::new() };
        let get = Flood::open(&address, "/containerd.services.tasks.v1.Tasks/Get", &request)?;
        at_once(index, side, ("Get x16", get, calls), &mut tally)?;
    }
    for (side, ids) in sides.into_iter().zip(ids) {
        side.clear(ids).await?;
        side.close().await?;
    }
    Ok(tally.figures())
}

async fn one_by_one(
    index: usize,
    side: &Side,
    ids: &[String],
    (name, call, calls): (&str, Call, usize),
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let before = side.used()?;
    for id in ids.iter().cycle().take(calls) {
        let began = Instant::now();
        made(&side.client, call, id, ids.len()).await?;
        tally.note(index, name, Unit::Micros, millis(began.elapsed()) * 1000.0);
    }
    used(index, side, before, (name, calls), tally)
}

fn at_once(
    index: usize,
    side: &Side,
    (name, mut flood, calls): (&str, Flood, usize),
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let (before, began) = (side.used()?, Instant::now());
    flood.calls(calls, IN_FLIGHT)?;
    let rate = count(calls) / began.elapsed().as_secs_f64();
    tally.note(index, &format!("{name}: calls"), Unit::PerSecond, rate);
    used(index, side, before, (name, calls), tally)
}

/// What a call took of the daemon.
fn used(
    index: usize,
    side: &Side,
    before: Used,
    (name, calls): (&str, usize),
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let used = side.used()?.since(before).daemon * 1000.0;
    tally.note(index, &format!("{name}: CPU, daemon"), Unit::Micros, used / count(calls));
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
