// SPDX-License-Identifier: Apache-2.0
//! What all shims of a manager share: its directories, its way of launching, its registry, exchange and tasks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shimkeeper_core::{HasKind, Incarnation, TaskKey};
use shimkeeper_events::{Envelope, Exchange};
use shimkeeper_shim::{
    BootId, DialectMemory, IdentityError, LaunchContext, Logs, ProcessIdentity, Runtime, SearchPath,
    ShimProcesses, StateDirs,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::attaching::Attaching;
use crate::config::Config;
use crate::deadlines::Timing;
use crate::features::Infos;
use crate::group::Groups;
use crate::journaling::Journaling;
use crate::observer::observed;
use crate::registry::Registry;
use crate::role::Role;
use crate::scope::Scope;
use crate::shim::Shim;
use crate::turns::Turns;

/// The surroundings of every shim of one manager.
pub(crate) struct Env {
    pub(crate) config: Config,
    /// Those of every shim that has none of its runtime.
    pub(crate) deadlines: Timing,
    pub(crate) runtime_deadlines: Vec<(Runtime, Timing)>,
    /// Those whose `delete` action runs after a clean end, too.
    pub(crate) always_reaped: Vec<Runtime>,
    /// Whether shims that are launched log in detail.
    pub(crate) debug: AtomicBool,
    pub(crate) dirs: StateDirs,
    /// The same, with the bundles of sandboxes.
    pub(crate) sandbox_dirs: StateDirs,
    pub(crate) boot_id: BootId,
    pub(crate) search: SearchPath,
    pub(crate) dialects: DialectMemory,
    /// `-address`: not necessarily listened on, but unique to these directories.
    pub(crate) address: String,
    /// Where shims send events.
    pub(crate) events_socket: PathBuf,
    pub(crate) publish_binary: PathBuf,
    pub(crate) registry: Registry,
    /// The ids of sandboxes: those of tasks are others.
    pub(crate) sandboxes: Registry,
    pub(crate) groups: Groups,
    pub(crate) infos: Infos,
    pub(crate) exchange: Exchange,
    /// How many events of tasks have come in, whether or not there is such a task.
    pub(crate) task_events: AtomicU64,
    /// Where events are kept; none if the embedder does not want them kept.
    pub(crate) journaling: Option<Arc<Journaling>>,
    pub(crate) scope: Scope,
    /// Cancelled once every bundle that was found at the start has its seat: nothing is ended before.
    pub(crate) all_are_seated: CancellationToken,
    pub(crate) logs: Logs,
    /// Cancelled once every shim that was found at the start has been asked who it is, but for those that are slow.
    pub(crate) rush_is_over: CancellationToken,
    /// The turn of what is asked of those shims after that: one after the other, so that callers come in between.
    pub(crate) late_turn: Semaphore,
    /// The turn of bundles that are looked at again: each has files open for a moment, of which there may be few.
    pub(crate) another_look: Arc<Semaphore>,
    pub(crate) attaching: Attaching,
    /// At making tasks, from the launch of the shim to the end of `Create`.
    pub(crate) creations: Turns,
    /// At running shim binaries: a thousand creates must not be a thousand forks.
    pub(crate) launches: Turns,
    /// The same for `delete` actions, which must go on when launches hang.
    pub(crate) reaps: Turns,
}

impl Env {
    /// Publishes an event that the manager answers for: at once, and into the journal. Never waits. `to_expected` for one
    /// of a task that was there before us, whose listeners may not be back yet.
    pub(crate) fn publish(&self, event: &Arc<Envelope>, to_expected: bool) {
        if let Some(journaling) = &self.journaling {
            journaling.take(event);
        }
        if to_expected {
            self.exchange.publish_to_expected(event);
        } else {
            self.exchange.publish(event);
        }
    }

    /// How many events have been published for the journal.
    pub(crate) fn published(&self) -> u64 {
        self.journaling.as_ref().map_or(0, |journaling| journaling.came())
    }

    /// Whether so many of them are in the journal, or lost to it.
    pub(crate) fn is_journaled(&self, published: u64) -> bool {
        self.journaling.as_ref().map_or(0, |journaling| journaling.dealt_with()) >= published
    }

    /// Waits until everything published so far is in the journal, or lost to it; `false` if that takes too long.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn journaled(&self) -> bool {
        match &self.journaling {
            Some(journaling) => journaling.settled().await,
            None => true,
        }
    }

    /// The same for whoever has time, while the manager does not leave.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn journaled_in_time(&self) -> bool {
        match &self.journaling {
            Some(journaling) => journaling.settled_in_time(self.scope.detach_token()).await,
            None => true,
        }
    }

    /// Asks a shim with this binary something, and tells whoever observes how it went.
    ///
    /// # Cancel safety
    /// That of `asking`.
    pub(crate) async fn observed<T, E: HasKind>(
        &self,
        binary: &Path,
        method: &'static str,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        observed(self.config.observer.as_ref(), binary, method, asking).await
    }

    /// How long a shim with this binary may take.
    pub(crate) fn timing_of(&self, binary: &Path) -> Timing {
        let own = self.runtime_deadlines.iter().find(|(runtime, _)| runtime.has_binary(binary));
        own.map_or(&self.deadlines, |(_, timing)| timing).clone()
    }

    /// Whether the `delete` action of a shim with this binary runs after a clean end, too.
    pub(crate) fn always_reaps(&self, binary: &Path) -> bool {
        self.config.always_reap || self.always_reaped.iter().any(|runtime| runtime.has_binary(binary))
    }

    /// Has a thread for what blocks look at files that are where somebody else said, which may be on a disk that hangs;
    /// waits for that as long as a launch may take.
    ///
    /// # Cancel safety
    /// Once it was polled, it happens; only its result is lost.
    pub(crate) async fn in_time<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        Ok(timeout(self.deadlines.now().launch, self.scope.spawn_blocking(work)).await??)
    }

    /// Where the bundles of this role are.
    pub(crate) fn dirs_of(&self, role: Role) -> &StateDirs {
        match role {
            Role::Task => &self.dirs,
            Role::Sandbox => &self.sandbox_dirs,
        }
    }

    /// The ids in use in this role.
    pub(crate) fn registry_of(&self, role: Role) -> &Registry {
        match role {
            Role::Task => &self.registry,
            Role::Sandbox => &self.sandboxes,
        }
    }

    /// Everything that has a shim, in either role.
    pub(crate) fn all_shims(&self) -> Vec<Arc<Shim>> {
        let mut shims = self.registry.shims();
        shims.extend(self.sandboxes.shims());
        shims
    }

    /// The processes of those that were launched here.
    pub(crate) fn own_shims(&self) -> Vec<ProcessIdentity> {
        self.all_shims().iter().filter(|shim| shim.is_ours()).filter_map(|shim| shim.identity()).collect()
    }

    /// What works in bundles of either role, and looks like a shim. Blocking.
    ///
    /// # Errors
    /// [`IdentityError`] if that cannot be found out.
    pub(crate) fn shim_processes(&self) -> Result<ShimProcesses, IdentityError> {
        ShimProcesses::now(&[&self.dirs, &self.sandbox_dirs])
    }

    /// What a shim binary is told when it is run for a task.
    pub(crate) fn launch_context(&self, key: &TaskKey, incarnation: Incarnation) -> LaunchContext {
        LaunchContext {
            key: key.clone(),
            address: self.address.clone(),
            ttrpc_address: self.events_socket.clone(),
            publish_binary: self.publish_binary.clone(),
            debug: self.debug.load(Ordering::Relaxed),
            env: self.config.env.clone(),
            mark: incarnation,
            socket_dir: self.config.socket_dir.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
