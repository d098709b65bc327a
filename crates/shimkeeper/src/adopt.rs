// SPDX-License-Identifier: Apache-2.0
//! Taking over what a manager before us left in the directories: ours after a restart, or containerd's.
//!
//! The bundles are listed and their ids reserved before `open` returns; everything else happens in the background, all
//! bundles at once with a bound, and one that is stuck delays no other. Nothing that may be alive is ended: what cannot
//! be reached and is not proven dead is kept as unreachable and dialed again.
//!
//! ```text
//! list ─▶ read, seat, the next one … ─▶ all are seated ─▶ sweep ─┐
//!              └─ dial, ask ───────────────────┴─▶ verdict ──────┴─▶ finished ─▶ strays
//! ```

mod bundle;
mod group;
mod reach;
mod report;
mod strays;
mod verdict;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::{Incarnation, TaskKey};
use shimkeeper_shim::{BundleError, Bundles};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::env::Env;
use crate::error::{Cause, Error, Step};
use crate::group::Seat;
use crate::registry::{Entry, Reservation};
use crate::role::Role;

use bundle::{Papers, Sight};
pub use report::{Adoption, Verdict};
use verdict::Stranded;

/// Bundles looked at at the same time: enough to keep all processors busy, and few enough for a client's call not to wait
/// for long behind them.
const AT_ONCE: u32 = 8;

/// The same while bundles are still being read: each waits with its verdict until the last has been.
const AT_ONCE_EARLY: u32 = 32;

/// After this time a bundle does not count among those any more.
const SLOW: Duration = Duration::from_millis(25);

/// How long shims are not waited for because others have not been asked yet who they are.
const RUSH: Duration = Duration::from_secs(1);

/// First and longest wait before a bundle that nothing could be made of is looked at again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A bundle that waits for its verdict.
struct Found {
    role: Role,
    key: TaskKey,
    reservation: Reservation,
    /// What its files say, or why they do not, until that is used.
    papers: Option<Result<Papers, BundleError>>,
    /// Taken for all bundles before there is a verdict on any, so that none ends a shim that another one needs.
    seat: Option<Seat>,
    /// Whether its bundle was gone, and its shim found by itself.
    is_stray: bool,
}

impl Found {
    fn new(role: Role, key: TaskKey, reservation: Reservation) -> Self {
        Self { role, key, reservation, papers: None, seat: None, is_stray: false }
    }

    /// Takes the id for it; `None` if that is in use.
    fn reserve(env: &Env, role: Role, key: TaskKey) -> Option<Self> {
        let adopting = Entry::Adopting(None);
        let reservation = env.registry_of(role).reserve(&key, Incarnation::fresh(), adopting).ok()?;
        Some(Self::new(role, key, reservation))
    }
}

/// Lists what there is and reserves its ids; the rest goes on in the background. The receiver sees the progress.
pub(crate) async fn begin(env: &Arc<Env>) -> Result<watch::Receiver<Adoption>, Error> {
    let listed = env.scope.spawn_blocking({
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
    let mut found = Vec::new();
    for role in [Role::Sandbox, Role::Task] {
        let dirs = env.dirs_of(role);
        for error in &dirs.sweep_trash().failed {
            tracing::warn!(%error, "a leftover could not be swept");
        }
        let listing = dirs.bundles().map_err(|e| Error::new(Step::Open, Cause::Dirs(e)))?;
        found.extend(listing.found.into_iter().filter_map(|key| Found::reserve(env, role, key)));
    }
    Ok(found)
}

/// Reads every bundle, and seats those that say where their shim listens; each is handed on at once. After that, removes
/// what belongs to none.
fn read(
    env: &Arc<Env>,
    found: Vec<Found>,
    sight: &Arc<Sight>,
) -> (mpsc::UnboundedReceiver<Found>, JoinHandle<()>) {
    let (hand_on, read) = mpsc::unbounded_channel();
    let (own, sight) = (env.clone(), sight.clone());
    let job = env.scope.spawn_blocking(move || {
        // Also after a panic.
        let seated = own.all_are_seated.clone().drop_guard();
        let (tasks, sandboxes) = (Bundles::open(&own.dirs), Bundles::open(&own.sandbox_dirs));
        for mut bundle in found {
            let bundles = match bundle.role {
                Role::Task => &tasks,
                Role::Sandbox => &sandboxes,
            };
            // What fails, or panics, is this bundle's alone, which is looked at again by itself.
            let papers = || Some(Papers::read(&own.logs, bundles.as_ref().ok()?, &bundle.key));
            bundle.papers = catch_unwind(AssertUnwindSafe(papers)).ok().flatten();
            let address = bundle.papers.as_ref().and_then(|papers| papers.as_ref().ok()?.address());
            bundle.seat = address.and_then(|at| own.groups.seat(&bundle.key.namespace, at).ok());
            if sight.files_run_short() {
                // With it goes the log, which is open. It is read again when there is a turn for it.
                bundle.papers = None;
            }
            if hand_on.send(bundle).is_err() {
                return;
            }
        }
        drop((seated, hand_on));
        sweep_work_dirs(&own);
    });
    (read, job)
}

async fn run(env: Arc<Env>, found: Vec<Found>, progress: watch::Sender<Adoption>) {
    let sight = Arc::new(Sight::of(found.len()));
    let (mut found, mut swept) = read(&env, found, &sight);
    let turns = Arc::new(Semaphore::new(AT_ONCE as usize));
    let early_turns = Arc::new(Semaphore::new(AT_ONCE_EARLY as usize));
    let progress = Arc::new(progress);
    let began = Instant::now();
    // Not their handles, which would keep what each took until the last has ended.
    let jobs = TaskTracker::new();
    while let Some(bundle) = found.recv().await {
        let is_early = !env.all_are_seated.is_cancelled();
        let (turns, all) = if is_early { (&early_turns, AT_ONCE_EARLY) } else { (&turns, AT_ONCE) };
        // Where files are counted it is one after the other.
        let share = if sight.has_files { 1 } else { all };
        let Ok(turn) = turns.clone().acquire_many_owned(share).await else { break };
        if began.elapsed() > RUSH {
            env.rush_is_over.cancel();
        }
        let (env, progress, sight) = (env.clone(), progress.clone(), sight.clone());
        env.scope.clone().spawn(jobs.track_future(async move {
            let leave = env.scope.detach_token().clone();
            // Pinned here, because whoever takes a future over has room for it twice.
            let concluding = pin!(conclude(env, bundle, sight, turn, progress));
            leave.run_until_cancelled(concluding).await;
        }));
    }
    // All back: who is not done by now is slow, and nobody else waits for that.
    drop((turns.acquire_many(AT_ONCE).await, early_turns.acquire_many(AT_ONCE_EARLY).await));
    jobs.close();
    if !jobs.is_empty() {
        env.rush_is_over.cancel();
    }
    // One that panicked counts as ended, and has let go of its id; the others are not concerned.
    jobs.wait().await;
    if timeout(RUSH, &mut swept).await.is_err() {
        env.rush_is_over.cancel();
        let _ = swept.await;
    }
    progress.send_modify(Adoption::finish);
    env.rush_is_over.cancel();
    strays::take_in(&env, &progress).await;
}

/// Comes to a verdict on one bundle.
async fn conclude(
    env: Arc<Env>,
    bundle: Found,
    sight: Arc<Sight>,
    turn: OwnedSemaphorePermit,
    progress: Arc<watch::Sender<Adoption>>,
) {
    let (role, key) = (bundle.role, bundle.key.clone());
    let attempt = Box::pin(verdict::adopt(env.clone(), bundle, sight));
    let attempt = with_turn(attempt, turn).await;
    let verdict = match attempt {
        Ok(verdict) => verdict,
        Err(stranded) => {
            let verdict = Verdict::Unreachable { reason: stranded.reason.clone() };
            let (scope, progress, key) = (env.scope.clone(), progress.clone(), key.clone());
            scope.spawn(async move {
                if let Some(verdict) = try_again(env, stranded).await {
                    tell(&progress, |adoption| adoption.replace(role, &key, verdict));
                }
            });
            verdict
        }
    };
    // Of a thousand that simply go on there is nothing to tell one by one.
    if verdict == Verdict::Adopted {
        tracing::debug!(?role, namespace = %key.namespace, task = %key.id, "adopted");
    } else {
        log(role, &key, &verdict);
    }
    tell(&progress, |adoption| adoption.add(role, key, verdict));
}

/// Gives the turn away as soon as it is plain that this one is slow, so that many stuck shims do not delay the others.
async fn with_turn<T>(mut attempt: impl Future<Output = T> + Unpin, turn: OwnedSemaphorePermit) -> T {
    if let Ok(done) = timeout(SLOW, &mut attempt).await {
        return done;
    }
    drop(turn);
    attempt.await
}

/// Looks after a bundle that could not be undone, as after one that was found and that nothing can be made of now.
pub(crate) fn look_again(env: &Arc<Env>, role: Role, key: TaskKey, reservation: Reservation, reason: &str) {
    let stranded = Stranded::new(Found::new(role, key, reservation), reason);
    let env = env.clone();
    env.scope.clone().spawn(async move {
        try_again(env, stranded).await;
    });
}

/// Looks at a bundle again, for as long as nothing can be made of it; `None` if the manager leaves before that.
async fn try_again(env: Arc<Env>, mut stranded: Stranded) -> Option<Verdict> {
    let (role, key) = (stranded.found.role, stranded.found.key.clone());
    let leave = env.scope.detach_token().clone();
    let tries = async {
        let mut wait = BACK_OFF.0;
        loop {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(BACK_OFF.1);
            let Ok(turn) = env.another_look.clone().acquire_owned().await else {
                return std::future::pending().await;
            };
            let attempt = Box::pin(verdict::adopt(env.clone(), stranded.found, Arc::default()));
            match with_turn(attempt, turn).await {
                Ok(verdict) => {
                    log(role, &key, &verdict);
                    return verdict;
                }
                Err(again) => stranded = again,
            }
        }
    };
    leave.run_until_cancelled(tries).await
}

fn log(role: Role, key: &TaskKey, verdict: &Verdict) {
    tracing::info!(?role, namespace = %key.namespace, task = %key.id, %verdict, "adoption");
}

fn tell(progress: &watch::Sender<Adoption>, what: impl FnOnce(&mut Adoption)) {
    // Seen by who looks; only the last one wakes those who wait for all.
    progress.send_if_modified(|adoption| {
        what(adoption);
        false
    });
}

/// Removes scratch directories that no bundle belongs to: after a reboot all of them.
fn sweep_work_dirs(env: &Env) {
    for role in [Role::Sandbox, Role::Task] {
        let (dirs, registry) = (env.dirs_of(role), env.registry_of(role));
        let Ok(listing) = dirs.work_dirs() else { continue };
        for key in listing.found {
            if registry.get(&key).is_some() {
                continue;
            }
            // Reserved while it goes, so that a task being created cannot lose its own.
            let Ok(_reservation) = registry.reserve(&key, Incarnation::fresh(), Entry::Creating) else {
                continue;
            };
            if let Err(error) = dirs.remove_work_dir(&key) {
                tracing::warn!(
                    namespace = %key.namespace, task = %key.id, %error,
                    "a scratch directory could not be swept"
                );
            }
        }
    }
}
