// SPDX-License-Identifier: Apache-2.0
//! The lock on a store's directory: of two that want to open it, one does.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::OpenError;

/// The directory is ours; free again when dropped, or when the process has ended, however.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Makes the directory if it is not there, and takes it.
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let file = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::File { verb, path, source }
        };
        fs::create_dir_all(dir).map_err(file("create", dir))?;
        // Specs hold secrets: environments, for one.
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(file("set the mode of", dir))?;
        let path = dir.join("lock");
        let open = File::options().create(true).append(true).open(&path).map_err(file("open", &path))?;
        match flock(&open, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(open)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse { dir: dir.to_owned() }),
            Err(error) => Err(file("lock", &path)(error.into())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Said aloud: a child that is being spawned has a copy of the descriptor until it executes its program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
