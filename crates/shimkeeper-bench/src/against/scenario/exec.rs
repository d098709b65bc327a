// SPDX-License-Identifier: Apache-2.0
//! `exec`: `/bin/true` as an additional process: added, started, ended, removed. Beside it the shim by hand.

use std::time::Instant;

use shimkeeper_proto::containerd::services::tasks::v1::ExecProcessRequest;
use shimkeeper_proto::google::protobuf::Any;

use crate::against::error::AgainstError;
use crate::against::figure::{Figure, Tally, Unit};
use crate::against::floor::{Floor, costing};
use crate::against::program::Pairing;
use crate::against::side::{Side, both, turn};
use crate::args::Comparison;
use crate::site::PROCESS;
use crate::stats::millis;

const BY_HAND: &str = "exec, beside the shim by hand";

/// Our daemon's processor time beside the script's.
const CPU_BY_HAND: &str = "exec: CPU, daemon, beside the script by hand";

const ARGS: [&str; 1] = ["/bin/true"];

pub(crate) async fn run(pairing: &Pairing, options: &Comparison) -> Result<Vec<Figure>, AgainstError> {
    let mut tally = Tally::default();
    let sides = both(pairing, options).await?;
    let mut ids = Vec::new();
    for side in &sides {
        ids.push(side.fill(1).await?);
    }
    let floor = Floor::new(pairing, options)?;
    // Other shims than containerd's may not tell an end to who asks for it after it: the script would wait in vain.
    let mut sleeper = options.shim.is_none().then(|| floor.script.sleeper()).transpose()?;
    for round in 0..options.times(20, 2) {
        for side in turn(round) {
            one(side, &sides[side], &ids[side][0], round, sleeper.is_some(), &mut tally).await?;
        }
        if let Some(sleeper) = &mut sleeper {
            let (took, cost) = costing(|| sleeper.exec(&format!("e{round}")))?;
            tally.note(1, BY_HAND, Unit::Millis, millis(took));
            tally.note(1, CPU_BY_HAND, Unit::Millis, cost);
        }
    }
    if let Some(sleeper) = sleeper {
        sleeper.end()?;
    }
    for (side, ids) in sides.into_iter().zip(ids) {
        side.clear(ids).await?;
        side.close().await?;
    }
    Ok(tally.figures())
}

async fn one(
    index: usize,
    side: &Side,
    id: &str,
    round: u32,
    has_floor: bool,
    tally: &mut Tally,
) -> Result<(), AgainstError> {
    let exec = format!("e{round}");
    let spec = Any { type_url: PROCESS.into(), value: side.maker().process(id, &ARGS) };
    let request = ExecProcessRequest {
        container_id: id.to_owned(),
        exec_id: exec.clone(),
        spec: Some(spec),
        ..ExecProcessRequest::default()
    };
    let (before, began) = (side.used()?, Instant::now());
    side.client.exec(request).await?;
    let (started, status) = tokio::join!(side.client.start(id, &exec), side.client.wait(id, &exec));
    let status = started.and(status)?;
    side.client.delete_process(id, &exec).await?;
    let took = millis(began.elapsed());
    side.quiet(1).await?;
    let used = side.used()?.since(before);
    if status != 0 {
        return Err(AgainstError::Unexpected(format!("/bin/true ended with {status}")));
    }
    tally.note(index, "exec", Unit::Millis, took);
    tally.note(index, "exec: CPU, daemon", Unit::Millis, used.daemon);
    tally.note(index, "exec: CPU, all", Unit::Millis, used.all);
    if index == 0 && has_floor {
        tally.note(0, BY_HAND, Unit::Millis, took);
        tally.note(0, CPU_BY_HAND, Unit::Millis, used.daemon);
    }
    Ok(())
}
