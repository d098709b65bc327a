// SPDX-License-Identifier: Apache-2.0
//! What a caller asks for: a task, described.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use shimkeeper_core::{Any, Mount, SandboxId, TaskKey};

use crate::env::Env;
use crate::error::{Error, Refused, Step};
use crate::runc::{self, RuncOptions};
use crate::stdio::Stdio;

/// A task to be made.
#[derive(Clone, Debug)]
pub struct CreateTask {
    pub(crate) key: TaskKey,
    pub(crate) spec: Bytes,
    pub(crate) runtime: String,
    pub(crate) options: Options,
    pub(crate) launch_options: Option<Any>,
    pub(crate) rootfs: Vec<Mount>,
    pub(crate) stdio: Stdio,
    pub(crate) checkpoint: String,
    pub(crate) place: Option<Place>,
}

/// The sandbox a task is to be in.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) sandbox: SandboxId,
    /// Where its shim listens, and the version of the Task API it speaks, if it is not one of this manager's.
    pub(crate) endpoint: Option<(String, u32)>,
}

/// What the shim gets as its runtime options.
#[derive(Clone, Debug)]
pub(crate) enum Options {
    /// Those of runc's shim for runc's shim, none for others.
    Unset,
    Runc(RuncOptions),
    Foreign(Any),
}

impl CreateTask {
    /// A task that runs the container of an OCI spec (the bytes of a `config.json`, passed on as they are) on runc's
    /// shim, with no input or output.
    pub fn new(key: TaskKey, spec: impl Into<Bytes>) -> Self {
        Self {
            key,
            spec: spec.into(),
            runtime: "io.containerd.runc.v2".to_owned(),
            options: Options::Unset,
            launch_options: None,
            rootfs: Vec::new(),
            stdio: Stdio::Null,
            checkpoint: String::new(),
            place: None,
        }
    }

    /// In this sandbox, under the shim of which it then runs; its own runtime is not used. A sandbox's shim that speaks
    /// version 2 of the Task API takes no tasks by itself: a shim is launched for each then, and finds the sandbox by
    /// the spec's annotations.
    pub fn in_sandbox(mut self, sandbox: SandboxId) -> Self {
        self.place = Some(Place { sandbox, endpoint: None });
        self
    }

    /// In a sandbox whose shim listens there (`ttrpc+unix:///…`) and speaks this version of the Task API.
    pub fn in_sandbox_at(mut self, sandbox: SandboxId, endpoint: impl Into<String>, version: u32) -> Self {
        self.place = Some(Place { sandbox, endpoint: Some((endpoint.into(), version)) });
        self
    }

    /// On another shim: a runtime name (`io.containerd.runc.v2`) or the absolute path of a shim binary.
    pub fn runtime(mut self, name_or_path: impl Into<String>) -> Self {
        self.runtime = name_or_path.into();
        self
    }

    /// With options of runc's shim, which runc's shim gets in any case. The runtime's own state is kept below the
    /// manager's `state` unless a root is given, so that two managers on one host never touch each other's containers.
    pub fn runc(mut self, options: RuncOptions) -> Self {
        self.options = Options::Runc(options);
        self
    }

    /// With options of another shim, passed on as they are.
    pub fn options(mut self, options: Any) -> Self {
        self.options = Options::Foreign(options);
        self
    }

    /// With other options for the launch of the shim than for the making of the task, passed on as they are.
    pub fn launch_options(mut self, options: Any) -> Self {
        self.launch_options = Some(options);
        self
    }

    /// With mounts that the shim makes for the container's root file system.
    pub fn rootfs(mut self, mounts: Vec<Mount>) -> Self {
        self.rootfs = mounts;
        self
    }

    /// With input and output.
    pub fn stdio(mut self, stdio: Stdio) -> Self {
        self.stdio = stdio;
        self
    }

    /// Restored from the directory of a [`Checkpoint`](crate::Checkpoint), by its absolute path; its processes go on
    /// once it is started.
    pub fn restore_from(mut self, checkpoint: impl Into<String>) -> Self {
        self.checkpoint = checkpoint.into();
        self
    }

    /// Fails if it is to be restored from what is no checkpoint.
    ///
    /// # Cancel safety
    /// Yes.
    pub(super) async fn check_checkpoint(&self, env: &Env) -> Result<(), Error> {
        if self.checkpoint.is_empty() {
            return Ok(());
        }
        let path = PathBuf::from(&self.checkpoint);
        let there = path.clone();
        match env.in_time(move || there.is_absolute() && there.is_dir()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::new(Step::Check, Refused::NoCheckpoint { path })),
            Err(source) => Err(Error::io(Step::Check, "look for", path, source)),
        }
    }
}

impl Options {
    /// What a shim of this binary gets, for a manager with this state directory.
    pub(crate) fn to_any(&self, binary: &Path, state: &Path) -> Option<Any> {
        match self {
            Self::Unset if runc::is_shim(binary) => Some(RuncOptions::default().to_any(state)),
            // Another shim may refuse options that are not its own.
            Self::Unset => None,
            Self::Runc(options) => Some(options.to_any(state)),
            Self::Foreign(any) => Some(any.clone()).filter(|any| !any.type_url.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runcs_shim_gets_options_nobody_asked_for() {
        let given =
            |options: Options, binary: &str| options.to_any(Path::new(binary), Path::new("/s")).is_some();
        assert!(given(Options::Unset, "/usr/bin/containerd-shim-runc-v2"));
        assert!(!given(Options::Unset, "/usr/bin/containerd-shim-kata-v2"));
        assert!(given(Options::Runc(RuncOptions::default()), "/opt/my-shim"));
        assert!(!given(Options::Foreign(Any::default()), "/usr/bin/containerd-shim-runc-v2"));
    }
}
