// SPDX-License-Identifier: Apache-2.0
//! Clearing up after a dead shim: the end of what it left running, its `delete` action, the proof that nothing of the
//! task runs, the exits nobody has reported, and the bundle. An exit is announced only once its process is dead.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper_core::ProcessKey;
use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, Cgroup, Findings, Launch, ReapAnswer, TaskApi, elsewhere_or_here,
    find_by_mark, listening_socket,
};

use crate::empty_cgroup;
use crate::env::Env;
use crate::machine::Input;
use crate::shim::Shim;
use crate::{bypass, exits, identify, orphan};

/// Waits before each try of the `delete` action.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1)];

/// Runs the `delete` action where something may be left, proves that nothing runs, and records every exit.
pub(crate) async fn reap(shim: &Arc<Shim>) -> Input {
    let init_was_alive = shim.held(&ProcessKey::Init).is_some_and(|init| !identify::has_ended(&init));
    for (process, _) in shim.ledger.running() {
        // Before the container's groups go.
        exits::note_memory(shim, &process);
    }
    let parting = shim.parting();
    let is_clean = parting.task_deleted
        && parting.shim_agrees
        && !shim.env.always_reaps(shim.binary.path())
        && group_with_life(shim).is_none();
    if !is_clean {
        orphan::end(shim, init_was_alive).await;
    }
    let answer = if is_clean {
        None
    } else {
        match run_delete(shim).await {
            Ok(answer) => Some(answer),
            // Where no container was made, shims fail to delete one (1.7 does), and there is nothing to delete.
            Err(_) if !has_container(shim) || parting.rebooted => None,
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
    // After a clean end it was looked at just now.
    let was_looked_at = is_clean && !init_was_alive;
    if !was_looked_at && let Err(reason) = clear_group(shim).await {
        shim.set_trouble(reason);
        return Input::Failed;
    }
    if !has_container(shim) {
        // Where the runtime came to make a container, it has removed them.
        empty_cgroup::remove(&shim.env.scope, &shim.bundle, shim.deadlines().signal).await;
    }
    exits::record_owed(shim, init_was_alive, answer.as_ref());
    if let Err(error) = shim.persist().await {
        // The events go out all the same: late is better than never, and a full disk must not stop a deletion.
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, %error,
            "exits could not be recorded"
        );
    }
    crate::failpoint::hit("D4-reaped");
    Input::Reaped
}

async fn run_delete(shim: &Shim) -> Result<ReapAnswer, String> {
    #[cfg(test)]
    if crate::simulation::is_on() {
        return Ok(ReapAnswer { pid: None, status: crate::ledger::KILLED, at: None });
    }
    let context = shim.env.launch_context(&shim.key, shim.incarnation);
    let mut last = String::new();
    let (record, init) = (shim.record.clone(), shim.init_identity());
    if let Ok(Err(error)) = shim.env.scope.spawn_blocking(move || record.mend_for_delete(init)).await {
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, %error,
            "its bundle may lack what the shim's delete action needs"
        );
    }
    for wait in TRIES {
        tokio::time::sleep(wait).await;
        let turn = shim.env.reaps.take().await;
        crate::failpoint::hit("D4");
        let delete = shim.binary.delete(&context, &shim.bundle, shim.deadlines().reap);
        let delete = shim.env.observed(shim.binary.path(), "reap", Box::pin(delete));
        match turn.use_for(pin!(delete)).await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tracing::warn!(
                    namespace = %shim.key.namespace, task = %shim.key.id, %error,
                    "the shim's delete action failed"
                );
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
    let patience = shim.deadlines().signal;
    let Some(init) = shim.held(&ProcessKey::Init) else { return true };
    let identity = *init.identity();
    if identify::has_ended(&init) || identify::is_shared(shim, &identity) {
        return true;
    }
    tracing::warn!(
        namespace = %shim.key.namespace, task = %shim.key.id, init = identity.pid,
        "init outlived its shim's delete action: killing it"
    );
    identify::kill(&identity, patience).await
}

/// The container's own control group, if anything in it is alive.
fn group_with_life(shim: &Shim) -> Option<Cgroup> {
    let is_empty = |cgroup: &Cgroup| cgroup.processes().is_ok_and(|processes| processes.is_empty());
    // Empty, mostly; so that is asked first.
    shim.cgroup().filter(|cgroup| !is_empty(cgroup))?;
    identify::own_group(shim)
}

/// Sees to it that nothing is alive in the container's control group, if need be by our own hand.
async fn clear_group(shim: &Shim) -> Result<(), String> {
    let Some(cgroup) = group_with_life(shim) else { return Ok(()) };
    let name = cgroup.path().display().to_string();
    tracing::warn!(
        namespace = %shim.key.namespace, task = %shim.key.id, cgroup = name,
        "processes outlived the container's end: killing them"
    );
    let ends = Instant::now() + shim.deadlines().signal;
    loop {
        match bypass::kill_group(shim, &cgroup).await {
            Ok(0) => return Ok(()),
            Ok(_) if Instant::now() < ends => {}
            Ok(left) => {
                return Err(format!("{left} processes in the container's control group {name} do not end"));
            }
            Err(error) => {
                return Err(format!("the processes in the control group {name} cannot be told: {error}"));
            }
        }
    }
}

/// Takes the bundle from the disk.
pub(crate) async fn remove_bundle(shim: &Arc<Shim>) -> Input {
    shim.close_all_plumbing();
    // With the bundle goes the record of what is owed: not before it is in the journal. Until it is gone that is noted.
    shim.env.journaled().await;
    // Where that fails, as on a full disk, the bundle goes all the same.
    let _ = shim.persist().await;
    shim.record.close().await;
    match remove(&shim.env, &shim.bundle, Vec::new(), !shim.is_given_up()).await {
        Ok(()) => Input::Removed,
        Err(reason) => {
            tracing::warn!(
                namespace = %shim.key.namespace, task = %shim.key.id, %reason,
                "the bundle cannot be removed yet"
            );
            shim.set_trouble(reason);
            Input::Failed
        }
    }
}

/// Ends what was launched for a bundle in which no task was made; answers the sockets it listened on. They are written
/// down first: only the process knows them, and who kills it may be killed right after.
///
/// # Errors
/// Why something of it may be left.
pub(crate) async fn end_launch(
    env: &Env,
    bundle: &Bundle,
    launch: &Launch,
    patience: Duration,
) -> Result<Vec<PathBuf>, String> {
    let (noted, others, marked) = (bundle.clone(), env.own_shims(), *launch);
    let note = move || {
        // Where it cannot be found out, that is told by who kills them.
        let Ok(Findings { found, .. }) = find_by_mark(&marked, &others) else { return };
        let listening = found.iter().find_map(|process| listening_socket(process.pid));
        let params =
            listening.map(|path| BootstrapParams { api: TaskApi::TtrpcV3, address: Address::unix(path) });
        if let Some(params) = params.filter(|_| BootstrapParams::read(&noted).is_err())
            && let Err(error) = params.write(&noted)
        {
            tracing::warn!(
                namespace = %noted.key().namespace, task = %noted.key().id, %error,
                "where a leaked shim listens could not be written down"
            );
        }
    };
    let _ = elsewhere_or_here(note).await;
    identify::kill_marked(env, launch, patience).await
}

/// Removes a bundle, and the socket file that a killed shim left: `sockets`, and where `with_its_own` says so the one
/// the bundle names, or the one that containerd's shims bind by their rule before they have answered where it is. One
/// that others use may be bound anew while it is looked at.
pub(crate) async fn remove(
    env: &Env,
    bundle: &Bundle,
    sockets: Vec<PathBuf>,
    with_its_own: bool,
) -> Result<(), String> {
    let (bundle, manager) = (bundle.clone(), env.address.clone());
    let removed = env.scope.spawn_blocking(move || {
        let own = with_its_own.then(|| {
            let written = BootstrapParams::read(&bundle).map(|params| params.address);
            written.unwrap_or_else(|_| Address::by_rule(&bundle, &manager))
        });
        let own = own.as_ref().and_then(Address::path).map(Path::to_owned);
        for socket in own.into_iter().chain(sockets) {
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
