// SPDX-License-Identifier: Apache-2.0
//! The command `soak`: many lifecycles in one process. None may fail; afterwards the process has as many
//! descriptors as before, and no more memory than an allocator's play.

use std::sync::Arc;
use std::time::Instant;

use crate::args;
use crate::by_library::{Library, many, runtime};
use crate::error::BenchError;
use crate::measure::{Cpu, Holdings};
use crate::orphans;
use crate::report::say;
use crate::site::Site;
use crate::stats::{Row, millis};

/// Lifecycles before the first count: thread pools and allocators take what they take once.
const WARM_UP: u32 = 20;

pub(crate) fn run(options: &args::Soak) -> Result<(), BenchError> {
    orphans::adopt()?;
    let site = Arc::new(Site::new(&options.target)?);
    let runtime = runtime()?;
    let result = runtime.block_on(soak(&site, options));
    if result.is_err() {
        let _ = site.dirs.sweep();
    }
    result
}

async fn soak(site: &Arc<Site>, options: &args::Soak) -> Result<(), BenchError> {
    let library = Library::open(site.clone()).await?;
    many(&library, 1, WARM_UP).await?;
    let before = Holdings::now()?;
    round(&library, 1, options.sequential, before).await?;
    let after = Holdings::now()?;
    let growth = after.rss.saturating_sub(before.rss);
    if growth > options.growth {
        return Err(BenchError::Kept(format!(
            "memory grew by {growth} KiB over {} lifecycles",
            options.sequential
        )));
    }
    if options.concurrent > 0 {
        round(&library, options.concurrent, options.concurrent, before).await?;
    }
    library.close().await;
    Ok(())
}

/// `total` lifecycles on so many lanes, and then as many descriptors as in `before`.
async fn round(library: &Library, lanes: u32, total: u32, before: Holdings) -> Result<(), BenchError> {
    let (began, cpu) = (Instant::now(), Cpu::now());
    let times = many(library, lanes, total).await?;
    let (took, cpu) = (began.elapsed(), Cpu::now().since(cpu));
    let (row, after) = (Row::new(times), Holdings::now()?);
    say(&format!(
        "{total} lifecycles, {lanes} at once: no failure; {:.1} s, median {:.1} ms, worst {:.1} ms; own CPU {:.2} ms each; \
         RSS {} -> {} KiB, anonymous {} -> {} KiB, descriptors {} -> {}",
        took.as_secs_f64(),
        row.median(),
        row.max(),
        millis(cpu.own) / f64::from(total),
        before.rss,
        after.rss,
        before.anonymous,
        after.anonymous,
        before.fds,
        after.fds,
    ))?;
    if after.fds == before.fds {
        return Ok(());
    }
    Err(BenchError::Kept(format!("descriptors went from {} to {}", before.fds, after.fds)))
}
