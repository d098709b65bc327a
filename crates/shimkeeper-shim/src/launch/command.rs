// SPDX-License-Identifier: Apache-2.0
//! Arguments and environment of a shim's binary: containerd's, to the order of the flags.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shimkeeper_core::{Incarnation, TaskKey};
use tokio::process::Command;

use super::Action;
use crate::bundle::Bundle;
use crate::identity::MARK;
use crate::open_files;
use crate::resolve::ShimBinary;

/// What every run of a shim's binary is told about us and its task.
#[derive(Clone, Debug)]
pub struct LaunchContext {
    /// The task.
    pub key: TaskKey,
    /// What stands for us: containerd's gRPC address. Shims of runc make their own address from it, so it must
    /// stay the same for as long as a task may be joined.
    pub address: String,
    /// The ttrpc socket that events are sent to.
    pub ttrpc_address: PathBuf,
    /// The program a shim may run with `publish`.
    pub publish_binary: PathBuf,
    /// Whether the shim shall log in detail.
    pub debug: bool,
    /// More environment variables, for `start` only.
    pub env: Vec<(OsString, OsString)>,
    /// The life of the id this is for; every process that is launched carries it in its environment.
    pub mark: Incarnation,
    /// Where the shim shall put its socket; shims before 2.3 have no such choice and ignore it.
    pub socket_dir: Option<PathBuf>,
    /// Our version, as the shim is told.
    pub version: String,
}

/// What a service manager says to this process alone. runc takes `NOTIFY_SOCKET` for the container's.
const OF_THE_SERVICE_MANAGER: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The call for one task.
///
/// Our own environment is passed on, as containerd does: proxies, tracing and library paths reach the shim so.
pub(super) fn for_task(binary: &ShimBinary, action: Action, cx: &LaunchContext, bundle: &Bundle) -> Command {
    let mut command = plain(binary);
    command.arg("-namespace").arg(cx.key.namespace.as_str());
    command.arg("-address").arg(&cx.address);
    command.arg("-publish-binary").arg(&cx.publish_binary);
    command.arg("-id").arg(cx.key.id.as_str());
    if action == Action::Delete {
        command.arg("-bundle").arg(bundle.dir());
    }
    if cx.debug {
        command.arg("-debug");
    }
    command.arg(action.as_str());
    command.current_dir(bundle.dir());

    command.env("GOMAXPROCS", "2");
    // Still 2 although 3 is spoken: shims only look whether it is there.
    command.env("MAX_SHIM_VERSION", "2");
    command.env("TTRPC_ADDRESS", &cx.ttrpc_address);
    command.env("GRPC_ADDRESS", &cx.address);
    command.env("NAMESPACE", cx.key.namespace.as_str());
    if action == Action::Start {
        command.envs(cx.env.iter().map(|(name, value)| (name, value)));
    }
    // Last, so that no configuration hides whose process it is.
    command.env(MARK, cx.mark.to_string());
    if let Some(soft) = open_files::before() {
        limit_open_files(&mut command, soft);
    }
    command
}

/// Starts it with this soft limit, as far as the hard one goes. Only where it is another than ours: with something to
/// do in between, the spawn is a fork.
#[expect(
    unsafe_code,
    reason = "what runs in a child before it is another program must be promised to be harmless"
)]
fn limit_open_files(command: &mut Command, soft: u64) {
    let limit = move || {
        let hard = getrlimit(Resource::Nofile).maximum;
        let current = Some(hard.map_or(soft, |hard| hard.min(soft)));
        Ok(setrlimit(Resource::Nofile, Rlimit { current, maximum: hard })?)
    };
    // SAFETY: two system calls; nothing is allocated, no lock is taken.
    unsafe { command.pre_exec(limit) };
}

/// The binary, in a process group of its own, with pipes.
pub(super) fn plain(binary: &ShimBinary) -> Command {
    let mut command = Command::new(binary.path());
    for name in OF_THE_SERVICE_MANAGER {
        command.env_remove(name);
    }
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
