// SPDX-License-Identifier: Apache-2.0
//! The floor: both sides in turns, A B B A …, so that a slow minute of the machine meets both.

use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::args;
use crate::by_hand::ByHand;
use crate::by_library::{Library, many, runtime};
use crate::error::BenchError;
use crate::measure::{Cpu, Holdings};
use crate::phase::Laps;
use crate::report::{Comparison, Side, Throughput, say};
use crate::site::Site;
use crate::{bare, orphans, report};

pub(crate) fn run(options: &args::Floor) -> Result<(), BenchError> {
    orphans::adopt()?;
    let site = Arc::new(Site::new(&options.target)?);
    let result = on_site(&site, options);
    if result.is_err() {
        // What failed has left things behind; the error is the news, not those.
        let _ = site.dirs.sweep();
    }
    result
}

fn on_site(site: &Arc<Site>, options: &args::Floor) -> Result<(), BenchError> {
    let runtime = runtime()?;
    let library = runtime.block_on(Library::open(site.clone()))?;
    let by_hand = ByHand::new(site.clone())?;
    let comparison = compare(site, &runtime, &library, &by_hand, options)?;
    say(&report::comparison(site, &comparison))?;
    let mut throughputs = Vec::new();
    for in_flight in &options.in_flight {
        let throughput = throughput(&runtime, &library, *in_flight, options.n)?;
        say(&report::throughput(&throughput))?;
        throughputs.push(throughput);
    }
    if let Some(file) = &options.json {
        let text = report::json(site, &comparison, &throughputs).to_string();
        std::fs::write(file, text).map_err(|e| BenchError::io("write the figures", e))?;
    }
    runtime.block_on(library.close());
    Ok(())
}

fn compare(
    site: &Site,
    runtime: &Runtime,
    library: &Library,
    by_hand: &ByHand,
    options: &args::Floor,
) -> Result<Comparison, BenchError> {
    let one = || runtime.block_on(library.lifecycle());
    let other = || by_hand.lifecycle();
    for _ in 0..options.warm_up {
        one()?;
        other()?;
    }
    let before = Holdings::now()?;
    let (mut a, mut b, mut bare) = (Side::default(), Side::default(), Vec::new());
    for round in 0..options.n {
        if round % 2 == 0 {
            measured(&mut a, one)?;
            measured(&mut b, other)?;
        } else {
            measured(&mut b, other)?;
            measured(&mut a, one)?;
        }
        bare.push(bare::lifecycle(site)?);
    }
    Ok(Comparison { library: a, by_hand: b, bare, before, after: Holdings::now()? })
}

fn measured(side: &mut Side, lifecycle: impl FnOnce() -> Result<Laps, BenchError>) -> Result<(), BenchError> {
    let before = Cpu::now();
    let laps = lifecycle()?;
    side.cpu = side.cpu.plus(Cpu::now().since(before));
    side.laps.push(laps);
    Ok(())
}

/// `n` lifecycles for each that may be under way, at most `in_flight` at once.
fn throughput(
    runtime: &Runtime,
    library: &Library,
    in_flight: u32,
    n: u32,
) -> Result<Throughput, BenchError> {
    let total = n.max(in_flight);
    let (before, began) = (Cpu::now(), Instant::now());
    let times = runtime.block_on(many(library, in_flight, total))?;
    let cpu = Cpu::now().since(before);
    Ok(Throughput { in_flight, times, took: began.elapsed(), cpu })
}
