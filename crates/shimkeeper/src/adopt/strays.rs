// SPDX-License-Identifier: Apache-2.0
//! Shims of ours that belong to no bundle, because somebody removed it while no manager was there. Their bundle is made
//! again and they are adopted by it: so they are listed, asked and ended as any other, and their id is not used again
//! before that. None is ended because of what was found here.
//!
//! The table of processes is looked through once per start and kind of bundle that there has ever been one of, when
//! everything that has a bundle has its verdict.

use std::path::PathBuf;
use std::sync::Arc;

use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, Launch, ShimBinary, StateDirs, Stray, TaskApi, listening_socket,
    program, strays,
};
use tokio::sync::{Semaphore, watch};

use super::report::Adoption;
use super::{Found, conclude, verdict};
use crate::env::Env;
use crate::identify;
use crate::record::{Record, RecordFile};
use crate::role::Role;

/// Finds them, and comes to a verdict on each.
pub(super) async fn take_in(env: &Arc<Env>, progress: &Arc<watch::Sender<Adoption>>) {
    #[cfg(test)]
    if crate::simulation::is_on() {
        return;
    }
    let own = env.clone();
    let Ok(found) = env.scope.spawn_blocking(move || look(&own)).await else { return };
    let turns = Arc::new(Semaphore::new(1));
    for stray in found {
        let Ok(turn) = turns.clone().acquire_owned().await else { return };
        super::tell(progress, |adoption| adoption.found += 1);
        let (env, progress) = (env.clone(), progress.clone());
        env.scope.clone().spawn(async move {
            let leave = env.scope.detach_token().clone();
            leave.run_until_cancelled(Box::pin(conclude(env, stray, Arc::default(), turn, progress))).await;
        });
    }
}

/// Those there are, each with a bundle again.
fn look(env: &Env) -> Vec<Found> {
    let roles = [Role::Sandbox, Role::Task].into_iter().filter(|role| may_miss_any(env.dirs_of(*role)));
    roles
        .flat_map(|role| {
            let strays = strays(env.dirs_of(role)).unwrap_or_else(|error| {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "shims without a bundle are not looked for"
                );
                Vec::new()
            });
            let alone = |stray: &&Stray| is_alone(&strays, stray);
            strays.iter().filter(alone).filter_map(|stray| make_again(env, role, stray)).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a bundle may be missing here: not where there has never been one.
fn may_miss_any(dirs: &StateDirs) -> bool {
    let namespaces = [dirs.namespaces(), dirs.work_namespaces()];
    !namespaces.iter().all(|there| there.as_ref().is_ok_and(|listing| listing.found.is_empty()))
}

/// Whether it is the only one of its bundle. Of several, nobody can tell which is the shim.
fn is_alone(strays: &[Stray], stray: &Stray) -> bool {
    let is_alone = strays.iter().filter(|other| other.key == stray.key).count() == 1;
    if !is_alone {
        leave(stray, "there are more such processes");
    }
    is_alone
}

fn leave(stray: &Stray, reason: &str) {
    tracing::warn!(
        namespace = %stray.key.namespace, task = %stray.key.id, pid = stray.process.pid, reason,
        "a process was launched for a bundle that is gone: left as it is"
    );
}

/// Reserves its id and makes its bundle.
fn make_again(env: &Env, role: Role, stray: &Stray) -> Option<Found> {
    // What a shim has started, such as a program that keeps logs, may have its mark and its directory.
    let Some(socket) = listening_socket(stray.process.pid) else {
        leave(stray, "it does not listen as a shim does");
        return None;
    };
    let Some(found) = Found::reserve(env, role, stray.key.clone()) else {
        leave(stray, "its id is in use");
        return None;
    };
    // Of a group, the first may have gone while the others live on its shim. Looked at once the id is ours: what ends
    // meanwhile has ended its shim before its bundle went.
    let serves_others = env
        .all_shims()
        .iter()
        .any(|shim| shim.identity() == Some(stray.process) || shim.incarnation == stray.mark);
    if serves_others || identify::is_gone(&stray.process) {
        return None;
    }
    let bundle = Arc::new(Bundle::missing(env.dirs_of(role), &stray.key));
    let file = RecordFile::new(&env.scope, bundle, record_of(env, stray, socket));
    match file.mend() {
        Ok(true) => Some(Found { is_stray: true, ..found }),
        // Somebody has put it back: it is as any other.
        Ok(false) => Some(found),
        Err(error) => {
            leave(stray, &error.to_string());
            None
        }
    }
}

/// What its record may have said, as far as the process shows it, which listens at this socket.
fn record_of(env: &Env, stray: &Stray, socket: PathBuf) -> Record {
    let binary = program(stray.process.pid).unwrap_or_default();
    // Which API is spoken there is found out when it is dialed.
    let bootstrap = BootstrapParams { api: TaskApi::TtrpcV3, address: Address::unix(socket) };
    Record {
        launch: Launch { mark: stray.mark, since: 0 },
        taken_over: false,
        shim: Some(stray.process),
        bootstrap: Some(bootstrap),
        ..verdict::unrecorded(env, ShimBinary::formerly_at(&binary))
    }
}
