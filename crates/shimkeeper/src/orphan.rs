// SPDX-License-Identifier: Apache-2.0
//! What a dead shim leaves running. That it ends is decided already: the shim's `delete` action kills it, and takes its
//! time to see it dead. So it is killed here first, and how it ended is recorded and announced before the action runs,
//! which may then take as long as it likes, or hang.
//!
//! Only what is proven to be the container's is killed. Where that cannot be proven, where others have the same init, as
//! in a virtual machine, or where the embedder wants no kill past a shim, everything is left to the action, and the
//! exits are told after it.

use std::sync::Arc;
use std::time::Instant;

use rustix::process::Signal;
use shimkeeper_core::{ExecId, ProcessKey};

use crate::ledger::Ledger;
use crate::machine::State;
use crate::role::Role;
use crate::shim::Shim;
use crate::{bypass, exits, identify, monitor, publish};

/// Ends what a dead shim has left of its task and tells of it, as far as that can be done without the `delete` action.
///
/// # Cancel safety
/// Dropped, it may have killed without telling: whoever reaps tells then.
pub(crate) async fn end(shim: &Arc<Shim>, init_was_alive: bool) {
    let owed = exits::owed(shim);
    if owed.is_empty() || !is_left_alone(shim) {
        return;
    }
    let execs = owed.into_iter().filter_map(|(process, _)| match process {
        ProcessKey::Exec(id) => Some(id),
        ProcessKey::Init => None,
    });
    if !end_init(shim).await || !end_execs(shim, execs.collect()).await {
        return;
    }
    crate::failpoint::hit("D4-killed");
    exits::record_owed(shim, init_was_alive, None);
    monitor::persist(shim).await;
    shim.note_orphans_ended();
    publish::decided(shim, None, Ledger::announce_exits);
    // Notes that it is told; the same as for an exit that a shim told of.
    monitor::watch_once(shim, &ProcessKey::Init);
}

/// Whether the task has nobody left but us: its shim was launched for it and is dead, and no other task has its init.
fn is_left_alone(shim: &Shim) -> bool {
    shim.env.config.bypass_kill
        && shim.role == Role::Task
        && shim.is_ours()
        // One that serves others may live, though it counts as dead for this task.
        && shim.identity().is_some_and(|identity| identify::is_gone(&identity))
        && !is_init_of_others(shim)
}

/// Whether other tasks name the same init. Those that are ending count, too: the death of a shim is that of all of them.
fn is_init_of_others(shim: &Shim) -> bool {
    let Some(init) = shim.init_identity() else { return false };
    shim.env.all_shims().iter().any(|other| {
        other.incarnation != shim.incarnation
            && !matches!(other.state.get(), State::Gone(_))
            && other.init_identity().as_ref() == Some(&init)
    })
}

/// Whether the init is dead for certain, if need be by our own hand.
async fn end_init(shim: &Shim) -> bool {
    let Some(init) = shim.held(&ProcessKey::Init) else {
        // One that ended before anybody could hold it may be on record all the same.
        return shim.record.init().is_some_and(|init| identify::is_gone(&init));
    };
    if identify::has_ended(&init) {
        return true;
    }
    let cgroup = identify::own_group(shim);
    if !bypass::is_proven(shim, cgroup.as_ref(), init.identity()) {
        return false;
    }
    // It may end between the look and the signal, which is what is wanted.
    if !matches!(init.signal(Signal::KILL), Ok(true)) {
        return false;
    }
    shim.note_killed(&ProcessKey::Init);
    if let Some(cgroup) = cgroup {
        // What is frozen does not die in version 1.
        cgroup.thaw();
    }
    identify::seen_to_end(&init, shim.deadlines().signal).await
}

/// Whether these execs are dead for certain, if need be by our own hand. Mostly their init has taken them with it.
async fn end_execs(shim: &Shim, execs: Vec<ExecId>) -> bool {
    let ends = Instant::now() + shim.deadlines().signal;
    let mut is_any_unheld = false;
    for id in execs {
        let process = ProcessKey::Exec(id);
        let Some(held) = shim.held(&process) else {
            is_any_unheld = true;
            continue;
        };
        if identify::has_ended(&held) {
            continue;
        }
        // What is held was started by the shim, or by a child of it.
        if matches!(held.signal(Signal::KILL), Ok(true)) {
            shim.note_killed(&process);
        }
        if !identify::seen_to_end(&held, ends.saturating_duration_since(Instant::now())).await {
            return false;
        }
    }
    if !is_any_unheld {
        return true;
    }
    // Nobody knows which process it is: so there must be none.
    match identify::own_group(shim) {
        Some(cgroup) => bypass::kill_group(shim, &cgroup).await == Ok(0),
        None => false,
    }
}
