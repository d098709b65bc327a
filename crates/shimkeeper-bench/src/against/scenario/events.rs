// SPDX-License-Identifier: Apache-2.0
//! `events`: published by 16 clients at once to 0, 1, 10 and 100 subscribers, each on a connection of its own; and one at
//! a time, to see how long it takes to arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use shimkeeper_proto::containerd::events::TaskExit;
use shimkeeper_proto::containerd::services::events::v1::PublishRequest;
use shimkeeper_proto::google::protobuf::Any;
use tokio::sync::mpsc;

use crate::against::client::CALL;
use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::flood::Flood;
use crate::against::program::Pairing;
use crate::against::side::{LOOK, Side, both, in_lanes, turns};
use crate::against::subscriber::Subscriber;
use crate::args::Comparison;
use crate::stats::{count, millis};

/// Publishers.
const LANES: usize = 16;

/// Subscribers, how that is called, and how many events are published to them in one turn.
const STEPS: [(usize, &str, usize); 4] = [
    (0, "0 subscribers", 8000),
    (1, "1 subscriber", 8000),
    (10, "10 subscribers", 3200),
    (100, "100 subscribers", 800),
];

/// Events that are sent one at a time in one turn.
const ONE_BY_ONE: usize = 300;

const TOPIC: &str = "/bench/event";

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    let sides = both(pairing, options).await?;
    for (subscribers, what, events) in STEPS {
        for index in turns(options.times(2, 1)) {
            let events = options.many(events, 2 * LANES);
            crowd(index, &sides[index], (subscribers, what, events), &mut tally).await?;
        }
    }
    for index in turns(options.times(2, 1)) {
        one_by_one(index, &sides[index], options.many(ONE_BY_ONE, 5), &mut tally).await?;
    }
    for side in sides {
        side.close().await?;
    }
    Ok(tally.figures())
}

/// As large as most that a daemon has to tell.
fn event() -> Any {
    shimkeeper_proto::pack(&TaskExit {
        container_id: "0123456789abcdef".repeat(4),
        id: "0123456789abcdef".repeat(4),
        pid: 4321,
        ..TaskExit::default()
    })
}

async fn crowd(
    index: usize,
    side: &Side,
    (subscribers, what, events): (usize, &str, usize),
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let seen = Arc::new(AtomicUsize::new(0));
    let mut crowd = Vec::new();
    for _ in 0..subscribers {
        let seen = seen.clone();
        let on = move |_event| {
            seen.fetch_add(1, Ordering::Relaxed);
        };
        crowd.push(Subscriber::open(side, on).await?);
    }
    let (before, began) = (side.used()?, Instant::now());
    if subscribers == 0 {
        let request = PublishRequest { topic: TOPIC.to_owned(), event: Some(event()) };
        let method = "/containerd.services.events.v1.Events/Publish";
        Flood::open(&side.daemon.address(), method, &request)?.calls(events, LANES)?;
    } else {
        publish(side, events).await?;
    }
    let published = began.elapsed();
    let deadline = Instant::now() + CALL;
    while seen.load(Ordering::Relaxed) < events * subscribers {
        crowd.iter_mut().try_for_each(Subscriber::check)?;
        if Instant::now() >= deadline {
            return Err(AgainstError::Unexpected("not all events arrive".to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
    let used = side.used()?.since(before).daemon * 1000.0;
    let name = |figure: &str| format!("events, {what}: {figure}");
    tally.note(index, &name("published"), Unit::PerSecond, count(events) / published.as_secs_f64());
    if subscribers == 0 {
        tally.note(index, &name("CPU of a publish"), Unit::Micros, used / count(events));
    } else {
        tally.note(index, &name("CPU of a delivery"), Unit::Micros, used / count(events * subscribers));
    }
    Ok(())
}

/// Whoever listens has to get on meanwhile.
async fn publish(side: &Side, events: usize) -> Result<(), AgainstError> {
    let publishers = (0..LANES).map(|_| {
        let client = side.client.clone();
        async move {
            for _ in 0..events / LANES {
                client.publish(TOPIC, event()).await?;
            }
            Ok(())
        }
    });
    in_lanes(LANES, publishers).await.map(drop)
}

async fn one_by_one(index: usize, side: &Side, events: usize, tally: &mut Tally) -> Result<(), AgainstError> {
    let (seen, mut arrivals) = mpsc::unbounded_channel();
    let on = move |_event| {
        // The receiver goes last.
        let _ = seen.send(Instant::now());
    };
    let mut subscriber = Subscriber::open(side, on).await?;
    for _ in 0..events {
        let began = Instant::now();
        side.client.publish(TOPIC, event()).await?;
        let Ok(Some(arrived)) = tokio::time::timeout(CALL, arrivals.recv()).await else {
            subscriber.check()?;
            return Err(AgainstError::Unexpected("an event did not arrive".to_owned()));
        };
        let took = millis(arrived.saturating_duration_since(began));
        tally.note(index, "events, 1 subscriber: publish to receive", Unit::Micros, took * 1000.0);
    }
    Ok(())
}
