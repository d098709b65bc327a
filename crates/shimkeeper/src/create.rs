// SPDX-License-Identifier: Apache-2.0
//! Creating a task: a transaction that undoes itself at every step and reaps what it launched.
//!
//! ```text
//! check → prepare → stdio → launch → Create → live
//!         └── launching.rs ──────┘  └ undone by the supervisor
//! ```
//!
//! It runs on a task of the manager's, so that a caller who leaves cannot leave half of it behind: the caller's
//! leaving is one more reason to undo.

mod request;

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use shimkeeper_core::{Any, Kind, ProcessKey};
use shimkeeper_proto::containerd::task::v3::{CreateTaskRequest, DeleteRequest};
use tokio_util::sync::CancellationToken;

use crate::env::Env;
use crate::error::{Error, Step};
use crate::launching::{self, Draft, Launched, Order, withdrawable};
use crate::machine::Fate;
use crate::phases::Phase;
use crate::record::Stage;
use crate::role::Role;
use crate::shim::{Permit, Shim};
use crate::stdio::Prepared;
use crate::{convert, diagnosing, events_endpoint, identify, monitor, oci, sandbox};

pub use request::CreateTask;
pub(crate) use request::Options;

/// A task that was made and has not been taken by who asked for it. Dropped, it ends: so it does not matter at which
/// moment a caller leaves.
pub(crate) struct Made {
    pub(crate) shim: Arc<Shim>,
    pub(crate) permit: Permit,
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
    Box::pin(transact(env, request, &gave_up)).await.map_err(|error| error.of(&key))
}

async fn transact(env: Arc<Env>, request: CreateTask, gave_up: &CancellationToken) -> Result<Made, Error> {
    let checked = oci::check(&request.spec).map_err(|e| Error::new(Step::Check, e))?;
    request.check_checkpoint(&env).await?;
    request.stdio.make_file(&env).await?;
    let order = Order {
        role: Role::Task,
        key: &request.key,
        spec: &request.spec,
        container_root_host_gid: checked.container_root_host_gid,
        group: checked.group,
        has_idmapped_mounts: checked.wants_idmapped_mounts,
        options: &request.options,
        launch_options: request.launch_options.clone(),
        how: sandbox::how(&env, &request).await?,
    };
    let mut draft = launching::prepare(env.clone(), order).await?;
    let prepared = request.stdio.prepare(&draft.bundle.dir(), &ProcessKey::Init)?;
    let mut lap = Instant::now();
    let turn = withdrawable(gave_up, &env, async { Ok(env.creations.take().await) }).await?;
    draft.phases.lap(Phase::Turn, &mut lap);
    let making = launch_and_create(draft, &request, &prepared, gave_up);
    let (Launched { shim, permit, phases, .. }, made) = turn.use_for(pin!(making)).await?;
    match made {
        Ok(()) => {
            crate::failpoint::hit("C7-live");
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

/// Launches the shim, and has it make the task; tells whether it did.
async fn launch_and_create(
    draft: Draft,
    request: &CreateTask,
    prepared: &Prepared,
    gave_up: &CancellationToken,
) -> Result<(Launched, Result<(), Error>), Error> {
    let env = draft.env.clone();
    // While the shim starts up, the kernel's wait can pass that its runtime would have.
    let _expected = env.attaching.expect(&env.scope);
    let mut launched = Box::pin(launching::launch(draft, gave_up)).await?;
    let mut lap = Instant::now();
    let options = launched.options.take();
    let made = withdrawable(gave_up, &env, create_task(&launched.shim, request, prepared, options)).await;
    launched.phases.lap(Phase::Create, &mut lap);
    Ok((launched, made))
}

/// Has the shim make the task, and notes down what is known of it then.
async fn create_task(
    shim: &Arc<Shim>,
    request: &CreateTask,
    prepared: &Prepared,
    options: Option<Any>,
) -> Result<(), Error> {
    crate::failpoint::hit("C6");
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
    let deadline = shim.deadlines().create;
    let pid =
        match shim.call("Create", deadline, |c, call| async move { c.create(&call, &message).await }).await {
            Ok(answer) => answer.pid,
            Err(error) => return Err(diagnosing::explain(shim, &ProcessKey::Init, error).await),
        };
    crate::failpoint::hit("C7");
    shim.ledger.created(pid);
    shim.denial.believe();
    for (fact, envelope) in shim.early.end() {
        events_endpoint::take_in_fact(shim, fact, &envelope).await;
    }
    let init = identify::hold_init(shim, pid);
    let identity = init.as_ref().map(|pidfd| *pidfd.identity());
    shim.hold_init(init);
    let cgroup = shim.cgroup();
    shim.persist_and(move |record| {
        record.init = identity;
        record.cgroup = cgroup;
        record.stage = Stage::Live;
    })
    .await
}

/// Ends the shim of a task that was not made, and waits for it, so that the id is free when the caller hears of it.
async fn give_back(shim: &Shim, permit: Permit, failure: Kind) {
    // A shim that has had such a task before keeps it: that one is not ours to delete.
    if failure != Kind::AlreadyExists {
        let request = DeleteRequest { id: shim.key.id.to_string(), ..DeleteRequest::default() };
        let deadline = shim.deadlines().shutdown;
        // It lets a live shim clear up its own; what it leaves is reaped either way.
        let _ = shim.call("Delete", deadline, |c, call| async move { c.delete(&call, &request).await }).await;
    }
    permit.settle(Fate::End).await;
}
