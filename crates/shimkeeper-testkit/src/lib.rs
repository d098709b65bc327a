// SPDX-License-Identifier: Apache-2.0
//! What the tests share: the scripted fake shim, an event recorder, private directories, and the [`oracle`] that says
//! what must be true after every fault.
//!
//! The fake shim comes in two forms with one model and one script. [`FakeShim`] lives in the test's process, on any
//! stream and under a paused clock. The binary `containerd-shim-fake-v2`, found by [`fake_shim_binary`], is a shim
//! as a manager meets it: a helper that starts a server, real child processes, a `delete` action. Neither needs
//! root or a container.
//!
//! The wire code is the testkit's own: see `wire`.

mod binary;
mod containerd;
pub mod deps;
mod dirs;
mod fake;
mod grpc;
mod host;
mod lease;
mod leftovers;
mod locate;
mod model;
pub mod oracle;
mod outbox;
mod procs;
mod publisher;
mod recorder;
mod script;
mod shim;
mod spec;
mod stamp;
mod standstill;
mod terminal;
mod wire;

pub use binary::main as fake_shim_main;
pub use containerd::Containerd;
pub use dirs::TestDirs;
pub use fake::FakeShim;
pub use lease::Lease;
pub use leftovers::{FoundProcess, Leftovers};
pub use locate::{fake_shim_binary, shimkeeper_binary};
pub use procs::stop_process;
pub use recorder::{EventRecorder, NotSeen, Recorded};
pub use script::{
    ANNOTATION, Act, Answer, BUNDLE_FILE, Blob, DeleteAct, Dialect, Emission, Events, Format, LogText,
    Method, Rule, SCRIPT_ENV, SOCKET_DIR_ENV, SandboxService, Script, ScriptError, StartStep, When,
};
pub use shim::{Received, SANDBOX_EXIT};
pub use spec::{TEST_CGROUP, TestSpec};
pub use standstill::Standstill;
pub use terminal::Terminal;
