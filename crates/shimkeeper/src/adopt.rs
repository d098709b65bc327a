// SPDX-License-Identifier: Apache-2.0
//! Taking over what a manager before us left in the directories: ours after a restart, or containerd's.
//!
//! The bundles are listed and their ids reserved before `open` returns; everything else happens in the background, all
//! bundles at once with a bound, and one that is stuck delays no other. Nothing that may be alive is ended: what cannot
//! be reached and is not proven dead is kept as unreachable and dialed again.

mod bundle;
mod report;
mod verdict;

use std::sync::Arc;

use shimkeeper_core::{Incarnation, TaskKey};
use tokio::sync::{Semaphore, watch};

use crate::env::Env;
use crate::error::{Cause, Error, Step};
use crate::registry::{Entry, Reservation};

pub use report::{Adoption, Verdict};

/// Bundles looked at at the same time.
const AT_ONCE: usize = 64;

/// A bundle that waits for its verdict.
struct Found {
    key: TaskKey,
    reservation: Reservation,
}

/// Lists what there is and reserves its ids; the rest goes on in the background. The receiver sees the progress.
pub(crate) async fn begin(env: &Arc<Env>) -> Result<watch::Receiver<Adoption>, Error> {
    let listed = tokio::task::spawn_blocking({
        let env = env.clone();
        move || list(&env)
    });
    let found = listed
        .await
        .map_err(|join| Error::io(Step::Open, "list", env.dirs.state(), std::io::Error::other(join)))??;
    let progress = watch::Sender::new(Adoption::of(found.len()));
    let seen = progress.subscribe();
    env.scope.spawn(run(env.clone(), found, progress));
    Ok(seen)
}

fn list(env: &Env) -> Result<Vec<Found>, Error> {
    let swept = env.dirs.sweep_trash();
    for error in &swept.failed {
        tracing::warn!(%error, "a leftover could not be swept");
    }
    let listing = env.dirs.bundles().map_err(|e| Error::new(Step::Open, Cause::Dirs(e)))?;
    let reserve = |key: TaskKey| {
        let reservation = env.registry.reserve(&key, Incarnation::fresh(), Entry::Adopting).ok()?;
        Some(Found { key, reservation })
    };
    Ok(listing.found.into_iter().filter_map(reserve).collect())
}

async fn run(env: Arc<Env>, found: Vec<Found>, progress: watch::Sender<Adoption>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let progress = Arc::new(progress);
    let mut jobs = Vec::with_capacity(found.len());
    for bundle in found {
        let Ok(turn) = turns.clone().acquire_owned().await else { break };
        let (env, progress) = (env.clone(), progress.clone());
        jobs.push(env.scope.clone().spawn(async move {
            let key = bundle.key.clone();
            let verdict = Box::pin(verdict::adopt(env, bundle.key, bundle.reservation)).await;
            drop(turn);
            tracing::info!(task = %key, %verdict, "adoption");
            progress.send_modify(|adoption| adoption.add(key, verdict));
        }));
    }
    for job in jobs {
        // One that panicked has let go of its id; the others are not concerned.
        let _ = job.await;
    }
    sweep_work_dirs(&env).await;
    progress.send_modify(Adoption::finish);
}

/// Removes scratch directories that no bundle belongs to: after a reboot all of them.
async fn sweep_work_dirs(env: &Arc<Env>) {
    let env = env.clone();
    let scope = env.scope.clone();
    let swept = scope.spawn_blocking(move || {
        let Ok(listing) = env.dirs.work_dirs() else { return };
        for key in listing.found {
            // Reserved while it goes, so that a task being created cannot lose its own.
            let Ok(_reservation) = env.registry.reserve(&key, Incarnation::fresh(), Entry::Creating) else {
                continue;
            };
            if let Err(error) = env.dirs.remove_work_dir(&key) {
                tracing::warn!(task = %key, %error, "a scratch directory could not be swept");
            }
        }
    });
    let _ = swept.await;
}
