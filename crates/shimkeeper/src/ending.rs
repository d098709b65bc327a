// SPDX-License-Identifier: Apache-2.0
//! The end of a shim: asked, told, forced, and in each case proven.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use shimkeeper_core::{HasKind as _, Kind};
use shimkeeper_proto::containerd::task::v3::ShutdownRequest;
use shimkeeper_shim::{Call, Pidfd, ProcessIdentity};

use crate::identify;
use crate::machine::Input;
use crate::shim::Shim;

/// How long a process may take to die once its connection is closed, before it counts as merely out of reach: the
/// kernel closes a dying process's sockets a moment before it is gone.
pub(crate) const DYING: Duration = Duration::from_millis(500);

/// Ends the shim: Shutdown, SIGTERM, SIGKILL, each with its time.
pub(crate) async fn end_shim(shim: &Shim) -> Input {
    let deadlines = &shim.env.config.deadlines;
    let answered = ask_to_shut_down(shim).await;
    if serves_others(shim) || !shim.is_ours() {
        // It stays for them, or for whoever runs it, and knows that this task is over.
        close(shim);
        return Input::Died;
    }
    if answered && proven_dead(shim, deadlines.shutdown).await {
        shim.note_left_by_itself();
        close(shim);
        return Input::Died;
    }
    close(shim);
    for signal in [Signal::TERM, Signal::KILL] {
        for process in processes(shim).await {
            tracing::warn!(task = %shim.key, shim = process.pid, ?signal, "the shim did not shut down: sending a signal");
            if let Ok(Some(pidfd)) = Pidfd::open(&process) {
                // It may end between the look and the signal, which is what is wanted.
                let _ = pidfd.signal(signal);
            }
        }
        if proven_dead(shim, deadlines.signal).await {
            return Input::Died;
        }
    }
    shim.set_trouble("the shim's process does not end, not even by SIGKILL");
    Input::Failed
}

/// Whether the shim took it.
async fn ask_to_shut_down(shim: &Shim) -> bool {
    let Some(connection) = shim.connection() else { return false };
    let call = Call::within(shim.env.config.deadlines.shutdown);
    let request = ShutdownRequest { id: shim.key.id.to_string(), now: false };
    match connection.shutdown(&call, &request).await {
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

/// Whether other tasks live on the same shim process.
fn serves_others(shim: &Shim) -> bool {
    let Some(identity) = shim.identity() else { return false };
    shim.env.registry.shims().iter().any(|other| {
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
        None => identify::marked(shim.incarnation).await,
    }
}

/// Whether the shim's process is gone for certain, now or within `patience`.
pub(crate) async fn proven_dead(shim: &Shim, patience: Duration) -> bool {
    let alive = processes(shim).await;
    let ends = Instant::now() + patience;
    for process in &alive {
        let left = ends.saturating_duration_since(Instant::now());
        let gone = match Pidfd::open(process) {
            Ok(Some(pidfd)) => identify::seen_to_end(&pidfd, left).await,
            Ok(None) => true,
            // No descriptor to be had proves nothing.
            Err(_) => false,
        };
        if !gone {
            return false;
        }
    }
    true
}
