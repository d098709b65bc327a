// SPDX-License-Identifier: Apache-2.0
//! The end of a shim: asked, told, forced, and in each case proven. A shim that others use is left to them: only the
//! last of them ends it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use shimkeeper_core::{Exit, HasKind as _, Kind, ProcessKey};
use shimkeeper_proto::containerd::runtime::sandbox::v1::ShutdownSandboxRequest;
use shimkeeper_proto::containerd::task::v3::ShutdownRequest;
use shimkeeper_shim::{Call, Findings, Pidfd, ProcessIdentity};

use crate::error::{Error, Refused, Step};
use crate::group::Leaving;
use crate::limit::Limit;
use crate::machine::{End, Fate, Input, State};
use crate::record::Stage;
use crate::role::Role;
use crate::shim::{Permit, Shim};
use crate::{identify, trace, whereabouts};

/// A deletion, whoever completes it.
pub(crate) const DELETE: Step = Step::Call("Delete");

/// How long a process may take to die once its connection is closed, before it counts as merely out of reach: the
/// kernel closes a dying process's sockets a moment before it is gone.
pub(crate) const DYING: Duration = Duration::from_millis(500);

/// Runs what ends a task or a sandbox on a task of the manager's, and waits for it no longer than the caller may: a
/// caller that goes away leaves nothing half done.
pub(crate) fn done(
    shim: &Shim,
    step: Step,
    limit: Limit,
    ending: impl Future<Output = Result<Exit, Error>> + Send + 'static,
) -> impl Future<Output = Result<Exit, Error>> {
    // Here and not when it is awaited, so that the future is not in that of the caller, too.
    let job = shim.env.scope.spawn(trace::inherited(ending));
    async move {
        match limit.begin().wait_for(job).await {
            Err(late) => Err(Error::new(step, late).of(&shim.key)),
            Ok(Ok(result)) => result,
            Ok(Err(join)) => {
                Err(Error::io(step, "run", shim.bundle.dir(), std::io::Error::other(join)).of(&shim.key))
            }
        }
    }
}

/// Ends the shim: Shutdown, SIGTERM, SIGKILL, each with its time. One that is stuck is not asked.
pub(crate) async fn end_shim(shim: &Shim, is_stuck: bool) -> Input {
    let deadlines = shim.deadlines();
    if shim.leave() == Leaving::Stays || serves_others(shim) {
        // Not even asked: one that has just been joined may have nothing yet to stay for.
        shim.note_shim_agrees();
        close(shim);
        return Input::Died;
    }
    let answered = !is_stuck && ask_to_shut_down(shim).await;
    if !shim.is_ours() {
        // It stays for whoever runs it, and knows that this task is over.
        close(shim);
        return Input::Died;
    }
    if answered && proven_dead(shim, deadlines.shutdown).await {
        shim.note_shim_agrees();
        close(shim);
        return Input::Died;
    }
    close(shim);
    for signal in [Signal::TERM, Signal::KILL] {
        for process in processes(shim).await {
            tracing::warn!(
                namespace = %shim.key.namespace, task = %shim.key.id, shim = process.pid, ?signal,
                "the shim did not shut down: sending a signal"
            );
            if let Ok(Some(pidfd)) = Pidfd::open(&process) {
                // It may end between the look and the signal, which is what is wanted.
                let _ = pidfd.signal(signal);
            }
        }
        if proven_dead(shim, deadlines.signal).await {
            return Input::Died;
        }
    }
    let left = match shim.identity() {
        Some(_) => Ok(Findings::default()),
        None => identify::marked(shim).await,
    };
    shim.set_trouble(match left {
        Ok(left) if left.unknown.is_empty() => {
            "the shim's process does not end, not even by SIGKILL".to_owned()
        }
        Ok(left) => identify::untold(&left.unknown),
        Err(reason) => reason,
    });
    Input::Failed
}

/// Whether the shim took it.
async fn ask_to_shut_down(shim: &Shim) -> bool {
    let Some(connection) = shim.connection() else { return false };
    let call = Call::within(shim.deadlines().shutdown);
    let request = ShutdownRequest { id: shim.key.id.to_string(), now: false };
    let shut_down = async {
        if shim.role == Role::Sandbox {
            let request = ShutdownSandboxRequest { sandbox_id: shim.key.id.to_string() };
            match connection.shutdown_sandbox(&call, &request).await {
                // It has no such service, and was launched in vain.
                Err(error) if error.is_not_implemented() => {}
                answer => return answer.map(drop),
            }
        }
        shim.env.observed(shim.binary.path(), "Shutdown", connection.shutdown(&call, &request)).await
    };
    match shut_down.await {
        Ok(()) => true,
        // It ends so quickly that the answer gets lost.
        Err(error) => error.kind() == Kind::Unavailable,
    }
}

fn close(shim: &Shim) {
    if let Some(connection) = shim.last_connection() {
        connection.close();
    }
}

/// Whether others are known to live on the same shim process, though they do not sit with this one: the shim's address
/// was not found in the bundle of one of them.
fn serves_others(shim: &Shim) -> bool {
    let Some(identity) = shim.identity() else { return false };
    shim.env.all_shims().iter().any(|other| {
        other.incarnation != shim.incarnation
            && !other.is_ending()
            && other.identity().as_ref() == Some(&identity)
    })
}

/// The shim's processes that are alive: the one it named, or else all that carry the mark of its launch.
async fn processes(shim: &Shim) -> Vec<ProcessIdentity> {
    match shim.identity() {
        Some(identity) => {
            vec![identity].into_iter().filter(|identity| !identify::is_gone(identity)).collect()
        }
        None => identify::marked(shim).await.unwrap_or_default().found,
    }
}

/// Whether the shim's process is gone for certain, now or within `patience`.
pub(crate) async fn proven_dead(shim: &Shim, patience: Duration) -> bool {
    if shim.identity().is_none() && shim.record.is_of_another() {
        // It carries no mark, so that none is to be seen says nothing.
        return whereabouts::nothing_is_there(shim).await;
    }
    let processes = match shim.identity() {
        // Whether it lives is seen when it is waited for.
        Some(identity) => vec![identity],
        None => match identify::marked(shim).await {
            Ok(Findings { found, unknown }) if unknown.is_empty() => found,
            // There may be one that is the shim.
            _ => return false,
        },
    };
    let ends = Instant::now() + patience;
    for process in &processes {
        let left = ends.saturating_duration_since(Instant::now());
        if !identify::ends(process, left).await {
            return false;
        }
    }
    true
}

/// Ends what its shim has deleted, or never had: nothing of it runs any more.
pub(crate) async fn settle(shim: &Arc<Shim>, step: Step, permit: Permit) -> Result<Exit, Error> {
    crate::failpoint::hit("D2");
    let noted = shim.persist_and(|record| record.stage = Stage::Deleting);
    if let Err(error) = noted.await {
        // A full disk must not keep anybody from making room.
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, %error,
            "the deletion could not be recorded"
        );
    }
    crate::failpoint::hit("D3");
    outcome(shim, step, permit.settle(Fate::End).await)
}

/// What a deletion, or a shutdown, that has come to an end answers.
pub(crate) fn outcome(shim: &Shim, step: Step, state: State) -> Result<Exit, Error> {
    match state {
        State::Gone(End::Reaped) => {
            // The supervisor records an exit before it ends; what never had a process has none to tell.
            let exit = shim.ledger.exit(&ProcessKey::Init);
            Ok(exit.unwrap_or_else(|| Exit::unknown(0, SystemTime::now())))
        }
        State::Gone(End::Detached) => Err(Error::new(step, Refused::Detaching).of(&shim.key)),
        _ => {
            let reason = shim.vitals.get().reason;
            Err(Error::new(Step::Reap, Refused::Quarantined { reason })
                .of(&shim.key)
                .at_shim(shim.binary.path()))
        }
    }
}
