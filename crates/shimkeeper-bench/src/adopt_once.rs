// SPDX-License-Identifier: Apache-2.0
//! One restart, in a process of its own: its memory is that of a manager and of nothing else. It prints its figures as
//! JSON and leaves.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use shimkeeper::{Config, Manager, Status, Verdict};
use tokio::task::JoinSet;

use crate::args;
use crate::by_library::runtime;
use crate::error::BenchError;
use crate::measure::{Cpu, Holdings, monotonic};
use crate::stats::millis;

pub(crate) fn run(options: &args::AdoptOnce) -> Result<(), BenchError> {
    let figures = runtime()?.block_on(restart(options))?;
    writeln!(std::io::stdout(), "{figures}").map_err(|e| BenchError::io("print the figures", e))
}

async fn restart(options: &args::AdoptOnce) -> Result<Value, BenchError> {
    let began = Duration::from_nanos(options.began);
    let passed = || millis(monotonic().saturating_sub(began));
    let manager = Manager::open(Config::new(&options.state, &options.root)).await?;
    let opened = passed();
    let mut found = manager.survey(Duration::ZERO).await.unknown;
    if let Some(first) = found.pop() {
        // The last by name is about the last to be looked at.
        manager.find(&first.key).await?.state().await?;
    }
    let first = passed();
    let adoption = manager.adopted().await;
    let concluded = passed();
    let mut states = JoinSet::new();
    for task in manager.list() {
        states.spawn(async move { task.state().await });
    }
    let mut running = 0;
    while let Some(state) = states.join_next().await {
        let state = state.map_err(|_| BenchError::Panicked)??;
        running += usize::from(state.status == Status::Running);
    }
    let listed = passed();
    let cpu = millis(Cpu::now().own);
    let held = Holdings::now()?;
    let adopted = adoption.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Adopted).count();
    manager.detach().await;
    Ok(json!({
        "adopted": adopted, "running": running, "opened": opened, "first": first, "concluded": concluded,
        "listed": listed, "cpu": cpu, "rss": held.rss, "anonymous": held.anonymous, "fds": held.fds,
    }))
}
