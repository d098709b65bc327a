// SPDX-License-Identifier: Apache-2.0
//! Who a process is, for certain: its pid together with the time it started and the boot it started in.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use shimkeeper_core::chain;
use shimkeeper_shim::{
    Cgroup, Findings, IdentityError, Launch, Pidfd, ProcessIdentity, elsewhere_or_here, find_by_mark,
    listening_socket,
};

use crate::env::Env;
use crate::shim::Shim;

/// How often the processes of a launch are looked for, each time after killing those found.
const ROUNDS: usize = 8;

/// How many processes that stand still are named.
const SHOWN: usize = 4;

/// More than it takes from the end of a process's old program to the begin of its new one.
const EXECUTING: Duration = Duration::from_millis(5);

/// Who a new shim's process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// One that was launched here, for this task or for another one that it serves as well.
    Ours(ProcessIdentity),
    /// One that was not, by all that is known: a service that somebody else runs, or somebody the shim points at. It
    /// is never sent a signal.
    Foreign(ProcessIdentity),
    /// All that carry the mark of the launch.
    Marked,
}

/// Who a new shim's process is. What it says of itself counts only if that process was launched here: a pid is easily
/// said, and whoever has it may be sent SIGKILL one day.
pub(crate) async fn shim(shim: &Shim, claimed_pid: u32) -> Who {
    let claimed = of(claimed_pid);
    if let Some(identity) = claimed
        && (shim.record.launch().has(&identity, &shim.bundle.dir())
            || serves_another_task(shim, &identity)
            || shim.seat().is_some_and(|seat| seat.is_shim(&identity)))
    {
        return Who::Ours(identity);
    }
    let marked = marked(shim).await.unwrap_or_else(|reason| {
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, reason,
            "whether it was this process that was launched cannot be told"
        );
        Findings::default()
    });
    match (marked.found.as_slice(), claimed) {
        (found, Some(identity)) if found.contains(&identity) => Who::Ours(identity),
        ([only], _) if marked.unknown.is_empty() => Who::Ours(*only),
        // Also where nobody can tell: it is not harmed, and its end is still seen.
        ([], Some(identity)) => Who::Foreign(identity),
        // Several, or there may be: all of them have to go before the shim counts as gone.
        _ => Who::Marked,
    }
}

/// The processes of a shim's launch.
///
/// # Errors
/// Why it cannot be found out which there are.
pub(crate) async fn marked(shim: &Shim) -> Result<Findings, String> {
    let (launch, others) = (*shim.record.launch(), shim.env.own_shims());
    seen(move || find_by_mark(&launch, &others)).await
}

/// Looks at every process of the machine: off the async threads.
///
/// # Errors
/// That it cannot be known what is left of a launch, since these cannot be seen.
async fn seen<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
) -> Result<T, String> {
    let seen = elsewhere_or_here(look).await.map_err(|join| join.to_string())?;
    seen.map_err(|error| {
        format!(
            "what was launched may be left: the processes of the machine cannot be told: {}",
            chain(&error)
        )
    })
}

/// That it cannot be known whether anything of a launch is left, because of these processes.
pub(crate) fn untold(unknown: &[ProcessIdentity]) -> String {
    let pids: Vec<_> = unknown.iter().take(SHOWN).map(|process| process.pid.to_string()).collect();
    let more = unknown.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(
        "what was launched may be left: the memory of process {}{more} cannot be read, and it may be of the launch; \
         this is looked at again when it has ended",
        pids.join(", ")
    )
}

fn serves_another_task(shim: &Shim, identity: &ProcessIdentity) -> bool {
    let others = shim.env.all_shims();
    others.iter().any(|other| other.is_ours() && other.identity().as_ref() == Some(identity))
}

/// A hold on the init of a shim's container, as [`hold`]; only on a process that the shim, or one of its children, has
/// started. The init is killed when everything else has failed, so it must be nobody else.
pub(crate) fn hold_init(shim: &Shim, pid: u32) -> Option<Pidfd> {
    let shim_process = shim.identity().filter(|_| shim.is_ours())?;
    let (init, parent) = hold(pid)?;
    if *init.identity() != shim_process && !matches!(shim_process.is_at_or_above(parent), Ok(true)) {
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, pid,
            "the init that the shim names is no child of it: going without"
        );
        return None;
    }
    Some(init)
}

/// A hold on an exec, as [`hold`]; only on a process that the shim, or one of its children, has started. How it ends is
/// told as the exec's end, and it may be killed, so it must be nobody else; nor the shim, by whose pid some shims call
/// what runs in a virtual machine.
pub(crate) fn hold_exec(shim: &Shim, pid: u32) -> Option<Pidfd> {
    let shim = shim.identity()?;
    let (exec, parent) = hold(pid)?;
    let is_its_own = *exec.identity() != shim && matches!(shim.is_at_or_above(parent), Ok(true));
    is_its_own.then_some(exec)
}

/// Whether other tasks name the same process as their init: the sandbox or the virtual machine that they run in.
pub(crate) fn is_shared(shim: &Shim, init: &ProcessIdentity) -> bool {
    let others = shim.env.all_shims();
    others.iter().any(|other| {
        other.incarnation != shim.incarnation
            && !other.is_ending()
            && other.init_identity().as_ref() == Some(init)
    })
}

/// The container's control group, if no other task has a part in it.
pub(crate) fn own_group(shim: &Shim) -> Option<Cgroup> {
    let cgroup = shim.cgroup()?;
    let others = shim.env.all_shims();
    let is_shared = others.iter().any(|other| {
        other.incarnation != shim.incarnation
            && !other.is_ending()
            && other.cgroup().is_some_and(|other| other.overlaps(&cgroup))
    });
    (!is_shared).then_some(cgroup)
}

/// The identity of the process that has this pid now.
pub(crate) fn of(pid: u32) -> Option<ProcessIdentity> {
    if pid == 0 {
        return None;
    }
    ProcessIdentity::of(pid).ok().flatten()
}

/// A hold on the process that has this pid now: proof of its death, and its status after; and who is its parent. `None`
/// where it has died already, or where no descriptor is to be had; then both are learned from others or not at all.
fn hold(pid: u32) -> Option<(Pidfd, u32)> {
    Pidfd::of(pid).ok().flatten()
}

/// Whether the process is gone for certain. Where that cannot be found out, it may live.
pub(crate) fn is_gone(identity: &ProcessIdentity) -> bool {
    matches!(identity.is_alive(), Ok(false))
}

/// The same of one that is held, which is found out sooner.
pub(crate) fn has_ended(process: &Pidfd) -> bool {
    matches!(process.has_ended(), Ok(true))
}

/// Whether the process is seen to end within `patience`.
pub(crate) async fn seen_to_end(process: &Pidfd, patience: Duration) -> bool {
    matches!(tokio::time::timeout(patience, process.exited()).await, Ok(Ok(())))
}

/// Whether the process is gone for certain, now or within `patience`.
pub(crate) async fn ends(process: &ProcessIdentity, patience: Duration) -> bool {
    match Pidfd::open(process) {
        Ok(Some(pidfd)) => seen_to_end(&pidfd, patience).await,
        Ok(None) => true,
        // That no descriptor is to be had proves nothing.
        Err(_) => is_gone(process),
    }
}

/// Sends SIGKILL to exactly this process, and says whether it was seen to end.
pub(crate) async fn kill(process: &ProcessIdentity, patience: Duration) -> bool {
    match Pidfd::open(process) {
        Ok(Some(pidfd)) => {
            // One that cannot be signalled is not seen to end.
            let _ = pidfd.signal(Signal::KILL);
            seen_to_end(&pidfd, patience).await
        }
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Kills every process of a launch, and answers the sockets they listened on: a killed process leaves its files.
///
/// # Errors
/// Why something of it may be left.
pub(crate) async fn kill_marked(
    env: &Env,
    launch: &Launch,
    patience: Duration,
) -> Result<Vec<PathBuf>, String> {
    let mut sockets = Vec::new();
    let mut seen_none = false;
    // A process that was forking while it was killed leaves a child for the next round.
    for _ in 0..ROUNDS {
        let (launch, others) = (*launch, env.own_shims());
        let looking = seen(move || {
            let marked = find_by_mark(&launch, &others)?;
            let sockets: Vec<_> = marked.found.iter().filter_map(|p| listening_socket(p.pid)).collect();
            Ok((marked, sockets))
        });
        let (marked, listened) = looking.await?;
        if marked.found.is_empty() {
            if seen_none {
                return if marked.unknown.is_empty() { Ok(sockets) } else { Err(untold(&marked.unknown)) };
            }
            // While a process executes its program it has no environment to be seen; so it is looked for twice.
            seen_none = true;
            tokio::time::sleep(EXECUTING).await;
            continue;
        }
        seen_none = false;
        sockets.extend(listened);
        for process in &marked.found {
            kill(process, patience).await;
        }
    }
    Err("what was launched does not end, not even by SIGKILL".to_owned())
}
