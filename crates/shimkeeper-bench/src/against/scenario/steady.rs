// SPDX-License-Identifier: Apache-2.0
//! `steady`: what a daemon takes while nothing is asked of it, with 0, 50, 200 and 500 running tasks, and after they are
//! gone. One side after the other, once each: none of this is a matter of speed.

use std::time::Duration;

use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::process::Threads;
use crate::against::program::Pairing;
use crate::against::side::{Side, turn};
use crate::args::Comparison;
use crate::measure::{Holdings, cpu_of};
use crate::stats::{count, millis};

/// Running tasks.
const STEPS: [usize; 4] = [0, 50, 200, 500];

/// What a daemon has at one step.
#[derive(Clone, Copy, Debug)]
struct Idle {
    tasks: usize,
    held: Holdings,
    threads: usize,
    /// Of all threads, in a second.
    wake_ups: f64,
    /// In milliseconds in a second.
    cpu: f64,
}

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    for index in turn(0) {
        let side = Side::start(index, pairing, options).await?;
        one(index, side, options, &mut tally).await?;
    }
    Ok(tally.figures())
}

async fn one(index: usize, side: Side, options: &Comparison, tally: &mut Tally) -> Result<(), AgainstError> {
    let (mut ids, mut idle) = (Vec::new(), Vec::new());
    for (number, step) in STEPS.into_iter().enumerate() {
        let tasks = options.many(step, number);
        ids.extend(side.fill(tasks - ids.len()).await?);
        let now = rest(&side, ids.len(), options).await?;
        let what = if step == 0 { "idle".to_owned() } else { format!("{step} tasks") };
        tally.note(index, &format!("RSS, {what}"), Unit::Mib, mib(now.held.rss));
        tally.note(index, &format!("wake-ups, {step} tasks"), Unit::PerSecond, now.wake_ups);
        tally.note(index, &format!("CPU of a second, {step} tasks"), Unit::Millis, now.cpu);
        idle.push(now);
    }
    // What the first task brings about for all, like the journal's first file, is none of a task's.
    let (first, few, last) = (idle[0], idle[1], idle[STEPS.len() - 1]);
    let tasks = count(last.tasks - few.tasks);
    let each = |with: f64, without: f64| (with - without) / tasks;
    let heap = each(kib(last.held.anonymous), kib(few.held.anonymous));
    tally.note(index, "heap of a task", Unit::Kib, heap);
    let descriptors = each(count(last.held.fds), count(few.held.fds));
    tally.note(index, "descriptors of a task", Unit::Count, descriptors);
    let threads = count(last.threads.saturating_sub(first.threads)) / tasks;
    // A pool that is filled once is none of a task's; a thread of its own would be one whole.
    tally.note(index, "threads of a task", Unit::Count, threads.floor());
    tally.note(index, "threads, 500 tasks", Unit::Count, count(last.threads));
    side.clear(ids).await?;
    let after = rest(&side, 0, options).await?;
    tally.note(index, "RSS, more than at the start", Unit::Mib, mib(after.held.rss) - mib(first.held.rss));
    side.close().await
}

/// Leaves it alone for a while.
async fn rest(side: &Side, tasks: usize, options: &Comparison) -> Result<Idle, AgainstError> {
    let window = if options.quick { Duration::from_millis(300) } else { Duration::from_secs(10) };
    let pid = side.daemon.pid()?;
    // What has just happened has its echo, and is not what is asked about.
    tokio::time::sleep(window).await;
    let (before, cpu) = (Threads::of(pid)?, cpu_of(pid)?);
    tokio::time::sleep(window).await;
    let (after, cpu) = (Threads::of(pid)?, cpu_of(pid)?.saturating_sub(cpu));
    let switches = after.switches.saturating_sub(before.switches);
    #[expect(clippy::cast_precision_loss, reason = "nobody wakes up 2^52 times")]
    let wake_ups = switches as f64 / window.as_secs_f64();
    let cpu = millis(cpu) / window.as_secs_f64();
    Ok(Idle { tasks, held: Holdings::of(pid)?, threads: after.count, wake_ups, cpu })
}

fn mib(kib: u64) -> f64 {
    self::kib(kib) / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "no daemon has 2^52 KiB")]
fn kib(kib: u64) -> f64 {
    kib as f64
}
