// SPDX-License-Identifier: Apache-2.0
//! A hundred containers at once: created, started, waited for and deleted, and what that took.
//!
//! ```text
//! cargo run --example many -- /path/to/rootfs [HOW MANY]
//! ```
//! Needs root, runc and its shim; any directory with a busybox in it will do for the root file system.

#![expect(clippy::print_stdout, reason = "an example reports to whoever runs it")]

use std::time::{Duration, Instant};

use shimkeeper::oci::ContainerSpec;
use shimkeeper::{Config, CreateTask, Error, Manager, TaskKey};
use tokio::task::JoinSet;

type AnyError = Box<dyn std::error::Error>;

const USAGE: &str = "usage: many ROOTFS [HOW MANY]";

const STEPS: [&str; 4] = ["create", "start", "wait", "delete"];

/// How long each step of one life took.
type Life = [Duration; STEPS.len()];

#[tokio::main]
async fn main() -> Result<(), AnyError> {
    let mut args = std::env::args().skip(1);
    let rootfs = std::path::absolute(args.next().ok_or(USAGE)?)?;
    let count: usize = args.next().map_or(Ok(100), |n| n.parse()).map_err(|_| USAGE)?;
    let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir()?;
    let manager = Manager::open(Config::new(dir.path().join("state"), dir.path().join("root"))).await?;

    // One description serves all of them, since it names no container.
    let spec = bytes::Bytes::from(ContainerSpec::new(rootfs, ["/bin/true"]).to_json()?);
    let began = Instant::now();
    let mut running = JoinSet::new();
    for n in 0..count {
        let key = TaskKey::parse("example", &format!("many-{n}"))?;
        running.spawn(live(manager.clone(), CreateTask::new(key, spec.clone())));
    }
    let (mut lives, mut failed) = (Vec::new(), 0);
    while let Some(life) = running.join_next().await {
        match life? {
            Ok(life) => lives.push(life),
            Err(error) => {
                failed += 1;
                println!("failed: {error}");
                if let Some(hint) = error.hint() {
                    println!("        {hint}");
                }
            }
        }
    }
    report(&lives, began.elapsed());
    manager.detach().await;
    if failed > 0 { Err(format!("{failed} of {count} failed").into()) } else { Ok(()) }
}

/// From create to delete.
async fn live(manager: Manager, request: CreateTask) -> Result<Life, Error> {
    let mut lap = Instant::now();
    let mut took = || std::mem::replace(&mut lap, Instant::now()).elapsed();
    let task = manager.create(request).await?;
    let create = took();
    task.start().await?;
    let start = took();
    task.wait().await?;
    let wait = took();
    task.delete().await?;
    Ok([create, start, wait, took()])
}

fn report(lives: &[Life], total: Duration) {
    println!("{} containers in {total:.2?}", lives.len());
    println!("{:8} {:>10} {:>10} {:>10}", "", "half", "9 of 10", "all");
    for (step, name) in STEPS.iter().enumerate() {
        let mut times: Vec<_> = lives.iter().map(|life| life[step]).collect();
        times.sort_unstable();
        // The time within which so many tenths were done.
        let within = |tenths: usize| match times.len() {
            0 => Duration::ZERO,
            count => times[(count * tenths).div_ceil(10) - 1],
        };
        println!("{name:8} {:>10.1?} {:>10.1?} {:>10.1?}", within(5), within(9), within(10));
    }
}
