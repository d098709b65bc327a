// SPDX-License-Identifier: Apache-2.0
//! From an order to a shim that answers and has a supervisor: a transaction that undoes itself at every step and reaps
//! what it launched. What is then made in the shim, a task or a sandbox, is the business of whoever ordered it.
//!
//! ```text
//! reserve → resolve → bundle → record → log → launch → sit → dial → probe → supervise
//!              └──── undone by drop and remove ──┘ └─ undone by undo_launch ┘
//! ```
//!
//! A shim may say that it is one which serves others already; then nothing new was launched. Should that one be on its
//! way out with the last of them, its end is waited for, and the shim launched again.

mod files;
mod undo;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shimkeeper_core::{Any, Incarnation, SandboxId, TaskKey};
use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, BundleSpec, Call, Connection, DialMode, Durability, ShimBinary, ShimLog,
};
use tokio_util::sync::CancellationToken;

use crate::create::Options;
use crate::deadlines::Deadlines;
use crate::dialing::{self, Greeting};
use crate::env::Env;
use crate::error::{Cause, Error, Refused, Step};
use crate::group::{GroupEnding, Seat};
use crate::identify::Who;
use crate::ledger::{Book, Ledger};
use crate::machine::Link;
use crate::phases::{Phase, Phases};
use crate::record::{Record, RecordFile};
use crate::registry::{Entry, Reservation};
use crate::role::Role;
use crate::shim::{Parts, Permit, Shim};
use crate::supervisor::Supervisor;
use crate::{diagnosing, identify, reap};

use files::Wanted;
use undo::UndoBundle;

pub(crate) use files::find;

/// How long a create waits for the id of a task that is just being deleted.
const ID_PATIENCE: Duration = Duration::from_secs(5);

/// How often a shim is launched before it is reported that the one to be joined is always on its way out.
const LAUNCHES: usize = 3;

/// The file in a bundle that names the sandbox a task is in, as containerd writes it.
const SANDBOX_FILE: &str = "sandbox";

/// What is ordered.
pub(crate) struct Order<'a> {
    pub(crate) role: Role,
    pub(crate) key: &'a TaskKey,
    /// Goes into the bundle as `config.json`; none if it is empty.
    pub(crate) spec: &'a [u8],
    pub(crate) container_root_host_gid: Option<u32>,
    /// Those it shares a shim with, as far as the spec says so.
    pub(crate) group: Option<String>,
    /// Whether the spec has mounts with id mappings of their own.
    pub(crate) has_idmapped_mounts: bool,
    pub(crate) options: &'a Options,
    /// What the binary's `start` action gets, if that is something else.
    pub(crate) launch_options: Option<Any>,
    pub(crate) how: How<'a>,
}

/// How the shim is come by.
pub(crate) enum How<'a> {
    /// It is launched: a runtime name or the path of a binary.
    Launch(&'a str),
    /// It runs, and serves others.
    Join(Point),
}

/// A shim that runs, to be joined.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) binary: ShimBinary,
    pub(crate) params: BootstrapParams,
    pub(crate) sandbox: SandboxId,
}

/// What is made before there is a connection. Undone by [`Draft::undo_launch`] or, before the launch, by drop.
pub(crate) struct Draft {
    pub(crate) env: Arc<Env>,
    role: Role,
    incarnation: Incarnation,
    binary: ShimBinary,
    deadlines: Arc<Deadlines>,
    pub(crate) bundle: Arc<Bundle>,
    undo: UndoBundle,
    record: Arc<RecordFile>,
    log: ShimLog,
    options: Option<Any>,
    launch_options: Option<Any>,
    join: Option<Point>,
    group: Option<String>,
    pub(crate) phases: Phases,
    /// Where the shim says it listens.
    announced: Option<Address>,
    /// Whether it is certain that nothing was launched.
    launched_nothing: bool,
}

/// A shim that answers, and the right to decide its fate.
pub(crate) struct Launched {
    pub(crate) shim: Arc<Shim>,
    pub(crate) permit: Permit,
    pub(crate) options: Option<Any>,
    pub(crate) phases: Phases,
}

/// A shim that answers and has no supervisor yet.
struct Dialed {
    params: BootstrapParams,
    seat: Seat,
    connection: Connection,
    greeting: Greeting,
}

/// Everything up to the launch: nothing of it runs, so undoing is removing.
pub(crate) async fn prepare(env: Arc<Env>, order: Order<'_>) -> Result<Draft, Error> {
    let mut phases = Phases::default();
    let began = Instant::now();
    let incarnation = Incarnation::fresh();
    let (wanted, join) = match order.how {
        How::Launch(runtime) => {
            (Wanted::Runtime(runtime.parse().map_err(|e| Error::new(Step::Check, e))?), None)
        }
        How::Join(point) => (Wanted::This(point.binary.clone()), Some(point)),
    };
    let reservation = reserve(&env, order.role, order.key, incarnation).await?;
    let spec = BundleSpec { json: order.spec, container_root_host_gid: order.container_root_host_gid };
    let (binary, undo) =
        files::find_and_make_bundle(&env, wanted, order.role, order.key, spec, reservation).await?;
    let bundle = undo.bundle();
    let options = order.options.to_any(binary.path(), &env.config.state);
    if order.has_idmapped_mounts {
        let patience = env.timing_of(binary.path()).now().info;
        env.infos.require_idmapped_mounts(&binary, options.as_ref(), patience).await?;
    }
    let record =
        RecordFile::new(&env.scope, bundle.clone(), Record::new(incarnation, env.boot_id, binary.clone()));
    record.update(|_| {}).await?;
    let log = env.logs.open(&bundle).map_err(|e| Error::new(Step::Log, e))?;
    let launch_options = order.launch_options.or_else(|| options.clone());
    phases.add(Phase::Bundle, began.elapsed());
    Ok(Draft {
        deadlines: env.timing_of(binary.path()).now(),
        env,
        role: order.role,
        incarnation,
        binary,
        bundle,
        undo,
        record,
        log,
        options,
        launch_options,
        join,
        group: order.group,
        phases,
        announced: None,
        launched_nothing: false,
    })
}

/// Takes the id; one that is just being given up is waited for.
async fn reserve(
    env: &Env,
    role: Role,
    key: &TaskKey,
    incarnation: Incarnation,
) -> Result<Reservation, Error> {
    let patience = tokio::time::sleep(ID_PATIENCE);
    tokio::pin!(patience);
    let registry = env.registry_of(role);
    loop {
        if env.scope.is_detaching() {
            return Err(Error::new(Step::Reserve, Refused::Detaching));
        }
        match registry.reserve(key, incarnation, Entry::Creating) {
            Ok(reservation) => return Ok(reservation),
            Err(refused @ (Refused::BeingDeleted | Refused::BeingAdopted)) => {
                let in_the_way = async {
                    match refused {
                        Refused::BeingAdopted => registry.concluded(key).await,
                        _ => registry.freed(key).await,
                    }
                };
                tokio::select! {
                    () = in_the_way => {}
                    () = &mut patience => return Err(Error::new(Step::Reserve, refused)),
                }
            }
            Err(refused) => return Err(Error::new(Step::Reserve, role.words(refused))),
        }
    }
}

/// Runs the `start` action, connects, and gives the shim its supervisor.
pub(crate) async fn launch(mut draft: Draft, gave_up: &CancellationToken) -> Result<Launched, Error> {
    draft.undo.defuse();
    match withdrawable(gave_up, &draft.env.clone(), Box::pin(launch_and_dial(&mut draft))).await {
        Ok(dialed) => Box::pin(supervise(draft, dialed)).await,
        Err(error) => {
            let found = diagnosing::of_launch(&draft.env, &error).await;
            let error = error.diagnosed(found).at_shim(draft.binary.path()).with_shim_log(draft.log.tail());
            if let Cause::Launch(error) = error.cause() {
                // Not at a second launch, either.
                draft.launched_nothing = error.found_no_process() && draft.announced.is_none();
                draft.announced = error.announced().map(|params| params.address.clone());
            }
            draft.undo_launch().await;
            Err(error)
        }
    }
}

async fn launch_and_dial(draft: &mut Draft) -> Result<Dialed, Error> {
    let env = draft.env.clone();
    let namespace = draft.bundle.key().namespace.clone();
    let turn = draft.group.as_ref().map(|group| env.groups.launching(&namespace, group));
    let _turn = match &turn {
        // However long the one before takes, this one is launched in the end.
        Some(turn) => tokio::time::timeout(draft.deadlines.launch, turn.acquire()).await.ok(),
        None => None,
    };
    let mut left = LAUNCHES;
    loop {
        left -= 1;
        let mut lap = Instant::now();
        let endings = env.groups.endings();
        crate::failpoint::hit("C3");
        let (params, mode) = start(draft).await?;
        crate::failpoint::hit("C4");
        draft.announced = Some(params.address.clone());
        draft.phases.lap(Phase::Launch, &mut lap);
        let seat = match env.groups.seat(&namespace, &params.address) {
            Ok(seat) => seat,
            Err(GroupEnding(over)) if left > 0 && draft.join.is_none() => {
                // However it ends, the next launch finds out.
                let _ = tokio::time::timeout(ending_takes(&draft.deadlines), over.cancelled()).await;
                end_earlier_launch(draft).await;
                continue;
            }
            Err(GroupEnding(_)) => return Err(Error::new(Step::Dial, Refused::GroupEnding)),
        };
        // The shim is still starting up when its binary has answered: the time to write down what it said.
        let (written, dialed) =
            tokio::join!(write_what_was_said(draft, &params), dial_and_greet(draft, &seat, &params, mode));
        let (connection, greeting) = match dialed {
            Err(error)
                if error.step() == Step::Dial
                    && left > 0
                    && draft.join.is_none()
                    && env.groups.has_ended_since(endings, &namespace, &params.address) =>
            {
                drop(seat);
                end_earlier_launch(draft).await;
                continue;
            }
            dialed => dialed?,
        };
        written.inspect_err(|_| connection.close())?;
        crate::failpoint::hit("C5");
        draft.phases.lap(Phase::Dial, &mut lap);
        return Ok(Dialed { params, seat, connection, greeting });
    }
}

/// Ends what was launched in vain. Mostly nothing: the shim to be joined was somebody else's launch. But one that was
/// launched just as the other went may have lost its socket to whoever cleared up after that, and nobody would find it.
async fn end_earlier_launch(draft: &Draft) {
    let (launch, patience) = (draft.record.launch(), draft.deadlines.signal);
    if let Err(reason) = reap::end_launch(&draft.env, &draft.bundle, launch, patience).await {
        tracing::error!(
            namespace = %draft.bundle.key().namespace, task = %draft.bundle.key().id, reason,
            "a shim that was launched in vain does not end"
        );
    }
}

/// Long enough for a shim to be asked, told and forced to go, and for what it left to be cleared up.
fn ending_takes(deadlines: &Deadlines) -> Duration {
    deadlines.shutdown + deadlines.signal * 2 + deadlines.reap
}

/// Where the shim listens, once it runs.
async fn start(draft: &Draft) -> Result<(BootstrapParams, DialMode), Error> {
    if let Some(point) = &draft.join {
        return Ok((point.params.clone(), DialMode::Existing));
    }
    let env = &draft.env;
    let context = env.launch_context(draft.bundle.key(), draft.incarnation);
    let turn = env.launches.take().await;
    let deadline = draft.deadlines.launch;
    let options = draft.launch_options.as_ref();
    let launch = draft.binary.start(&context, &draft.bundle, options, &env.dialects, deadline);
    let launch = env.observed(draft.binary.path(), "launch", Box::pin(launch));
    turn.use_for(pin!(launch))
        .await
        .map(|started| (started.params, DialMode::Fresh))
        .map_err(|e| Error::new(Step::Launch, e))
}

async fn dial_and_greet(
    draft: &Draft,
    seat: &Seat,
    params: &BootstrapParams,
    mode: DialMode,
) -> Result<(Connection, Greeting), Error> {
    let (id, deadline) = (draft.bundle.key().id.as_str(), draft.deadlines.dial);
    let connection = seat
        .connect(&draft.env.scope, params, mode, deadline)
        .await
        .map_err(|e| Error::new(Step::Dial, e))?;
    let greet = dialing::greet(draft.role, id, connection.clone(), Call::within(deadline));
    draft.env.observed(draft.binary.path(), "Connect", Box::pin(greet)).await.map_err(|e| {
        connection.close();
        Error::new(Step::Probe, e)
    })
}

async fn write_what_was_said(draft: &Draft, params: &BootstrapParams) -> Result<(), Error> {
    let (bundle, binary, params) = (draft.bundle.clone(), draft.binary.clone(), params.clone());
    let sandbox = draft.join.as_ref().map(|point| point.sandbox.clone());
    let written = draft.env.scope.in_state(move || {
        let bundle = bundle.opened().map_err(Cause::from)?;
        if let Some(sandbox) = sandbox {
            let id = sandbox.as_str().as_bytes();
            bundle.write_file_atomic(SANDBOX_FILE, id, 0o600, Durability::Process).map_err(Cause::from)?;
        }
        binary.remember(&bundle).map_err(Cause::from)?;
        crate::failpoint::hit("C4-remembered");
        params.write(&bundle).map_err(Cause::from)
    });
    match written.await {
        Ok(result) => result.map_err(|e| Error::new(Step::Bundle, e)),
        Err(join) => Err(Error::io(Step::Bundle, "write", draft.bundle.dir(), std::io::Error::other(join))),
    }
}

/// From here on the shim has a supervisor, which does the undoing.
async fn supervise(draft: Draft, dialed: Dialed) -> Result<Launched, Error> {
    let Draft { env, role, incarnation, undo, binary, bundle, record, log, .. } = draft;
    let Dialed { params, seat, connection, greeting } = dialed;
    let parts = Parts {
        env: env.clone(),
        role,
        key: bundle.key().clone(),
        incarnation,
        binary,
        bundle,
        record,
        ledger: Ledger::new(Book::default()),
        log,
        seat: Some(seat),
        is_found: false,
        connection: Some(connection),
    };
    let shim = Shim::new(parts, Link::Up);
    shim.early.begin();
    match identify::shim(&shim, greeting.shim_pid).await {
        Who::Ours(identity) => shim.set_identity(Some(identity)),
        Who::Foreign(identity) => shim.set_foreign(identity),
        Who::Marked => shim.set_identity(None),
    }
    let ticket = undo.into_reservation().fulfil(&shim);
    let (supervisor, permit) = Supervisor::new(shim.clone(), ticket);
    env.scope.spawn(supervisor.run());
    // Before anything is made in it: a record without the address says that there is nothing to delete.
    let (identity, foreign) = (shim.identity(), !shim.is_ours());
    let noted = shim.record.update(move |record: &mut Record| {
        (record.shim, record.shim_is_foreign, record.bootstrap) = (identity, foreign, Some(params));
    });
    if let Err(error) = noted.await {
        permit.settle(crate::machine::Fate::End).await;
        return Err(error);
    }
    Ok(Launched { shim, permit, options: draft.options, phases: draft.phases })
}

/// Runs `step`, unless nobody waits for it any more or the manager leaves.
pub(crate) async fn withdrawable<T>(
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
