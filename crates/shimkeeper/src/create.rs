// SPDX-License-Identifier: Apache-2.0
//! Creating a task: a transaction that undoes itself at every step and reaps what it launched.
//!
//! ```text
//! check → reserve → resolve → bundle → record → log → stdio → launch → dial → probe → Create → live
//!                     └──────── undone by drop and remove ───────┘ └── undone by the supervisor ──┘
//! ```
//!
//! It runs on a task of the manager's, so that a caller who leaves cannot leave half of it behind: the caller's
//! leaving is one more reason to undo.

mod request;
mod undo;

use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper_core::{Any, Incarnation, Kind, ProcessKey, TaskKey};
use shimkeeper_proto::containerd::task::v3::{CreateTaskRequest, DeleteRequest};
use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, BundleDraft, BundleSpec, Connection, DialMode, LogPump, Runtime,
    ShimBinary, resolve,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::dialing::{self, Greeting};
use crate::env::Env;
use crate::error::{Cause, Error, Refused, Step};
use crate::identify::Who;
use crate::ledger::{Book, Ledger};
use crate::machine::{Fate, Link};
use crate::oci;
use crate::phases::{Phase, Phases};
use crate::record::{Record, RecordFile, Stage};
use crate::registry::{Entry, Reservation};
use crate::shim::{Parts, Permit, Shim};
use crate::stdio::Prepared;
use crate::supervisor::Supervisor;
use crate::{convert, diagnosis, identify, monitor};

pub use request::CreateTask;
use undo::UndoBundle;

/// How long a create waits for the id of a task that is just being deleted.
const ID_PATIENCE: Duration = Duration::from_secs(5);

/// What is made before there is a connection. Undone by [`Launched::undo`] or, before the launch, by drop.
struct Draft {
    env: Arc<Env>,
    incarnation: Incarnation,
    reservation: Reservation,
    binary: ShimBinary,
    bundle: Arc<Bundle>,
    record: Arc<RecordFile>,
    log: LogPump,
    over: DropGuard,
    prepared: Prepared,
    options: Option<Any>,
    phases: Phases,
    /// Where the shim says it listens.
    announced: Option<Address>,
}

/// A task that was made and has not been taken by who asked for it. Dropped, it ends: so it does not matter at which
/// moment a caller leaves.
pub(crate) struct Made {
    shim: Arc<Shim>,
    permit: Permit,
}

impl Made {
    /// The caller has it: from now on it lives.
    pub(crate) fn take(self) -> Arc<Shim> {
        self.permit.keep();
        self.shim
    }
}

/// Makes the task. `gave_up` fires when nobody waits for it any more.
pub(crate) async fn create(
    env: Arc<Env>,
    request: CreateTask,
    gave_up: CancellationToken,
) -> Result<Made, Error> {
    let key = request.key.clone();
    let about = |error: Error| error.of(&key);
    let draft = prepare(env, &request).await.map_err(about)?;
    let launched = Box::pin(launch(draft, &gave_up)).await.map_err(about)?;
    Box::pin(make(launched, request, &gave_up)).await.map_err(about)
}

/// Everything up to the launch: nothing of it runs, so undoing is removing.
async fn prepare(env: Arc<Env>, request: &CreateTask) -> Result<Draft, Error> {
    let mut phases = Phases::default();
    let began = Instant::now();
    let checked = oci::check(&request.spec).map_err(|e| Error::new(Step::Check, e))?;
    let runtime: Runtime = request.runtime.parse().map_err(|e| Error::new(Step::Check, e))?;
    let incarnation = Incarnation::fresh();
    let reservation = reserve(&env, &request.key, incarnation).await?;
    let binary = resolve(&runtime, &env.search).map_err(|e| Error::new(Step::Resolve, e))?;

    let bundle = make_bundle(&env, request, checked.container_root_host_gid).await?;
    let undo_bundle = UndoBundle::new(bundle.clone());
    let record = RecordFile::new(
        &env.scope,
        bundle.clone(),
        Record {
            incarnation,
            boot_id: env.boot_id,
            stage: Stage::Creating,
            runtime: binary.path().to_owned(),
            bootstrap: None,
            shim: None,
            shim_is_foreign: false,
            init: None,
            book: Book::default(),
        },
    );
    record.update(|_| {}).await?;
    let (log, pump) = LogPump::open(&bundle).map_err(|e| Error::new(Step::Log, e))?;
    let over = env.scope.detach_token().child_token();
    env.scope.spawn(pump.run(over.clone()));
    let over = over.drop_guard();
    let prepared = request.stdio.prepare(&bundle.dir(), &ProcessKey::Init)?;
    let options = request.options.to_any(binary.path(), &env.config.state);
    undo_bundle.defuse();
    phases.add(Phase::Bundle, began.elapsed());
    Ok(Draft {
        env,
        incarnation,
        reservation,
        binary,
        bundle,
        record,
        log,
        over,
        prepared,
        options,
        phases,
        announced: None,
    })
}

/// Takes the id; one that is just being given up is waited for.
async fn reserve(env: &Env, key: &TaskKey, incarnation: Incarnation) -> Result<Reservation, Error> {
    let patience = tokio::time::sleep(ID_PATIENCE);
    tokio::pin!(patience);
    loop {
        if env.scope.is_detaching() {
            return Err(Error::new(Step::Reserve, Refused::Detaching));
        }
        match env.registry.reserve(key, incarnation, Entry::Creating) {
            Ok(reservation) => return Ok(reservation),
            Err(refused @ (Refused::BeingDeleted | Refused::BeingAdopted)) => {
                tokio::select! {
                    () = env.registry.freed(key) => {}
                    () = &mut patience => return Err(Error::new(Step::Reserve, refused)),
                }
            }
            Err(refused) => return Err(Error::new(Step::Reserve, refused)),
        }
    }
}

async fn make_bundle(env: &Arc<Env>, request: &CreateTask, gid: Option<u32>) -> Result<Arc<Bundle>, Error> {
    let scope = env.scope.clone();
    let (env, key, json) = (env.clone(), request.key.clone(), request.spec.clone());
    let made = scope.spawn_blocking(move || {
        let spec = BundleSpec { json: &json, container_root_host_gid: gid };
        BundleDraft::create(&env.dirs, &key, &spec).map(BundleDraft::keep)
    });
    match made.await {
        Ok(Ok(bundle)) => Ok(Arc::new(bundle)),
        Ok(Err(error)) => Err(Error::new(Step::Bundle, error)),
        Err(join) => {
            Err(Error::io(Step::Bundle, "make", request.key.to_string(), std::io::Error::other(join)))
        }
    }
}

/// Runs the `start` action, and connects.
async fn launch(mut draft: Draft, gave_up: &CancellationToken) -> Result<Launched, Error> {
    match withdrawable(gave_up, &draft.env.clone(), Box::pin(launch_and_dial(&mut draft))).await {
        Ok(dialed) => Ok(Launched { draft, dialed }),
        Err(error) => {
            let found = diagnosis::of_launch(&error, draft.env.dirs.state());
            let error = error.diagnosed(found).at_shim(draft.binary.path()).with_shim_log(draft.log.tail());
            if let Cause::Launch(error) = error.cause() {
                draft.announced = error.announced().map(|params| params.address.clone());
            }
            draft.undo_launch().await;
            Err(error)
        }
    }
}

struct Launched {
    draft: Draft,
    dialed: Dialed,
}

/// A shim that answers.
struct Dialed {
    params: BootstrapParams,
    connection: Connection,
    greeting: Greeting,
}

async fn launch_and_dial(draft: &mut Draft) -> Result<Dialed, Error> {
    let env = draft.env.clone();
    let key = draft.bundle.key().clone();
    let mut lap = Instant::now();
    let context = env.launch_context(&key, draft.incarnation);
    let params = {
        let _turn = env.launches.acquire().await;
        let deadline = env.config.deadlines.launch;
        draft
            .binary
            .start(&context, &draft.bundle, draft.options.as_ref(), &env.dialects, deadline)
            .await
            .map_err(|e| Error::new(Step::Launch, e))?
            .params
    };
    draft.announced = Some(params.address.clone());
    draft.phases.lap(Phase::Launch, &mut lap);
    // The shim is still starting up when its binary has answered: the time to write down what it said.
    let (written, dialed) =
        tokio::join!(write_what_was_said(draft, &params), dial_and_greet(&env, &key, &params));
    let (connection, greeting) = dialed?;
    written.inspect_err(|_| connection.close())?;
    draft.phases.lap(Phase::Dial, &mut lap);
    Ok(Dialed { params, connection, greeting })
}

async fn dial_and_greet(
    env: &Env,
    key: &TaskKey,
    params: &BootstrapParams,
) -> Result<(Connection, Greeting), Error> {
    let connection =
        dialing::dial(env, key, params, DialMode::Fresh).await.map_err(|e| Error::new(Step::Dial, e))?;
    let deadline = env.config.deadlines.dial;
    dialing::greet(key.id.as_str(), connection.clone(), deadline).await.map_err(|e| {
        connection.close();
        Error::new(Step::Probe, e)
    })
}

async fn write_what_was_said(draft: &Draft, params: &BootstrapParams) -> Result<(), Error> {
    let (bundle, binary, params) = (draft.bundle.clone(), draft.binary.clone(), params.clone());
    let written = draft.env.scope.spawn_blocking(move || {
        binary.remember(&bundle).map_err(Cause::from)?;
        params.write(&bundle).map_err(Cause::from)
    });
    match written.await {
        Ok(result) => result.map_err(|e| Error::new(Step::Bundle, e)),
        Err(join) => Err(Error::io(Step::Bundle, "write", draft.bundle.dir(), std::io::Error::other(join))),
    }
}

/// From here on the shim has a supervisor, which does the undoing.
async fn make(launched: Launched, request: CreateTask, gave_up: &CancellationToken) -> Result<Made, Error> {
    let Launched { draft, dialed: Dialed { params, connection, greeting } } = launched;
    let Draft {
        env,
        incarnation,
        reservation,
        binary,
        bundle,
        record,
        log,
        over,
        prepared,
        options,
        mut phases,
        announced: _,
    } = draft;
    let parts = Parts {
        env: env.clone(),
        key: request.key.clone(),
        incarnation,
        binary,
        bundle,
        record,
        ledger: Ledger::new(Book::default()),
        log,
        over: over.disarm(),
        connection: Some(connection),
    };
    let (shim, requests) = Shim::new(parts, Link::Up);
    match identify::shim(&shim, greeting.shim_pid).await {
        Who::Ours(identity) => shim.set_identity(Some(identity)),
        Who::Foreign(identity) => shim.set_foreign(identity),
        Who::Marked => shim.set_identity(None),
    }
    let ticket = reservation.fulfil(&shim);
    let (supervisor, permit) = Supervisor::new(shim.clone(), ticket, requests);
    env.scope.spawn(supervisor.run());

    let mut lap = Instant::now();
    let made = withdrawable(gave_up, &env, create_task(&shim, &request, &params, &prepared, options)).await;
    phases.lap(Phase::Create, &mut lap);
    match made {
        Ok(()) => {
            if let Some(plumbing) = prepared.plumb(&shim, &ProcessKey::Init) {
                shim.set_plumbing(&ProcessKey::Init, plumbing);
            }
            shim.set_phases(phases);
            monitor::watch_once(&shim, &ProcessKey::Init);
            Ok(Made { shim, permit })
        }
        Err(error) => {
            give_back(&shim, permit, error.kind()).await;
            Err(error)
        }
    }
}

/// Has the shim make the task, and notes down what is known of it then.
async fn create_task(
    shim: &Arc<Shim>,
    request: &CreateTask,
    params: &BootstrapParams,
    prepared: &Prepared,
    options: Option<Any>,
) -> Result<(), Error> {
    // Before `Create` is sent: a record without the address says that there is nothing to delete.
    let (identity, foreign, params) = (shim.identity(), !shim.is_ours(), params.clone());
    let noted = move |record: &mut Record| {
        (record.shim, record.shim_is_foreign, record.bootstrap) = (identity, foreign, Some(params));
    };
    shim.record.update(noted).await?;
    let paths = &prepared.paths;
    let message = CreateTaskRequest {
        id: request.key.id.to_string(),
        bundle: shim.bundle.dir().to_string_lossy().into_owned(),
        rootfs: request.rootfs.iter().map(convert::mount).collect(),
        terminal: paths.terminal,
        stdin: paths.stdin.clone(),
        stdout: paths.stdout.clone(),
        stderr: paths.stderr.clone(),
        checkpoint: request.checkpoint.clone(),
        options: options.map(convert::any),
        ..CreateTaskRequest::default()
    };
    let deadline = shim.env.config.deadlines.create;
    let pid =
        match shim.call("Create", deadline, |c, call| async move { c.create(&call, &message).await }).await {
            Ok(answer) => answer.pid,
            Err(error) => return Err(diagnosis::explain(shim, &ProcessKey::Init, error).await),
        };
    shim.ledger.created(pid);
    let init = identify::hold_init(shim, pid);
    let identity = init.as_ref().map(|pidfd| *pidfd.identity());
    shim.hold_init(init);
    let book = shim.ledger.snapshot();
    shim.record
        .update(move |record| {
            record.init = identity;
            record.stage = Stage::Live;
            record.book = book;
        })
        .await
}

/// Ends the shim of a task that was not made, and waits for it, so that the id is free when the caller hears of it.
async fn give_back(shim: &Shim, permit: Permit, failure: Kind) {
    // A shim that has had such a task before keeps it: that one is not ours to delete.
    if failure != Kind::AlreadyExists {
        let request = DeleteRequest { id: shim.key.id.to_string(), ..DeleteRequest::default() };
        let deadline = shim.env.config.deadlines.shutdown;
        // It lets a live shim clear up its own; what it leaves is reaped either way.
        let _ = shim.call("Delete", deadline, |c, call| async move { c.delete(&call, &request).await }).await;
    }
    permit.settle(Fate::End).await;
}

/// Runs `step`, unless nobody waits for it any more or the manager leaves.
async fn withdrawable<T>(
    gave_up: &CancellationToken,
    env: &Env,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        result = step => result,
        () = gave_up.cancelled() => Err(Error::new(Step::Check, Refused::Withdrawn)),
        () = env.scope.detach_token().cancelled() => Err(Error::new(Step::Check, Refused::Detaching)),
    }
}
