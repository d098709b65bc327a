// SPDX-License-Identifier: Apache-2.0
//! Sockets that the service manager made before it started us: `LISTEN_FDS`, told apart by where they listen.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::SocketError;

/// The sockets that were passed and that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Activated {
    listeners: Vec<UnixListener>,
}

impl Activated {
    /// Takes over what was passed to this process; nothing, if nothing was.
    ///
    /// To be called once: from then on the descriptors are owned here.
    pub(crate) fn from_environment() -> Result<Self, SocketError> {
        let fail = |source| SocketError::Io {
            verb: "use what the service manager passed in",
            path: "LISTEN_FDS".into(),
            source,
        };
        let mut listeners = Vec::new();
        for fd in sd_notify::listen_fds().map_err(fail)? {
            let fd = own(fd);
            // Passed on to every child otherwise.
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
            let listens = rustix::net::sockopt::socket_acceptconn(&fd).map_err(|e| fail(e.into()))?;
            if !listens {
                return Err(fail(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a socket that does not listen",
                )));
            }
            listeners.push(UnixListener::from(fd));
        }
        Ok(Self { listeners })
    }

    /// The one that listens at `path`.
    pub(super) fn take(&mut self, path: &Path) -> Option<UnixListener> {
        let at = self.listeners.iter().position(|listener| place(listener).as_deref() == Some(path))?;
        Some(self.listeners.swap_remove(at))
    }

    /// That nothing is left over, which would be a mistake in the unit file that nobody sees.
    pub(crate) fn all_taken(self) -> Result<(), SocketError> {
        match self.listeners.first() {
            None => Ok(()),
            Some(listener) => {
                let passed = place(listener).map(|path| path.display().to_string());
                Err(SocketError::NotAsked {
                    passed: passed.unwrap_or_else(|| "a socket without a path".into()),
                })
            }
        }
    }
}

fn place(listener: &UnixListener) -> Option<PathBuf> {
    listener.local_addr().ok()?.as_pathname().map(Path::to_owned)
}

#[expect(unsafe_code, reason = "a descriptor that was inherited is known by its number only")]
fn own(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the service manager's protocol says that the numbers from 3 on are open and meant for this process, whose
    // id it has named; nothing else in the program knows of them, and this is called once for each.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
