// SPDX-License-Identifier: Apache-2.0
//! Making a sandbox, which is a transaction as making a task is, and starting it.

use std::sync::Arc;

use shimkeeper_core::{Any, Kind, ProcessKey};
use shimkeeper_proto::containerd::runtime::sandbox::v1 as wire;
use tokio_util::sync::CancellationToken;

use super::request::CreateSandbox;
use super::state::SandboxStarted;
use crate::create::Made;
use crate::env::Env;
use crate::error::{Error, Refused, Step};
use crate::launching::{self, How, Launched, Order, withdrawable};
use crate::ledger::{StartTurn, Told};
use crate::limit::Limit;
use crate::machine::Fate;
use crate::record::Stage;
use crate::role::Role;
use crate::shim::Shim;
use crate::{convert, identify, monitor, publish};

/// Makes the sandbox. `gave_up` fires when nobody waits for it any more.
pub(crate) async fn create(
    env: Arc<Env>,
    request: CreateSandbox,
    gave_up: CancellationToken,
) -> Result<Made, Error> {
    let key = request.key.to_bundle_key();
    let order = Order {
        role: Role::Sandbox,
        key: &key,
        spec: &request.spec,
        container_root_host_gid: None,
        group: None,
        has_idmapped_mounts: false,
        options: &request.options,
        launch_options: None,
        how: How::Launch(&request.runtime),
    };
    let making = async {
        let draft = launching::prepare(env.clone(), order).await?;
        let Launched { shim, permit, options, .. } = Box::pin(launching::launch(draft, &gave_up)).await?;
        match withdrawable(&gave_up, &env, make(&shim, &request, options)).await {
            Ok(()) => Ok(Made { shim, permit }),
            Err(error) => {
                // Waited for, so that the id is free when the caller hears of it.
                permit.settle(Fate::End).await;
                Err(error)
            }
        }
    };
    making.await.map_err(|error: Error| error.of(&key))
}

async fn make(shim: &Arc<Shim>, request: &CreateSandbox, options: Option<Any>) -> Result<(), Error> {
    let message = wire::CreateSandboxRequest {
        sandbox_id: shim.key.id.to_string(),
        bundle_path: shim.bundle.dir().to_string_lossy().into_owned(),
        rootfs: request.rootfs.iter().map(convert::mount).collect(),
        options: options.map(convert::any),
        netns_path: request.netns.clone(),
        annotations: request.annotations.clone(),
    };
    let deadline = shim.deadlines().create;
    shim.call("CreateSandbox", deadline, |c, call| async move { c.create_sandbox(&call, &message).await })
        .await?;
    shim.ledger.created(0);
    publish::decided(shim, None, |ledger| ledger.announce(&ProcessKey::Init, Told::Made));
    shim.persist_and(|record| record.stage = Stage::Live).await
}

/// Starts it.
pub(super) async fn start(shim: &Arc<Shim>, limit: Limit) -> Result<SandboxStarted, Error> {
    let refuse = |refused: Refused| Error::new(Step::Call("StartSandbox"), refused).of(&shim.key);
    let turn = shim.ledger.begin_start(&ProcessKey::Init).map_err(refuse)?;
    let doubt = InDoubt(shim);
    if turn == StartTurn::AfterUnsure {
        tracing::debug!(
            namespace = %shim.key.namespace, sandbox = %shim.key.id,
            "an earlier start was never answered: the shim decides"
        );
    }
    let request = wire::StartSandboxRequest { sandbox_id: shim.key.id.to_string() };
    let deadline = limit.begin().cap(shim.deadlines().start);
    let answer = shim
        .call("StartSandbox", deadline, |c, call| async move { c.start_sandbox(&call, &request).await })
        .await;
    match answer {
        Ok(answer) => {
            doubt.resolved();
            started(shim, answer.pid).await;
            Ok(SandboxStarted::new(answer))
        }
        Err(error) => {
            if !matches!(error.kind(), Kind::DeadlineExceeded | Kind::Unavailable | Kind::Canceled) {
                doubt.resolved();
                shim.ledger.start_refused(&ProcessKey::Init);
            }
            Err(error)
        }
    }
}

/// Notes, and tells, that it runs.
async fn started(shim: &Arc<Shim>, pid: u32) {
    shim.ledger.started(&ProcessKey::Init, pid);
    shim.hold_init(identify::hold_init(shim, pid));
    publish::decided(shim, None, |ledger| ledger.announce(&ProcessKey::Init, Told::Started));
    let init = shim.init_identity();
    let noted = shim.persist_and(move |record| record.init = init);
    if let Err(error) = noted.await {
        tracing::warn!(
            namespace = %shim.key.namespace, sandbox = %shim.key.id, %error,
            "the start could not be recorded"
        );
    }
    monitor::watch_once(shim, &ProcessKey::Init);
}

/// A start whose answer is not awaited to the end leaves the sandbox in doubt, not blocked.
struct InDoubt<'a>(&'a Shim);

impl InDoubt<'_> {
    fn resolved(self) {
        std::mem::forget(self);
    }
}

impl Drop for InDoubt<'_> {
    fn drop(&mut self) {
        self.0.ledger.start_unsure(&ProcessKey::Init);
    }
}
