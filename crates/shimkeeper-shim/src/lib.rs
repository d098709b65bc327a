// SPDX-License-Identifier: Apache-2.0
//! One shim, no policy: bundle, runtime resolution, launch, bootstrap, connection, Task API, logs, identity.

mod address;
mod api;
mod bootstrap;
mod bundle;
mod call;
mod connection;
mod dial;
mod dirs;
mod elsewhere;
pub mod failpoint;
mod fs;
mod identity;
mod launch;
mod logs;
mod method;
pub mod mounts;
mod open_files;
mod resolve;
mod sandbox_api;
mod task_api;
#[cfg(test)]
mod test_support;
mod text;
mod trace;

pub use address::{Address, AddressError};
pub use api::{ApiError, TaskApi};
pub use bootstrap::{BootstrapError, BootstrapFileError, BootstrapParams};
pub use bundle::{Bundle, BundleDraft, BundleError, BundleSpec, Bundles, Swept};
pub use call::{Call, CallError, Cause};
pub use connection::{CloseReason, Connection, LongAnswer};
pub use dial::{DialError, DialMode};
pub use dirs::{DirsError, Listing, RemoveDirsError, StateDirs};
pub use elsewhere::{elsewhere, elsewhere_or_here};
pub use fs::{Durability, FsError, write_atomic};
pub use identity::{
    AttachLock, BootId, Cgroup, Findings, IdentityError, Launch, ParseBootIdError, Pidfd, ProcessExit,
    ProcessIdentity, ShimProcesses, Stray, find_by_mark, is_go_program, listening_socket, mark_of, program,
    strays,
};
pub use launch::{
    Action, Dialect, DialectMemory, Ended, LaunchContext, LaunchError, ReapAnswer, RuntimeInfo, Started,
};
pub use logs::{LogCounters, LogError, Logs, ShimLog};
pub use open_files::{expect_open_files, open_files_run_short, raise_open_files};
pub use resolve::{FileVersion, ResolveError, Runtime, SearchPath, ShimBinary, resolve};
pub use trace::TraceContext;
