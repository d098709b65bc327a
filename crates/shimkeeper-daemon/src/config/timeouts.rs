// SPDX-License-Identifier: Apache-2.0
//! The table `[timeouts]`: one key for each of the library's deadlines, and containerd's name where it has one.

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
        }

        impl Default for Timeouts {
            fn default() -> Self {
                let Deadlines { $($name,)+ .. } = Deadlines::default();
                Self { $($name,)+ }
            }
        }

        impl Timeouts {
            /// As the library wants them.
            pub(crate) fn deadlines(&self) -> Deadlines {
                let mut deadlines = Deadlines::default();
                $(deadlines.$name = self.$name;)+
                deadlines
            }

            /// The keys whose time is none.
            pub(super) fn zeroes(&self) -> impl Iterator<Item = &'static str> {
                [$((stringify!($name), self.$name),)+].into_iter().filter(|(_, time)| time.is_zero()).map(|(name, _)| name)
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
