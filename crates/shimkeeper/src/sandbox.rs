// SPDX-License-Identifier: Apache-2.0
//! Sandboxes: shims that are launched for several tasks, which join them. The handle of one, and what can be done with
//! it.
//!
//! A sandbox has a supervisor, a record and a ledger as a task has, so its life is decided, and told, in the same way:
//! one create, one start, one exit, whatever its shim says and however often this program is started anew.

mod end;
mod join;
mod make;
mod request;
mod state;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shimkeeper_core::{Exit, Incarnation, ProcessKey, SandboxKey};
use shimkeeper_proto::containerd::runtime::sandbox::v1 as wire;
use shimkeeper_shim::BootstrapParams;

use crate::convert;
use crate::error::Error;
use crate::health::Health;
use crate::limit::Limit;
use crate::process;
use crate::shim::Shim;
use crate::stats::Stats;

pub(crate) use join::how;
pub(crate) use make::create;
pub use request::CreateSandbox;
pub use state::{Platform, SandboxStarted, SandboxStatus};
pub(crate) use watch::{reconcile, wait_for};

/// A sandbox: a shim that tasks can be created in, with [`CreateTask::in_sandbox`](crate::CreateTask::in_sandbox). A
/// clone is another handle on the same one.
///
/// A handle is bound to one life of its id, as a [`Task`](crate::Task)'s is. Dropping every handle leaves the sandbox
/// running.
#[derive(Clone)]
pub struct Sandbox {
    shim: Arc<Shim>,
    limit: Limit,
}

impl Sandbox {
    pub(crate) fn new(shim: Arc<Shim>) -> Self {
        Self { shim, limit: Limit::default() }
    }

    /// The same sandbox, through a handle of which every call has to be over within `limit`, as
    /// [`Task::within`](crate::Task::within) has it.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self { limit: Limit::of(limit), ..self.clone() }
    }

    /// How its shim is doing.
    pub fn health(&self) -> Health {
        self.shim.vitals.get()
    }

    /// Namespace and id.
    pub fn key(&self) -> SandboxKey {
        SandboxKey::of_bundle_key(&self.shim.key)
    }

    /// Which life of the id this is.
    pub fn incarnation(&self) -> Incarnation {
        self.shim.incarnation
    }

    /// The binary of its shim.
    pub fn shim_binary(&self) -> &Path {
        self.shim.binary.path()
    }

    /// Process id of its shim, where that is known for certain.
    pub fn shim_pid(&self) -> Option<u32> {
        self.shim.identity().map(|identity| identity.pid)
    }

    /// The bundle directory.
    pub fn bundle(&self) -> PathBuf {
        self.shim.bundle.dir()
    }

    /// Where its shim listens, as containerd writes it for clients (`ttrpc+unix:///…`), and the version of the Task API
    /// it speaks there; `None` while that is not known.
    pub fn endpoint(&self) -> Option<(String, u32)> {
        let BootstrapParams { api, address } = BootstrapParams::read(&self.shim.bundle).ok()?;
        let address = match address.path() {
            Some(path) => format!("unix://{}", path.display()),
            None => address.to_string(),
        };
        Some((format!("{}+{address}", api.protocol()), api.version()))
    }

    /// The last lines its shim logged, escaped.
    pub fn shim_log(&self) -> Vec<String> {
        self.shim.log.tail()
    }

    /// How it ended, if it has, and how that is known.
    pub fn exit(&self) -> Option<Exit> {
        self.shim.ledger.exit(&ProcessKey::Init)
    }

    /// Starts it; from then on it takes tasks. It is started once in its life.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it starts; starting again finds out.
    pub async fn start(&self) -> Result<SandboxStarted, Error> {
        make::start(&self.shim, self.limit).await
    }

    /// What can run in it.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn platform(&self) -> Result<Platform, Error> {
        let request = wire::PlatformRequest { sandbox_id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().query);
        let answer = self
            .shim
            .call("Platform", deadline, |c, call| async move { c.sandbox_platform(&call, &request).await })
            .await?;
        Ok(Platform::new(answer.platform.unwrap_or_default()))
    }

    /// Asks the shim for its state. With `verbose` the shim may say more of itself.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn status(&self, verbose: bool) -> Result<SandboxStatus, Error> {
        let request = wire::SandboxStatusRequest { sandbox_id: self.id(), verbose };
        let deadline = self.limit.begin().cap(self.shim.deadlines().state);
        self.shim
            .call("SandboxStatus", deadline, |c, call| async move { c.sandbox_status(&call, &request).await })
            .await
            .map(SandboxStatus::new)
    }

    /// Asks whether the shim answers.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn ping(&self) -> Result<(), Error> {
        let request = wire::PingRequest { sandbox_id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().state);
        self.shim
            .call("PingSandbox", deadline, |c, call| async move { c.ping_sandbox(&call, &request).await })
            .await
            .map(drop)
    }

    /// What it uses, as its shim counts it.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn metrics(&self) -> Result<Stats, Error> {
        let request = wire::SandboxMetricsRequest { sandbox_id: self.id() };
        let deadline = self.limit.begin().cap(self.shim.deadlines().query);
        let answer =
            self.shim
                .call("SandboxMetrics", deadline, |c, call| async move {
                    c.sandbox_metrics(&call, &request).await
                })
                .await?;
        let data = answer.metrics.and_then(|metric| metric.data);
        Ok(Stats::decode(data.map(convert::from_any).unwrap_or_default()))
    }

    /// Waits until it ends, however long that takes, also when the shim dies meanwhile. The answer is the one that the
    /// exit event has.
    ///
    /// # Cancel safety
    /// Yes.
    pub async fn wait(&self) -> Result<Exit, Error> {
        process::wait(&self.shim, &ProcessKey::Init, self.limit).await
    }

    /// Stops it, within the time that is given to the shim for it (whole seconds; the shim's own choice if it is zero).
    /// It can still be asked for its state until it is shut down. One that is gone already is stopped.
    ///
    /// # Cancel safety
    /// Dropping it leaves open whether it stops.
    pub async fn stop(&self, within: Duration) -> Result<(), Error> {
        end::stop(&self.shim, within, self.limit).await
    }

    /// Ends it and its shim, and removes its bundle: nothing of it is left then, and the id is free. Answers how it
    /// ended.
    ///
    /// Refused with `FailedPrecondition` while there are tasks in it. A second one joins a running one.
    ///
    /// # Cancel safety
    /// Dropping it goes on in the background.
    pub async fn shutdown(&self) -> Result<Exit, Error> {
        end::shutdown(&self.shim, self.limit).await
    }

    fn id(&self) -> String {
        self.shim.key.id.to_string()
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("key", &self.key())
            .field("incarnation", &self.shim.incarnation)
            .finish_non_exhaustive()
    }
}
