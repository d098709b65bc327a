// SPDX-License-Identifier: Apache-2.0
//! What of a running daemon can be looked at or changed from outside: by a signal, and by its own end.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use shimkeeper::Manager;
use shimkeeper_store::Store;

use crate::accept::Gate;
use crate::calls::Calls;
use crate::config::{Config, ConfigError, Sources};
use crate::logging::Log;
use crate::{memory, notify};

/// The parts, and what sets them.
pub(crate) struct Controls {
    pub(crate) sources: Sources,
    pub(crate) config: Config,
    pub(crate) log: Log,
    pub(crate) parts: Parts,
}

/// The parts that do not stand still. A clone is another handle on the same.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) manager: Manager,
    pub(crate) store: Store,
    pub(crate) gate: Arc<Gate>,
    pub(crate) calls: Calls,
    pub(crate) started: Instant,
    /// How long the adoption took, once it is over.
    pub(crate) adopted: Arc<OnceLock<Duration>>,
}

impl Controls {
    /// There is a verdict on everything that was found.
    pub(crate) fn note_adopted(&self) {
        // What reading all of them took is not needed again.
        memory::give_back();
        // Noted once: the first time is when it was over.
        let _ = self.parts.adopted.set(self.parts.started.elapsed());
    }

    /// Takes over a configuration that was read again. One that is wrong changes nothing.
    pub(crate) fn reload(&mut self, read: Result<Config, ConfigError>) {
        match read {
            Ok(new) => self.apply(new),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the configuration stays as it was");
            }
        }
        notify::ready();
    }

    fn apply(&mut self, new: Config) {
        let fixed = self.config.fixed_differences(&new);
        if !fixed.is_empty() {
            tracing::warn!(?fixed, "these changes of the configuration count from the next start on");
        }
        let Parts { manager, gate, calls, .. } = &self.parts;
        gate.set(new.limits.connections, new.limits.connections_per_user);
        calls.set_most_per_connection(new.limits.calls_per_connection);
        manager.set_deadlines(new.timeouts.deadlines());
        for (runtime, deadlines) in new.timeouts.by_runtime() {
            manager.set_deadlines_for(runtime, &deadlines);
        }
        self.log.set_level(new.debug.level);
        manager.set_debug(new.debug.level.is_detailed());
        (self.config.limits, self.config.timeouts) = (new.limits, new.timeouts);
        self.config.debug.level = new.debug.level;
        tracing::info!("configuration read again");
    }
}
