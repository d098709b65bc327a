// SPDX-License-Identifier: Apache-2.0
//! Reaching the shim of a bundle that was found, and finding out who it is; or the proof that there is none.

use std::sync::Arc;

use shimkeeper_core::TaskKey;
use shimkeeper_proto::containerd::task::v3::StateResponse;
use shimkeeper_shim::{BootstrapParams, CallError, Connection, listening_socket};

use super::bundle::Remains;
use crate::dialing::{self, Answer, Whom};
use crate::env::Env;
use crate::group::Seat;
use crate::identify::{self, Who};
use crate::record::Record;
use crate::role::Role;
use crate::whereabouts;

/// What came of trying to reach a shim.
pub(super) enum Reached {
    /// It answers.
    Answered {
        connection: Connection,
        who: Who,
        /// Whether it is the bundle's own for certain, and not just somebody at its address.
        is_its_own: bool,
        /// Where it was reached.
        params: BootstrapParams,
        /// The seat at that place, if it is another than the one given.
        seat: Option<Seat>,
        /// What it told of its task's init.
        told: Option<Box<Result<StateResponse, CallError>>>,
    },
    /// It does not, for this reason, and may live.
    Silent(String),
    /// It is proven dead.
    Dead,
}

/// Tries to reach the shim of a bundle.
pub(super) async fn reach(
    env: &Arc<Env>,
    role: Role,
    key: &TaskKey,
    seat: Option<&Seat>,
    remains: &Remains,
) -> Reached {
    if remains.is_proven_dead() {
        return Reached::Dead;
    }
    // Of those that carry a mark, any may have been told to answer by another.
    let any_may_answer =
        remains.record.as_ref().is_some_and(|record| record.shim.is_none() && !record.taken_over);
    let known = if any_may_answer { &[][..] } else { remains.found() };
    let whom = Whom { role, key, binary: &remains.binary, seat, known };
    let deadlines = env.timing_of(&remains.binary).now();
    let mut reached = dialing::reach(env, whom, &deadlines, remains.places.clone()).await;
    if let Err(silence) = &mut reached
        && !remains.are_all_places
    {
        match dialing::reach(env, whom, &deadlines, other_places(env, remains).await).await {
            Ok(answer) => reached = Ok(answer),
            Err(later) => silence.nobody_listens &= later.nobody_listens,
        }
    }
    match reached {
        Ok(Answer { connection, shim_pid, params, seat, told }) => {
            let who = who(remains, shim_pid, &params);
            let is_its_own = any_may_answer
                || matches!(&who, Who::Ours(it) | Who::Foreign(it) if remains.found().contains(it));
            Reached::Answered { connection, who, is_its_own, params, seat, told }
        }
        Err(silence) if silence.nobody_listens && !remains.has_processes() => Reached::Dead,
        Err(silence) => Reached::Silent(silence.reason),
    }
}

/// Where else to dial.
async fn other_places(env: &Arc<Env>, remains: &Remains) -> Vec<BootstrapParams> {
    let recorded = remains.record.as_ref().and_then(|record| record.bootstrap.clone());
    let (bundle, shims, told) = (remains.bundle.clone(), remains.found().to_vec(), remains.places.clone());
    let own = env.clone();
    let look = move || whereabouts::seen(&own, &bundle, recorded.as_ref(), &shims, &told);
    env.scope.spawn_blocking(look).await.unwrap_or_default()
}

/// Who answers. What it says of itself counts if it is on record, or if the kernel shows the same: that it was started
/// as the shim of this bundle, or that it is who listens there.
fn who(remains: &Remains, claimed_pid: u32, params: &BootstrapParams) -> Who {
    if let Some(Record { shim: Some(known), shim_is_foreign, .. }) = remains.record {
        return if shim_is_foreign { Who::Foreign(known) } else { Who::Ours(known) };
    }
    let Some(claimed) = identify::of(claimed_pid) else {
        return remains.only_shim().map_or(Who::Marked, Who::Ours);
    };
    let listens_there = || listening_socket(claimed.pid).as_deref() == params.address.path();
    match &remains.record {
        _ if remains.found().contains(&claimed) => Who::Ours(claimed),
        // It does not carry the mark, or nobody can tell.
        Some(record) if record.knows_its_shim() => Who::Marked,
        Some(_) | None if listens_there() => Who::Ours(claimed),
        Some(_) | None => Who::Foreign(claimed),
    }
}
