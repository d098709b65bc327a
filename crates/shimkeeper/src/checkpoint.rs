// SPDX-License-Identifier: Apache-2.0
//! How a checkpoint is taken.

use std::path::{Path, PathBuf};

use shimkeeper_proto::containerd::runc::v1::CheckpointOptions;

/// Where a checkpoint goes and what may be in it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    options: CheckpointOptions,
}

impl Checkpoint {
    /// Into this directory, which the runtime makes if it is missing.
    pub fn into_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), options: CheckpointOptions::default() }
    }

    /// Whether the container ends once it is written.
    pub fn and_exit(mut self, exit: bool) -> Self {
        self.options.exit = exit;
        self
    }

    /// Whether open TCP connections are kept.
    pub fn open_tcp(mut self, keep: bool) -> Self {
        self.options.open_tcp = keep;
        self
    }

    /// Whether unix sockets to processes outside are kept.
    pub fn external_unix_sockets(mut self, keep: bool) -> Self {
        self.options.external_unix_sockets = keep;
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn to_options(&self) -> CheckpointOptions {
        CheckpointOptions {
            image_path: self.directory.to_string_lossy().into_owned(),
            ..self.options.clone()
        }
    }
}
