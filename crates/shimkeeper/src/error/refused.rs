// SPDX-License-Identifier: Apache-2.0
//! What is refused before a shim is asked.

use std::path::PathBuf;
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};

/// What the library itself refuses, without asking the shim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no task of this key.
    #[error("no such task")]
    NoSuchTask,
    /// The task has no such exec.
    #[error("no such exec")]
    NoSuchExec,
    /// The id is taken by a task.
    #[error("the task already exists")]
    TaskExists,
    /// There is no sandbox of this key.
    #[error("no such sandbox")]
    NoSuchSandbox,
    /// The id is taken by a sandbox.
    #[error("the sandbox already exists")]
    SandboxExists,
    /// A sandbox is not shut down over the heads of the tasks in it.
    #[error("the sandbox has {tasks} tasks in it")]
    SandboxInUse {
        /// How many there are.
        tasks: usize,
    },
    /// An endpoint is not what one looks like.
    #[error("{endpoint:?} is no endpoint of a shim: {reason}")]
    BadEndpoint {
        /// The text.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The shim's binary has failed to tell about itself a moment ago, and is not asked again yet.
    #[error("the shim's binary does not tell about itself: {reason}")]
    NoInfo {
        /// How it failed.
        reason: String,
        /// Whether it is older than the question.
        is_older: bool,
    },
    /// The container would get its mounts without the id mappings they ask for.
    #[error("the spec has id-mapped mounts, which the runtime is not known to do: {reason}")]
    NoIdmappedMounts {
        /// What is known of it.
        reason: String,
    },
    /// There is no such checkpoint.
    #[error("{} is no directory with a checkpoint", path.display())]
    NoCheckpoint {
        /// The path.
        path: PathBuf,
    },
    /// The shim to be joined is on its way out with the last of its tasks.
    #[error("the shim to be joined is just ending")]
    GroupEnding,
    /// The exec id is taken.
    #[error("the exec already exists")]
    ExecExists,
    /// Events name processes by their id alone.
    #[error(
        "an exec cannot have the id of its task: the end of one could not be told from that of the other"
    )]
    ExecNamedLikeTask,
    /// The task is being made.
    #[error("still being created")]
    BeingCreated,
    /// The task is being deleted.
    #[error("still being deleted")]
    BeingDeleted,
    /// A task found at start has not been connected to yet.
    #[error("still being adopted")]
    BeingAdopted,
    /// A process is started once in its life.
    #[error("the process has been started already")]
    AlreadyStarted,
    /// The process ended before, or without ever, starting.
    #[error("the process is gone and was never started")]
    NeverStarted,
    /// The process runs, so it cannot be deleted.
    #[error("the process is still running")]
    StillRunning,
    /// The task has ended, so nothing can be started in it.
    #[error("the task has ended")]
    TaskEnded,
    /// The shim cannot be reached, and is not known to be dead.
    #[error("the shim cannot be reached: {reason}")]
    Unreachable {
        /// What was seen of it.
        reason: String,
    },
    /// The shim does not answer anybody; whoever asks does not wait for it.
    #[error("the shim has been stuck for {seconds} s: {reason}")]
    Stuck {
        /// What was seen of it.
        reason: String,
        /// For how long, in whole seconds.
        seconds: u64,
    },
    /// The caller's own time is over.
    #[error("not done within the {within:?} that the caller has")]
    Late {
        /// How much that was.
        within: Duration,
    },
    /// What the task left could not be cleared up yet.
    #[error("quarantined: {reason}")]
    Quarantined {
        /// What could not be proven.
        reason: String,
    },
    /// The shim failed for want of its bundle, which somebody else had removed. It is there again.
    #[error("somebody removed its bundle, which has been made again: to be tried once more")]
    BundleRemoved,
    /// The caller withdrew.
    #[error("the caller gave up")]
    Withdrawn,
    /// The manager is leaving.
    #[error("the manager is detaching")]
    Detaching,
    /// There is no journal that events could be read from.
    #[error("events are not kept: {reason}")]
    NoJournal {
        /// Why not.
        reason: String,
    },
    /// No signal has this number.
    #[error("{number} is no signal number (1 to 64; 0 asks whether the process is there)")]
    NoSuchSignal {
        /// The number asked for.
        number: u32,
    },
    /// A socket's path is too long.
    #[error("the path of socket {} has {len} bytes, at most {max} fit", path.display())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
        /// How many fit.
        max: usize,
    },
}

impl HasKind for Refused {
    fn kind(&self) -> Kind {
        match self {
            Self::NoSuchTask | Self::NoSuchExec | Self::NoSuchSandbox => Kind::NotFound,
            Self::TaskExists | Self::ExecExists | Self::SandboxExists => Kind::AlreadyExists,
            Self::BeingCreated
            | Self::BeingDeleted
            | Self::BeingAdopted
            | Self::Unreachable { .. }
            | Self::Stuck { .. }
            | Self::Quarantined { .. }
            | Self::NoJournal { .. }
            | Self::NoInfo { is_older: false, .. }
            | Self::GroupEnding
            | Self::Detaching => Kind::Unavailable,
            Self::AlreadyStarted
            | Self::NeverStarted
            | Self::StillRunning
            | Self::TaskEnded
            | Self::BundleRemoved
            | Self::SandboxInUse { .. } => Kind::FailedPrecondition,
            Self::NoInfo { is_older: true, .. } | Self::NoIdmappedMounts { .. } => Kind::NotImplemented,
            Self::Withdrawn => Kind::Canceled,
            Self::Late { .. } => Kind::DeadlineExceeded,
            Self::ExecNamedLikeTask
            | Self::NoSuchSignal { .. }
            | Self::BadEndpoint { .. }
            | Self::NoCheckpoint { .. }
            | Self::PathTooLong { .. } => Kind::InvalidArgument,
        }
    }
}
