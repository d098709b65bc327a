// SPDX-License-Identifier: Apache-2.0
//! Readers beside writers: what was answered to a writer is what everybody reads from then on, wherever it is read
//! from. There are more records than the cache holds, so that all ways are taken.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shimkeeper_core::Any;
use shimkeeper_store::{Container, Store};

use crate::support::{SPEC, Site, block_on, container, filters, ns};

const CONTAINERS: usize = 80;
const UPDATES: u64 = 400;
const PATIENCE: Duration = Duration::from_mins(1);

fn record(number: usize, count: u64) -> Container {
    // The count twice, so that a mixture of two records would show.
    let spec = format!("{count:08}{}", "x".repeat(8000));
    let spec = Some(Any::new(SPEC, spec));
    Container { image: count.to_string(), spec, ..container(&format!("c{number}")) }
}

fn count_of(container: &Container) -> u64 {
    let count = container.image.parse().unwrap();
    let spec = container.spec.as_ref().unwrap();
    assert_eq!(&spec.value[..8], format!("{count:08}").as_bytes(), "parts of two lives in one record");
    count
}

/// Every record changed in turn, by one of two writers.
fn write(store: &Store, answered: &[AtomicU64], odd: usize) {
    let ns = ns("default");
    let mask = ["image", "spec"].map(str::to_owned);
    block_on(async {
        for update in 0..UPDATES {
            let number = usize::try_from(update * 2).unwrap() % CONTAINERS + odd;
            let count = answered[number].load(Ordering::SeqCst) + 1;
            store.containers(&ns).update(record(number, count), &mask).await.unwrap();
            answered[number].store(count, Ordering::SeqCst);
        }
    });
}

#[test]
fn nobody_reads_what_was_before_an_answer() {
    let site = Site::new();
    let store = site.open();
    let ns = ns("default");
    block_on(async {
        for number in 0..CONTAINERS {
            store.containers(&ns).create(record(number, 0)).await.unwrap();
        }
    });
    let answered: Vec<_> = (0..CONTAINERS).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let ends = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        let writers = [0, 1].map(|odd| {
            let (store, answered) = (&store, &answered);
            scope.spawn(move || write(store, answered, odd))
        });
        for reader in 0..2 {
            let (store, ns, answered, done) = (&store, &ns, &answered, &done);
            scope.spawn(move || {
                for number in (0..CONTAINERS).cycle().skip(reader * CONTAINERS / 2) {
                    let before = answered[number].load(Ordering::SeqCst);
                    let found = block_on(store.containers(ns).get(&format!("c{number}"))).unwrap();
                    assert!(count_of(&found) >= before, "c{number}: {} < {before}", count_of(&found));
                    if done.load(Ordering::SeqCst) || Instant::now() > ends {
                        break;
                    }
                }
            });
        }
        let outcomes = writers.map(thread::ScopedJoinHandle::join);
        done.store(true, Ordering::SeqCst);
        for outcome in outcomes {
            outcome.unwrap();
        }
    });
    let all = block_on(store.containers(&ns).list(&filters(&[]))).unwrap();
    let total: u64 = all.iter().map(|container| count_of(container)).sum();
    assert_eq!(total, 2 * UPDATES, "every update is there");
}
