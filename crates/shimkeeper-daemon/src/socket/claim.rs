// SPDX-License-Identifier: Apache-2.0
//! The claim on a socket's name: a locked file beside it, so that of two daemons that start together one is first.
//!
//! The file stays when the daemon ends: removing it would let a third lock another file of the same name.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::SocketError;

/// A claimed name; free again when dropped.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
}

impl Claim {
    /// Claims the name `socket`.
    pub(super) fn acquire(socket: &Path) -> Result<Self, SocketError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let fail = |verb, source: io::Error| SocketError::Io { verb, path: path.clone(), source };
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|e| fail("open", e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let holder = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(SocketError::Live { path: socket.to_owned(), holder });
            }
            Err(errno) => return Err(fail("lock", errno.into())),
        }
        // A courtesy to whoever comes second; a full disk must not keep the first from starting.
        // As long as any other, and so in the place of the last one: to empty the file is work for a disk.
        let _ = file.write_all_at(format!("{:<10}\n", std::process::id()).as_bytes(), 0);
        Ok(Self { file })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Said aloud: a child that is being spawned has a copy of the descriptor until it executes its program.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}
