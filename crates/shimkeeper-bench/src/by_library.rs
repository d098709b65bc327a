// SPDX-License-Identifier: Apache-2.0
//! Side A: the lifecycle through the library, as an embedder writes it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper::{Config, CreateTask, Manager, RuncOptions, Task, TaskKey};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;

use crate::error::BenchError;
use crate::orphans;
use crate::phase::{Laps, Phase};
use crate::site::{NAMESPACE, Site};

/// The library, opened.
#[derive(Clone, Debug)]
pub(crate) struct Library {
    manager: Manager,
    site: Arc<Site>,
}

impl Library {
    pub(crate) async fn open(site: Arc<Site>) -> Result<Self, BenchError> {
        let config = Config::new(site.dirs.state(), site.dirs.root())
            .always_reap(site.always_reap)
            .overlap_grace_period(site.overlap);
        Ok(Self { manager: Manager::open(config).await?, site })
    }

    /// One lifecycle. What it left is waited for outside of the times.
    pub(crate) async fn lifecycle(&self) -> Result<Laps, BenchError> {
        let (id, spec) = self.site.container();
        let key = TaskKey::parse(NAMESPACE, &id).expect("a letter and a number are an id");
        let request = CreateTask::new(key, spec)
            .runtime(self.site.shim.to_string_lossy())
            .runc(RuncOptions::binary(&self.site.runtime_binary));
        let mut laps = Laps::default();
        let mut lap = Instant::now();
        let task = self.manager.create(request).await?;
        laps.lap(Phase::Create, &mut lap);
        task.start().await?;
        laps.lap(Phase::Start, &mut lap);
        let exit = task.wait().await?;
        laps.lap(Phase::Run, &mut lap);
        let shim = task.shim_pid();
        task.delete().await?;
        laps.lap(Phase::End, &mut lap);
        orphans::collect(shim);
        match exit.status {
            0 => Ok(split_creation(&laps, &task)),
            status => Err(BenchError::Status(status)),
        }
    }

    pub(crate) async fn close(self) {
        self.manager.detach().await;
    }
}

/// What an embedder with little to do has: one thread, and a few more that block.
pub(crate) fn runtime() -> Result<Runtime, BenchError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|e| BenchError::io("start a runtime", e))
}

/// Runs `total` lifecycles on `in_flight` lanes; answers how long each took.
pub(crate) async fn many(library: &Library, in_flight: u32, total: u32) -> Result<Vec<Duration>, BenchError> {
    let tickets = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let lanes = TaskTracker::new();
    let running: Vec<_> = (0..in_flight)
        .map(|_| {
            let (library, tickets) = (library.clone(), tickets.clone());
            lanes.spawn(async move {
                let mut times = Vec::new();
                while tickets.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < total {
                    times.push(library.lifecycle().await?.total());
                }
                Ok::<_, BenchError>(times)
            })
        })
        .collect();
    lanes.close();
    lanes.wait().await;
    let mut times = Vec::new();
    for lane in running {
        times.extend(lane.await.map_err(|_| BenchError::Panicked)??);
    }
    Ok(times)
}

/// Takes the creation apart. What the library does not time itself stays with Create, so that nothing gets lost.
fn split_creation(measured: &Laps, task: &Task) -> Laps {
    let mut laps = Laps::default();
    let mut rest = measured.get(Phase::Create);
    for (phase, took) in task.phases().iter() {
        let ours = match phase {
            shimkeeper::Phase::Bundle => Phase::Bundle,
            shimkeeper::Phase::Launch => Phase::Launch,
            shimkeeper::Phase::Dial => Phase::Dial,
            _ => continue,
        };
        laps.add(ours, took);
        rest = rest.saturating_sub(took);
    }
    laps.add(Phase::Create, rest);
    for phase in [Phase::Start, Phase::Run, Phase::End] {
        laps.add(phase, measured.get(phase));
    }
    laps
}
