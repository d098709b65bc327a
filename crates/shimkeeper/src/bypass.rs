// SPDX-License-Identifier: Apache-2.0
//! The way past a shim that does not do a kill -9: the kernel is asked instead, for processes that are proven to be
//! the container's.
//!
//! Proven is what is in the container's own control group, what the shim or a child of it has started, and the init on
//! record. A pid that a shim merely named is nobody's to kill.

use std::time::Duration;

use rustix::process::Signal;
use shimkeeper_core::{HasKind as _, Kind, ProcessKey};
use shimkeeper_shim::{Cause as CallCause, Cgroup, ProcessIdentity};

use crate::error::{Cause, Error, Refused};
use crate::identify;
use crate::shim::Shim;

/// How often what is in a control group is killed: what forks meanwhile is seen in the next round.
const ROUNDS: usize = 16;

/// Wait between two rounds: more than a process takes to die of SIGKILL, mostly.
const DYING: Duration = Duration::from_millis(5);

/// Whether a kill -9 failed and nobody refused it: the shim said nothing, so that nobody knows whether it has acted, or
/// will; or the runtime that it called could not do it, for want of its files or of the container's control groups.
pub(crate) fn is_in_order(error: &Error) -> bool {
    match error.cause() {
        Cause::Call(call) => match call.cause() {
            CallCause::Deadline(_)
            | CallCause::Closed(_)
            | CallCause::Busy { .. }
            | CallCause::Transport { .. } => true,
            // What a runtime fails with has no code of its own.
            CallCause::Shim { .. } => call.kind() == Kind::Unknown,
            _ => false,
        },
        Cause::Refused(refused) => matches!(
            refused,
            Refused::Stuck { .. }
                | Refused::Unreachable { .. }
                | Refused::Quarantined { .. }
                | Refused::BundleRemoved
        ),
        _ => false,
    }
}

/// Sends SIGKILL to the process itself, or with `all` to everything in its container. `false` if there is nobody who
/// is proven to be meant.
///
/// # Cancel safety
/// Dropping it may leave some of them alive.
pub(crate) async fn kill(shim: &Shim, process: &ProcessKey, all: bool) -> bool {
    let cgroup = identify::own_group(shim);
    let mut killed = false;
    let mut targets = vec![process.clone()];
    if all {
        targets.extend(shim.ledger.execs().into_iter().map(ProcessKey::Exec));
        if let Some(cgroup) = &cgroup {
            killed = kill_group(shim, cgroup).await == Ok(0);
        }
    }
    for target in targets {
        let Some(held) = shim.held(&target) else { continue };
        if is_proven(shim, cgroup.as_ref(), held.identity()) && held.signal(Signal::KILL).is_ok() {
            shim.note_killed(&target);
            killed |= target == *process;
        }
    }
    if let Some(cgroup) = cgroup.filter(|_| killed) {
        // What is frozen does not die in version 1.
        cgroup.thaw();
    }
    killed
}

/// Kills what is in the group until nobody is left alive, or nothing helps; answers how many there still are.
pub(crate) async fn kill_group(shim: &Shim, cgroup: &Cgroup) -> Result<usize, String> {
    let mut left = 0;
    for _ in 0..ROUNDS {
        let cgroup = cgroup.clone();
        left = match shim.env.scope.spawn_blocking(move || cgroup.kill()).await {
            Ok(Ok(0)) => return Ok(0),
            Ok(Ok(left)) => left,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(join) => return Err(join.to_string()),
        };
        tokio::time::sleep(DYING).await;
    }
    Ok(left)
}

/// Whether the process is the container's for certain.
pub(crate) fn is_proven(shim: &Shim, cgroup: Option<&Cgroup>, process: &ProcessIdentity) -> bool {
    // Where containers run in a virtual machine, what stands for their init may be its monitor, or the shim.
    if shim.identity().as_ref() == Some(process) || identify::is_shared(shim, process) {
        return false;
    }
    shim.record.init().as_ref() == Some(process)
        || cgroup.is_some_and(|cgroup| cgroup.contains(process))
        || shim
            .identity()
            .is_some_and(|parent| shim.is_ours() && matches!(process.descends_from(&parent), Ok(true)))
}
