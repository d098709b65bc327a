// SPDX-License-Identifier: Apache-2.0
//! What it costs to publish one event, by number of subscribers. The queues are emptied as a subscriber would.

use std::sync::Arc;
use std::time::SystemTime;

use divan::{Bencher, black_box};
use shimkeeper_core::{Exit, ProcessKey, TaskKey};
use shimkeeper_events::{Envelope, Exchange, Filters, Limits, Subscription};

fn main() {
    divan::main();
}

fn exit() -> Arc<Envelope> {
    let task = TaskKey::parse("default", "web").expect("an id");
    Arc::new(Envelope::task_exit(&task, &ProcessKey::Init, &Exit::unknown(7, SystemTime::now())))
}

fn subscribe(exchange: &Exchange, subscribers: usize, filters: &Filters) -> Vec<Subscription> {
    (0..subscribers)
        .map(|_| exchange.subscribe(filters.clone(), Limits::default()).expect("there is room"))
        .collect()
}

fn run(bencher: Bencher<'_, '_>, subscribers: usize, filters: &Filters) {
    let exchange = Exchange::new();
    let mut subscriptions = subscribe(&exchange, subscribers, filters);
    bencher.counter(subscribers.max(1)).bench_local(|| {
        let event = exit();
        exchange.publish(black_box(&event));
        for subscription in &mut subscriptions {
            if let Ok(Some(event)) = subscription.try_next() {
                black_box(event.wire());
            }
        }
    });
}

/// Make the event, publish it, take it out of every queue, and its wire form with it.
#[divan::bench(args = [0, 1, 10, 100])]
fn publish(bencher: Bencher<'_, '_>, subscribers: usize) {
    run(bencher, subscribers, &Filters::everything());
}

/// The same where every subscriber filters by a field of the payload.
#[divan::bench(args = [0, 1, 10, 100])]
fn publish_filtered(bencher: Bencher<'_, '_>, subscribers: usize) {
    let filters = Filters::parse([r#"topic=="/tasks/exit",event.container_id==web"#]).expect("a filter");
    run(bencher, subscribers, &filters);
}
