// SPDX-License-Identifier: Apache-2.0
//! How a checkpoint is taken.

use std::path::{Path, PathBuf};

use shimkeeper_core::Any;
use shimkeeper_proto::containerd::runc::v1::CheckpointOptions;
use shimkeeper_proto::google::protobuf;

use crate::convert;

/// Where a checkpoint goes and what may be in it.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    options: CheckpointOptions,
    foreign: Option<Any>,
}

impl Checkpoint {
    /// Into this directory, which the runtime makes if it is missing.
    pub fn into_directory(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), options: CheckpointOptions::default(), foreign: None }
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

    /// Whether a terminal may be there.
    pub fn terminal(mut self, keep: bool) -> Self {
        self.options.terminal = keep;
        self
    }

    /// Whether file locks are kept.
    pub fn file_locks(mut self, keep: bool) -> Self {
        self.options.file_locks = keep;
        self
    }

    /// Where criu writes its logs; beside the images if nowhere is said.
    pub fn logs_into(mut self, directory: &Path) -> Self {
        self.options.work_path = directory.to_string_lossy().into_owned();
        self
    }

    /// With options in the shim's own form, passed on as they are in place of all others. The directory still has to be
    /// said.
    pub fn options(mut self, options: Any) -> Self {
        self.foreign = Some(options);
        self
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn to_options(&self) -> protobuf::Any {
        if let Some(options) = &self.foreign {
            return convert::any(options.clone());
        }
        shimkeeper_proto::pack(&CheckpointOptions {
            image_path: self.directory.to_string_lossy().into_owned(),
            ..self.options.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_made_or_passed_on_as_they_are() {
        let made =
            Checkpoint::into_directory("/c").and_exit(true).file_locks(true).logs_into(Path::new("/l"));
        let made = shimkeeper_proto::unpack::<CheckpointOptions>(&made.to_options()).unwrap().unwrap();
        let expected = CheckpointOptions {
            exit: true,
            file_locks: true,
            work_path: "/l".into(),
            image_path: "/c".into(),
            ..CheckpointOptions::default()
        };
        assert_eq!(made, expected);

        // With a field that nobody here knows.
        let given = Any::new("containerd.runc.v1.CheckpointOptions", vec![0x08, 1, 0x98, 0x06, 7]);
        let passed = Checkpoint::into_directory("/c").and_exit(false).options(given.clone()).to_options();
        assert_eq!((passed.type_url, passed.value), (given.type_url, given.value));
    }
}
