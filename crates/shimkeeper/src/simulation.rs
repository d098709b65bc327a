// SPDX-License-Identifier: Apache-2.0
//! Many managers over shims in this process, one after another, under a clock that moves only when nobody has anything
//! to do, along a schedule that a seed decides.
//!
//! Real are the managers, with registry, supervisors, ledgers, records, adoption and journal, and the sockets and files
//! between them and the shims. Not real are the shims' processes (tasks here), their `delete` action, the threads for
//! file operations (done in place), and time. A shim's process is that of the test while it lives, and one that never
//! was afterwards. A manager that is killed is one whose directories were copied at that moment: the next one has the
//! copy, and what the old one still does is done in vain.
//!
//! `SHIMKEEPER_SIMULATION_SEED=n` runs one seed again, `SHIMKEEPER_SIMULATION_SEEDS=n` so many.

mod copy;
mod verdict;
mod world;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use world::World;

/// How many seeds are run where nobody says otherwise.
const SEEDS: u64 = 160;

/// Into how many tests they are cut.
const PARTS: u64 = 4;

/// Longer than any of these lives, by their own clock.
const ETERNITY: Duration = Duration::from_hours(24);

thread_local! {
    static IS_ON: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread simulates: file operations are done in place then, and no binary is run.
pub(crate) fn is_on() -> bool {
    IS_ON.get()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs one of the parts into which the seeds are cut, so that they run side by side.
fn run(part: u64) {
    let seeds = match (number("SHIMKEEPER_SIMULATION_SEED"), part) {
        (Some(seed), 0) => seed..seed + 1,
        (Some(_), _) => return,
        (None, _) => {
            let each = number("SHIMKEEPER_SIMULATION_SEEDS").unwrap_or(SEEDS).div_ceil(PARTS);
            part * each..(part + 1) * each
        }
    };
    IS_ON.set(true);
    for seed in seeds {
        let lived = catch_unwind(AssertUnwindSafe(|| live(seed)));
        assert!(lived.is_ok(), "seed {seed} fails: SHIMKEEPER_SIMULATION_SEED={seed} runs it again");
    }
}

#[test]
fn whatever_happens_in_whatever_order_nothing_is_lost_and_every_end_is_told_once() {
    run(0);
}

#[test]
fn whatever_happens_in_the_second_part_of_the_seeds() {
    run(1);
}

#[test]
fn whatever_happens_in_the_third_part_of_the_seeds() {
    run(2);
}

#[test]
fn whatever_happens_in_the_last_part_of_the_seeds() {
    run(3);
}

fn live(seed: u64) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let life = Box::pin(World::new(seed).live());
        tokio::time::timeout(ETERNITY, life).await.expect("it comes to an end");
    });
}
