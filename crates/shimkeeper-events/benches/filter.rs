// SPDX-License-Identifier: Apache-2.0
//! What it costs to compile a filter, and to ask it.

use std::time::SystemTime;

use divan::{Bencher, black_box};
use shimkeeper_core::{Exit, ProcessKey, TaskKey};
use shimkeeper_events::{Envelope, Filters};

const FILTERS: [&str; 5] = [
    "",
    r#"topic=="/tasks/exit""#,
    "event.container_id==web",
    "namespace==default,topic~=^/tasks/",
    r#"event.container_id==web,topic=="/tasks/start""#,
];

fn main() {
    divan::main();
}

#[divan::bench(args = FILTERS)]
fn parse(text: &str) {
    black_box(Filters::parse([black_box(text)])).expect("a filter");
}

/// The event is decoded by then, as it is for every subscriber but the first.
#[divan::bench(args = FILTERS)]
fn evaluate(bencher: Bencher<'_, '_>, text: &str) {
    let task = TaskKey::parse("default", "web").expect("an id");
    let event = Envelope::task_exit(&task, &ProcessKey::Init, &Exit::unknown(7, SystemTime::now()));
    let filters = Filters::parse([text]).expect("a filter");
    bencher.bench_local(|| filters.matches(black_box(&event)));
}
