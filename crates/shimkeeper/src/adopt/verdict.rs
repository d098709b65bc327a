// SPDX-License-Identifier: Apache-2.0
//! The verdict on one bundle, and what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shimkeeper_core::{HasKind as _, Incarnation, Kind, ProcessKey, TaskKey};
use shimkeeper_shim::{
    BootstrapParams, Bundle, BundleError, Bundles, Cgroup, Connection, Launch, ShimBinary, mark_of,
};
use tokio::task::JoinError;

use super::Found;
use super::bundle::{Papers, Remains, Sight};
use super::reach::{self, Reached};
use super::report::Verdict;
use crate::env::Env;
use crate::identify::Who;
use crate::ledger::{self, Book, Ledger, Phase};
use crate::machine::{Fate, Link};
use crate::reconcile::{Finding, Told, reconcile};
use crate::record::{Record, RecordFile, Stage};
use crate::role::Role;
use crate::shim::{Parts, Shim};
use crate::supervisor::Supervisor;
use crate::task::denial;
use crate::{identify, monitor, reap};

/// A bundle that nothing can be made of now, and why. Its id stays taken.
pub(super) struct Stranded {
    pub(super) reason: String,
    pub(super) found: Found,
}

impl Stranded {
    pub(super) fn new(found: Found, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        found.reservation.strand(&reason);
        Self { reason, found }
    }
}

/// Concludes what has become of a bundle, and gives it a supervisor or removes it.
pub(super) async fn adopt(env: Arc<Env>, mut found: Found, sight: Arc<Sight>) -> Result<Verdict, Stranded> {
    let papers = found.papers.take();
    let remains = match look(&env, found.role, found.key.clone(), papers, &sight).await {
        Ok(Ok(remains)) => remains,
        // Gone by now; what may be left is hidden.
        Ok(Err(error)) if error.kind() == Kind::NotFound => {
            return clear_leftovers(&env, found).await;
        }
        Ok(Err(error)) => return Err(Stranded::new(found, error.to_string())),
        Err(join) => return Err(Stranded::new(found, join.to_string())),
    };
    crate::failpoint::hit("L1");
    if remains.was_never_created() {
        return undo(&env, remains, found).await;
    }
    // Of a dead shim nothing stays open.
    if !remains.is_proven_dead() && sight.files_run_short() {
        return Err(Stranded::new(found, "no more files may be open but what is kept for clients"));
    }
    Ok(Box::pin(supervise(env, found, remains)).await)
}

/// Looks at what there is of a task: here, if that waits for nothing.
async fn look(
    env: &Arc<Env>,
    role: Role,
    key: TaskKey,
    papers: Option<Result<Papers, BundleError>>,
    sight: &Arc<Sight>,
) -> Result<Result<Remains, BundleError>, JoinError> {
    match papers {
        Some(Ok(papers)) if papers.are_complete() => Ok(Ok(Remains::of(env, papers, sight))),
        papers => {
            let (own, sight) = (env.clone(), sight.clone());
            let look = move || {
                let read = || Papers::read(&own.logs, &Bundles::open(own.dirs_of(role))?, &key);
                let papers = papers.unwrap_or_else(read)?;
                Ok(Remains::of(&own, papers, &sight))
            };
            env.scope.spawn_blocking(look).await
        }
    }
}

/// Removes a half-made bundle, after ending what was launched for it.
async fn undo(env: &Env, remains: Remains, found: Found) -> Result<Verdict, Stranded> {
    env.all_are_seated.cancelled().await;
    let sockets = match &remains.record {
        // Of what was launched before a reboot nothing is left.
        Some(record) if !remains.rebooted => {
            let patience = env.timing_of(&remains.binary).now().signal;
            reap::end_launch(env, &remains.bundle, &record.launch, patience).await
        }
        Some(_) | None => Ok(Vec::new()),
    };
    let sockets = match sockets {
        Ok(sockets) => sockets,
        Err(reason) => return Err(Stranded::new(found, reason)),
    };
    crate::failpoint::hit("L2");
    match reap::remove(env, &remains.bundle, sockets, true).await {
        Ok(()) => Ok(Verdict::Leaked),
        Err(reason) => Err(Stranded::new(found, reason)),
    }
}

/// Removes what is left of a bundle that has no name any more.
async fn clear_leftovers(env: &Env, found: Found) -> Result<Verdict, Stranded> {
    let (dirs, key) = (env.dirs_of(found.role).clone(), found.key.clone());
    match env.scope.spawn_blocking(move || dirs.remove_leftovers(&key)).await {
        Ok(Ok(())) => Ok(Verdict::Leaked),
        Ok(Err(error)) => Err(Stranded::new(found, error.to_string())),
        Err(join) => Err(Stranded::new(found, join.to_string())),
    }
}

async fn supervise(env: Arc<Env>, found: Found, mut remains: Remains) -> Verdict {
    let Found { role, key, reservation, seat, is_stray, .. } = found;
    let seat = seat.or_else(|| env.groups.seat(&key.namespace, &remains.places.first()?.address).ok());
    let bundle = Arc::new(remains.bundle.clone());
    let log = std::mem::take(&mut remains.log);
    let events = env.task_events.load(Ordering::Relaxed);
    let mut reached = reach::reach(&env, role, &key, seat.as_ref(), &remains).await;
    env.all_are_seated.cancelled().await;
    let (link, connection, seat) = match &mut reached {
        Reached::Answered { connection, seat: other, .. } => {
            (Link::Up, Some(connection.clone()), other.take().or(seat))
        }
        Reached::Silent(_) => (Link::Lost, None, seat),
        Reached::Dead => (Link::Dead, None, seat),
    };
    let who = who_it_is(&remains, &reached);
    let record = record_of(&env, &bundle, &remains, who).await;
    let parts = Parts {
        env: env.clone(),
        role,
        key,
        incarnation: record.incarnation,
        binary: ShimBinary::formerly_at(&remains.binary),
        bundle: bundle.clone(),
        ledger: Ledger::new(record.book),
        record: record.file,
        log,
        seat,
        connection,
        is_found: true,
    };
    let shim = Shim::new(parts, link);
    let asking = shim.ledger.memo.ask();
    introduce(&shim, who, &mut remains, record.cgroup);
    let ticket = reservation.fulfil(&shim);
    let (supervisor, permit) = Supervisor::new(shim.clone(), ticket);
    // Nothing that was found is ended because something here went wrong.
    let permit = permit.keeping();
    env.scope.spawn(supervisor.run());

    let (verdict, fate) = match reached {
        Reached::Dead => (Verdict::Dead, Fate::End),
        Reached::Silent(reason) => {
            shim.check_cgroup();
            // If it ends before the shim is heard of, the kernel tells.
            monitor::watch_once(&shim, &ProcessKey::Init);
            keep_unreachable(&shim, reason)
        }
        Reached::Answered { connection, params, is_its_own, told, .. } => {
            // Good only if no event of it can have come while it was nobody's: from now on what comes is taken in.
            let told = told.filter(|_| env.task_events.load(Ordering::Relaxed) == events);
            let told = told.map(|answer| Told { asking, answer });
            mend_address(&shim, remains.written.as_ref(), params).await;
            // Others whose bundles are gone, too, may live on the shim of a stray: that it denies the task is no reason to
            // end it.
            let is_its_own = is_its_own && !is_stray;
            conclude(&shim, &connection, told, record.stage, is_its_own).await
        }
    };
    match fate {
        Fate::Keep => permit.keep(),
        // An end takes its time, and nobody has to wait for it here.
        Fate::End => drop(env.scope.spawn(async move { permit.settle(fate).await })),
    }
    env.registry_of(role).admit(&shim);
    verdict
}

/// Tells a shim who its processes are.
fn introduce(shim: &Shim, who: Who, remains: &mut Remains, cgroup: Option<Cgroup>) {
    match who {
        Who::Ours(identity) => shim.set_identity(Some(identity)),
        Who::Foreign(identity) => shim.set_foreign(identity),
        Who::Marked => shim.set_identity(None),
    }
    if remains.rebooted {
        shim.note_reboot();
    } else {
        shim.hold_found(std::mem::replace(&mut remains.init, Ok(None)).ok().flatten(), cgroup);
    }
}

/// The shim's process, as far as it is known.
fn who_it_is(remains: &Remains, reached: &Reached) -> Who {
    match (reached, &remains.record) {
        (Reached::Answered { who, .. }, _) => *who,
        (_, Some(Record { shim: Some(known), shim_is_foreign: true, .. })) => Who::Foreign(*known),
        (_, Some(Record { shim: Some(known), .. })) => Who::Ours(*known),
        _ => remains.only_shim().map_or(Who::Marked, Who::Ours),
    }
}

/// What goes on in the place of a record.
struct Recorded {
    file: Arc<RecordFile>,
    incarnation: Incarnation,
    stage: Stage,
    cgroup: Option<Cgroup>,
    book: Book,
}

/// The record of a bundle, written anew only if it says something else than before.
async fn record_of(env: &Env, bundle: &Arc<Bundle>, remains: &Remains, who: Who) -> Recorded {
    let (shim, shim_is_foreign) = match who {
        Who::Ours(identity) => (Some(identity), false),
        Who::Foreign(identity) => (Some(identity), true),
        Who::Marked => (None, false),
    };
    let found = remains.record.clone();
    let is_same =
        found.as_ref().is_some_and(|found| (found.shim, found.shim_is_foreign) == (shim, shim_is_foreign));
    let record = match found {
        Some(record) => record,
        None => lost(env, ShimBinary::formerly_at(&remains.binary), who).await,
    };
    let record = Record { shim, shim_is_foreign, ..record };
    let (incarnation, stage) = (record.launch.mark, record.stage);
    let (cgroup, book) = (record.cgroup.clone(), record.book.clone());
    let make = if is_same { RecordFile::found } else { RecordFile::new };
    Recorded { file: make(&env.scope, bundle.clone(), record), incarnation, stage, cgroup, book }
}

/// Writes down where the shim was reached, if its bundle said something else or nothing: for the next manager, be it
/// containerd.
async fn mend_address(shim: &Shim, written: Option<&BootstrapParams>, reached: BootstrapParams) {
    if written.is_some_and(|written| written.address == reached.address) {
        return;
    }
    let bundle = shim.bundle.clone();
    let mended = shim.env.scope.spawn_blocking(move || {
        tracing::info!(
            namespace = %bundle.key().namespace, task = %bundle.key().id, address = %reached.address,
            "mending the address in its bundle"
        );
        reached.write(&bundle)
    });
    if let Ok(Err(error)) = mended.await {
        tracing::warn!(
            namespace = %shim.key.namespace, task = %shim.key.id, %error,
            "the address in its bundle could not be mended"
        );
    }
}

fn keep_unreachable(shim: &Shim, reason: String) -> (Verdict, Fate) {
    shim.set_trouble(reason.clone());
    (Verdict::Unreachable { reason }, Fate::Keep)
}

/// What the shim itself says decides, if it is known to be the bundle's own.
async fn conclude(
    shim: &Arc<Shim>,
    connection: &Connection,
    told: Option<Told>,
    stage: Stage,
    is_its_own: bool,
) -> (Verdict, Fate) {
    if is_its_own {
        shim.denial.believe();
    }
    let finding = reconcile(shim, connection, told).await;
    let init_is_alive = || shim.init_identity().is_some_and(|init| !identify::is_gone(&init));
    match finding {
        Finding::Ended if stage == Stage::Deleting => (Verdict::Leaked, Fate::End),
        Finding::Ended => (Verdict::EndedWhileAway, Fate::Keep),
        Finding::Alive => (Verdict::Adopted, Fate::Keep),
        // The shim has no such task. Only if it is the right one, and nothing of the task lives, is that all.
        Finding::Absent if init_is_alive() => {
            denial::heard(shim);
            keep_unreachable(shim, "its shim does not know the task, whose init is alive".into())
        }
        Finding::Absent if !is_its_own => keep_unreachable(
            shim,
            "who answers at its address does not know the task, and may be no shim of it".into(),
        ),
        Finding::Absent => (Verdict::Leaked, Fate::End),
        Finding::Silent(error) => {
            // Closed, so that it is dialed, and asked, again.
            connection.close();
            keep_unreachable(shim, error.to_string())
        }
    }
}

/// A record for a bundle that has none: somebody removed ours, or never wrote one.
async fn lost(env: &Env, binary: ShimBinary, who: Who) -> Record {
    let record = unrecorded(env, binary);
    let mark = match who {
        Who::Ours(shim) => env.scope.spawn_blocking(move || mark_of(&shim)).await.ok().flatten(),
        _ => None,
    };
    match mark {
        Some(mark) => Record { launch: Launch { mark, since: 0 }, taken_over: false, ..record },
        None => record,
    }
}

/// A record for a bundle that another manager made. What it told its clients is taken as told up to the start.
pub(super) fn unrecorded(env: &Env, binary: ShimBinary) -> Record {
    let mut book = Book::default();
    book.init.phase = Phase::Unsure;
    book.init.told = ledger::Told::Started;
    let record = Record::new(Incarnation::fresh(), env.boot_id, binary);
    Record { stage: Stage::Live, taken_over: true, book, ..record }
}
