// SPDX-License-Identifier: Apache-2.0
//! What all shims of a manager share: its directories, its way of launching, its registry, exchange and tasks.

use std::path::PathBuf;

use shimkeeper_core::{Incarnation, TaskKey};
use shimkeeper_events::Exchange;
use shimkeeper_shim::{BootId, DialectMemory, LaunchContext, SearchPath, StateDirs};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::registry::Registry;
use crate::scope::Scope;

/// The surroundings of every shim of one manager.
pub(crate) struct Env {
    pub(crate) config: Config,
    pub(crate) dirs: StateDirs,
    pub(crate) boot_id: BootId,
    pub(crate) search: SearchPath,
    pub(crate) dialects: DialectMemory,
    /// `-address`: not necessarily listened on, but unique to these directories.
    pub(crate) address: String,
    /// Where shims send events.
    pub(crate) events_socket: PathBuf,
    pub(crate) publish_binary: PathBuf,
    pub(crate) registry: Registry,
    pub(crate) exchange: Exchange,
    pub(crate) scope: Scope,
    /// Bounds how many shim binaries run at once: a thousand creates must not be a thousand forks.
    pub(crate) launches: Semaphore,
    /// The same for `delete` actions, which must go on when launches hang.
    pub(crate) reaps: Semaphore,
}

impl Env {
    /// What a shim binary is told when it is run for a task.
    pub(crate) fn launch_context(&self, key: &TaskKey, incarnation: Incarnation) -> LaunchContext {
        LaunchContext {
            key: key.clone(),
            address: self.address.clone(),
            ttrpc_address: self.events_socket.clone(),
            publish_binary: self.publish_binary.clone(),
            debug: self.config.debug,
            env: self.config.env.clone(),
            mark: incarnation,
            socket_dir: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
