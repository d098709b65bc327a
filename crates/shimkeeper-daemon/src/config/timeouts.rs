// SPDX-License-Identifier: Apache-2.0
//! The table `[timeouts]`: one key for each of the library's deadlines, and containerd's name where it has one; below
//! `runtimes`, the same for the shims of one runtime, as far as they differ.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shimkeeper::Deadlines;

use super::duration;

macro_rules! timeouts {
    ($($(#[$doc:meta])* $name:ident $(= $theirs:literal)?;)+) => {
        /// How long a shim may take for what.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Timeouts {
            $($(#[$doc])* #[serde(with = "duration" $(, alias = $theirs)?)] pub $name: Duration,)+
            /// What differs for the shims of one runtime, by its name or the path of its binary.
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            pub runtimes: BTreeMap<String, RuntimeTimeouts>,
        }

        /// How long the shims of one runtime may take, where that differs.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct RuntimeTimeouts {
            $($(#[$doc])* #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none" $(, alias = $theirs)?)]
            pub $name: Option<Duration>,)+
        }

        impl Default for Timeouts {
            fn default() -> Self {
                let Deadlines { $($name,)+ .. } = Deadlines::default();
                Self { $($name,)+ runtimes: BTreeMap::new() }
            }
        }

        impl Timeouts {
            /// As the library wants them.
            pub(crate) fn deadlines(&self) -> Deadlines {
                let mut deadlines = Deadlines::default();
                $(deadlines.$name = self.$name;)+
                deadlines
            }

            /// The same for each runtime that differs.
            pub(crate) fn by_runtime(&self) -> impl Iterator<Item = (&str, Deadlines)> {
                self.runtimes.iter().map(|(runtime, own)| {
                    let mut deadlines = self.deadlines();
                    $(deadlines.$name = own.$name.unwrap_or(deadlines.$name);)+
                    (runtime.as_str(), deadlines)
                })
            }

            /// The keys whose time is none.
            pub(super) fn zeroes(&self) -> impl Iterator<Item = &'static str> {
                let own = self.runtimes.values().flat_map(|own| [$((stringify!($name), own.$name),)+]);
                [$((stringify!($name), Some(self.$name)),)+]
                    .into_iter()
                    .chain(own)
                    .filter(|(_, time)| time.is_some_and(|time| time.is_zero()))
                    .map(|(name, _)| name)
            }
        }
    };
}

timeouts! {
    /// The shim binary's `start` action.
    launch;
    /// The shim binary's `-info` action.
    info;
    /// Connecting to the shim's socket.
    dial = "io.containerd.timeout.shim.load";
    /// `Create`.
    create;
    /// `Start` of a task or an exec.
    start;
    /// `Exec`.
    exec;
    /// `State`, and `Connect`.
    state = "io.containerd.timeout.task.state";
    /// `Kill`.
    kill;
    /// `Delete`.
    delete;
    /// `Pids`, `Stats`, `ResizePty`, `CloseIO`.
    query = "io.containerd.timeout.metrics.shimstats";
    /// `Pause`, `Resume`, `Update`.
    change;
    /// `Checkpoint`.
    checkpoint;
    /// `Shutdown`, before SIGTERM is tried.
    shutdown = "io.containerd.timeout.shim.shutdown";
    /// After SIGTERM, before SIGKILL.
    signal;
    /// The shim binary's `delete` action.
    reap = "io.containerd.timeout.shim.cleanup";
}
