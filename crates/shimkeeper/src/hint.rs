// SPDX-License-Identifier: Apache-2.0
//! What to do about an error: one line for the person who reads it.

use shimkeeper_core::Kind;
use shimkeeper_shim::{BundleError, DirsError, RemoveDirsError};

use crate::error::{Cause, Error, Refused, Step};
use crate::lock::LockError;

impl Error {
    /// What to do next, where there is something.
    pub fn hint(&self) -> Option<&str> {
        if let Some(diagnosis) = self.diagnosis() {
            return Some(diagnosis.hint());
        }
        match self.cause() {
            Cause::Id(_) => Some("use letters and digits, joined by single '.', '_' or '-'"),
            Cause::Spec(error) => Some(error.hint()),
            Cause::Dirs(DirsError::NotAbsolute { .. } | DirsError::Same { .. }) => {
                Some("give two different absolute directories for state and root")
            }
            Cause::RemoveDirs(error) => remove_hint(error),
            Cause::Bundle(BundleError::DirsGone { .. }) => {
                Some("start the manager again: it makes its directories, and finds what runs")
            }
            Cause::Lock(LockError::Held { .. }) => Some("end that process, or use other directories"),
            Cause::Resolve(_) => Some("install the shim, or name it by its absolute path"),
            Cause::Launch(_) if self.kind() == Kind::ResourceExhausted => None,
            Cause::Launch(_) => Some("run the shim binary with -v to see whether it works on this machine"),
            Cause::Refused(refused) => refused_hint(refused),
            _ => None,
        }
        .or_else(|| self.kind_hint())
    }

    fn is_the_shims_word(&self) -> bool {
        matches!(self.cause(), Cause::Call(error) if error.shim_message().is_some())
    }

    fn kind_hint(&self) -> Option<&'static str> {
        match (self.kind(), self.step()) {
            (Kind::ResourceExhausted, _) => {
                Some("make room on the file systems of the state and root directories, or free descriptors")
            }
            (_, Step::Call(_)) if self.is_the_shims_word() => {
                Some("the words are those of the shim and its OCI runtime; its log may say more")
            }
            (Kind::FailedPrecondition | Kind::NotFound, Step::Open) => {
                Some("check the paths of the state and root directories, or choose others")
            }
            (Kind::PermissionDenied, _) => Some("run as root, or use directories this user may write to"),
            (Kind::DeadlineExceeded, _) => Some("look at the shim's log; the call may still take effect"),
            (Kind::Unavailable, Step::Dial | Step::Probe) => {
                Some("look at the shim's log for why it does not serve")
            }
            _ => None,
        }
    }
}

fn remove_hint(error: &RemoveDirsError) -> Option<&'static str> {
    match error {
        RemoveDirsError::Bundle { .. } => Some("delete its task first"),
        RemoveDirsError::Foreign { .. } => Some("see what it is, and remove it by hand"),
        RemoveDirsError::Mounted { .. } => Some("unmount it first"),
        _ => None,
    }
}

fn refused_hint(refused: &Refused) -> Option<&'static str> {
    Some(match refused {
        Refused::NoSuchTask | Refused::NoSuchExec | Refused::NoSuchSandbox => {
            "list what there is; it may have been deleted"
        }
        Refused::TaskExists | Refused::ExecExists | Refused::SandboxExists => {
            "use another id, or delete the one that has it"
        }
        Refused::ExecNamedLikeTask => "choose another id for the exec",
        Refused::BeingCreated | Refused::BeingDeleted | Refused::BeingAdopted | Refused::GroupEnding => {
            "try again in a moment"
        }
        Refused::BundleRemoved => {
            "try again; its spec is lost, and what else somebody had put into the bundle"
        }
        Refused::NoInfo { .. } => "run the shim binary with -info to see what it says",
        Refused::NoIdmappedMounts { .. } => {
            "use a runtime that has them, such as runc 1.2 under a shim of containerd 2"
        }
        Refused::NoCheckpoint { .. } => "name the absolute path that the checkpoint was written to",
        Refused::SandboxInUse { .. } => "delete its tasks first",
        Refused::BadEndpoint { .. } => "use the form protocol+address, as in ttrpc+unix:///run/shim.sock",
        Refused::AlreadyStarted => "make another exec to run the command again",
        Refused::StillRunning => "kill it and wait for it first",
        Refused::TaskEnded => "delete it and create it again",
        Refused::Late { .. } => "it goes on all the same: ask again, or allow more time",
        Refused::Stuck { .. } => {
            "the shim is probed by itself; kill -9 and delete have a way past it that needs no answer"
        }
        Refused::Unreachable { .. } => {
            "the shim is tried again by itself; nothing of the container is touched"
        }
        Refused::Quarantined { .. } => "it is tried again by itself; see the reason for what holds it",
        Refused::NoJournal { .. } => {
            "list the tasks instead, and make room below the root directory if it is full"
        }
        Refused::PathTooLong { .. } => "choose a shorter state directory",
        Refused::NoSuchSignal { .. } => "see `kill -l` for the signals there are",
        Refused::NeverStarted | Refused::Withdrawn | Refused::Detaching => {
            return None;
        }
    })
}
