// SPDX-License-Identifier: Apache-2.0
//! Clearing up after a dead shim: its `delete` action, the proof that nothing of the task runs, the exits nobody
//! has reported, and the bundle. An exit is announced only once its process is dead.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, ProcessKey, Provenance};
use shimkeeper_shim::{Address, BootstrapParams, Bundle, Pidfd, ProcessExit, ProcessIdentity, ReapAnswer};

use crate::identify;
use crate::machine::Input;
use crate::scope::Scope;
use crate::shim::Shim;

/// Waits before each try of the `delete` action.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];

/// SIGKILL, as shims put it into an exit status.
const KILLED: u32 = 128 + 9;

/// Runs the `delete` action where something may be left, proves that nothing runs, and records every exit.
pub(crate) async fn reap(shim: &Shim) -> Input {
    let init_was_alive = shim.init_identity().is_some_and(|init| !identify::is_gone(&init));
    let parting = shim.parting();
    let is_clean = parting.task_deleted && parting.left_by_itself && !shim.env.config.always_reap;
    let answer = if is_clean {
        None
    } else {
        match run_delete(shim).await {
            Ok(answer) => Some(answer),
            // Where no container was made, shims fail to delete one (1.7 does), and there is nothing to delete.
            Err(_) if !has_container(shim) => None,
            Err(reason) => {
                shim.set_trouble(format!("the shim is dead and its delete action failed: {reason}"));
                return Input::Failed;
            }
        }
    };
    if !init_is_dead(shim).await {
        shim.set_trouble("the container's init does not end, not even by SIGKILL");
        return Input::Failed;
    }
    record_exits(shim, init_was_alive, answer.as_ref());
    if let Err(error) = shim.persist().await {
        // The events go out all the same: late is better than never, and a full disk must not stop a deletion.
        tracing::warn!(task = %shim.key, %error, "exits could not be recorded");
    }
    Input::Reaped
}

async fn run_delete(shim: &Shim) -> Result<ReapAnswer, String> {
    let context = shim.env.launch_context(&shim.key, shim.incarnation);
    let mut last = String::new();
    for wait in TRIES {
        tokio::time::sleep(wait).await;
        let _turn = shim.env.reaps.acquire().await;
        match shim.binary.delete(&context, &shim.bundle, shim.env.config.deadlines.reap).await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tracing::warn!(task = %shim.key, %error, "the shim's delete action failed");
                last = error.to_string();
            }
        }
    }
    Err(last)
}

/// Whether a container was made, as far as the shim or its runtime ever said.
fn has_container(shim: &Shim) -> bool {
    shim.ledger.pid() != 0 || !matches!(shim.bundle.read_file("init.pid"), Ok(None))
}

/// Whether init is dead, if need be by our own hand.
async fn init_is_dead(shim: &Shim) -> bool {
    let patience = shim.env.config.deadlines.signal;
    let Some(identity) = shim.init_identity() else { return true };
    if identify::is_gone(&identity) || is_shared(shim, &identity) {
        return true;
    }
    tracing::warn!(task = %shim.key, init = identity.pid, "init outlived its shim's delete action: killing it");
    identify::kill(&identity, patience).await
}

/// Whether other tasks name the same process as theirs: the sandbox or the virtual machine that they run in.
fn is_shared(shim: &Shim, init: &ProcessIdentity) -> bool {
    let others = shim.env.registry.shims();
    others.iter().any(|other| {
        other.incarnation != shim.incarnation
            && !other.is_ending()
            && other.init_identity().as_ref() == Some(init)
    })
}

/// Gives every process that started and has no exit one, from the best source there is.
fn record_exits(shim: &Shim, init_was_alive: bool, answer: Option<&ReapAnswer>) {
    let at = answer.and_then(|answer| answer.at).unwrap_or_else(SystemTime::now);
    let mut owed = shim.ledger.running();
    if shim.ledger.exit(&ProcessKey::Init).is_none() && !owed.iter().any(|(key, _)| *key == ProcessKey::Init)
    {
        owed.push((ProcessKey::Init, shim.ledger.pid()));
    }
    for (process, pid) in owed {
        let from_kernel = match &process {
            ProcessKey::Init => shim.with_init(status_from_kernel).flatten(),
            ProcessKey::Exec(id) => shim.with_exec(id, status_from_kernel).flatten(),
        };
        let exit = match from_kernel {
            Some(status) => Exit { pid, status, at, provenance: Provenance::Recovered },
            // It lived until the runtime was told to kill it.
            None if init_was_alive => Exit { pid, status: KILLED, at, provenance: Provenance::Inferred },
            None => Exit::unknown(pid, at),
        };
        shim.ledger.record_exit(&process, exit);
    }
}

/// The wait status the kernel keeps for whoever holds a pidfd, as shims spell it.
pub(crate) fn status_from_kernel(pidfd: &Pidfd) -> Option<u32> {
    pidfd.exit_status().ok().flatten().map(ProcessExit::status)
}

/// Takes the bundle from the disk.
pub(crate) async fn remove_bundle(shim: &Shim) -> Input {
    shim.close_all_plumbing();
    match remove(&shim.env.scope, &shim.bundle, Vec::new()).await {
        Ok(()) => Input::Removed,
        Err(reason) => {
            tracing::warn!(task = %shim.key, %reason, "the bundle cannot be removed yet");
            shim.set_trouble(reason);
            Input::Failed
        }
    }
}

/// Removes a bundle, and the socket file that a killed shim left: the one the bundle names, and
/// `sockets`.
pub(crate) async fn remove(scope: &Scope, bundle: &Bundle, sockets: Vec<PathBuf>) -> Result<(), String> {
    let bundle = bundle.clone();
    let removed = scope.spawn_blocking(move || {
        let written = BootstrapParams::read(&bundle).ok().map(|params| params.address);
        let written = written.as_ref().and_then(Address::path).map(Path::to_owned);
        for socket in written.into_iter().chain(sockets) {
            unlink_if_dead(&socket);
        }
        // Last: without it nobody would know where the sockets were.
        bundle.remove()
    });
    match removed.await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(join) => Err(join.to_string()),
    }
}

/// Removes a socket file that nobody listens on. A shim that shuts down removes its own; a killed one cannot.
fn unlink_if_dead(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = || {
        std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refused() {
        let _ = std::fs::remove_file(path);
    }
}
